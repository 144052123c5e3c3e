"""What is told of visits: those that were made, what is due where, and the list of those to make.

Plain records beside ``collector.views``.  Times are UTC microseconds by the best anchors known so far; days are
``YYYY-MM-DD`` of UTC, as the gateway states them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayName:
    """A gateway to choose."""

    id: str
    #: empty where it has none
    en: str
    zh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitView:
    """One bump test or calibration as it was signed; numbers are in ``unit``, None where nothing good was read."""

    gateway: str
    #: hex
    id: str
    point: str
    #: names of the point; empty where no catalogue names it now
    en: str
    zh: str
    #: ``bump`` or ``calibration``
    job: str
    #: ``passed``, ``failed``, ``abandoned`` or ``interrupted``
    result: str
    #: why it did not pass
    reason: str
    by: str
    #: UTC us of the sealing of the record
    recorded_us: int
    #: UTC us; None where the clock of its boot is not known
    began_us: int | None
    ended_us: int | None
    unit: str
    unit_en: str
    unit_zh: str
    zero: float | None
    applied: float | None
    peak: float | None
    t90_s: float | None
    t90_limit_s: float | None
    return_s: float | None
    return_limit_s: float | None
    serial: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitFilter:
    """Which visits; None for all."""

    gateway: str | None = None
    #: key, or the beginning of one that ends in ``/`` (a device)
    point: str | None = None
    job: str | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitPage:
    """One page of visits, newest first."""

    visits: Sequence[VisitView]
    #: where the next page begins; None where this is the last one
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastVisit:
    """The newest visit of a point, as its row shows it."""

    job: str
    result: str
    by: str
    recorded_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepView:
    """What a gateway stated last of one point and job."""

    gateway: str
    point: str
    job: str
    #: days; empty: never done, or nothing is due
    last: str
    due: str
    #: ``current``, ``due``, ``overdue`` or ``never``
    state: str
    #: empty where nobody wrote it
    street: str
    #: UTC us
    stated_us: int
    #: whether the gateway still states it: not where newer statements of the gateway leave it out
    is_stated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrandView:
    """One reason to go somewhere."""

    #: empty where nobody wrote it: it stands under the gateway's name then
    street: str
    gateway: str
    gateway_en: str
    gateway_zh: str
    device: str
    #: key; empty where it is about a device or a gateway as a whole
    point: str
    #: names of what it is about
    en: str
    zh: str
    #: word of ``rules.errands``
    finding: str
    #: lower goes first
    rank: int
    #: (en, zh) each
    what: tuple[str, str]
    cause: tuple[str, str]
    bring: Sequence[tuple[str, str]]
    #: the day it is or was due; empty where it is about something else
    due: str
    #: why a visit failed, as it was signed; empty else
    detail: str
    #: UTC us of what it is based on: the newest sample, statement, visit or word of the gateway; None: there is none
    based_us: int | None
