"""Where maintainers have to go, and why: from what is known of gateways, points, visits and due dates.  Pure.

What is found of a thing, its probable cause and what to bring are ``rules.errands``'s; here it is decided what
counts as found, from the facts of all gateways:

    a gateway unheard for ``LASTING_US`` is one errand, whatever points it has; their readings are not looked at
    a device none of whose points had a number for so long, or that is another one, is one errand
    a point: bad readings, or none, for so long; over range and not reset; the newest verdict a failure;
    due within ``DUE_DAYS``, due, or overdue as its gateway says

A reading that was missed once is no errand, and nothing here decides about alarms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Protocol

from collector.visit_views import ErrandView, UpkeepView
from contracts.quality import CODES
from rules.errands import Finding, errand_of

#: what has gone on for less takes nobody out (us)
LASTING_US = 600_000_000
#: what is due within so many days is listed: one round serves it
DUE_DAYS = 30

#: somebody is at work, or it passes by itself; what is left so for longer was forgotten (us)
FORGOTTEN_US = 86_400_000_000
_AT_WORK = frozenset({"warm_up", "inhibited", "calibrating"})
#: follows from other points, which are found themselves
_NO_FAULT = frozenset({"not_computable"})
#: reasons for which no reading came that are the gateway's own
_NO_SILENCE = frozenset({"agent_stopped", "missed_tick"})

#: (overdue, due or soon, never done and soon) by job
_OF_JOB = {
    "bump": (Finding.BUMP_OVERDUE, Finding.BUMP_DUE, Finding.NEVER_BUMPED),
    "calibration": (Finding.CALIBRATION_OVERDUE, Finding.CALIBRATION_DUE, Finding.NEVER_CALIBRATED),
}
_FAILED = {"bump": Finding.BUMP_FAILED, "calibration": Finding.CALIBRATION_FAILED}


class OfGateway(Protocol):
    """What is looked at of a gateway, as in ``GatewayView``."""

    @property
    def id(self) -> str: ...
    @property
    def en(self) -> str: ...
    @property
    def zh(self) -> str: ...
    @property
    def liveness(self) -> str: ...
    @property
    def silent_for_s(self) -> float | None: ...


class OfPoint(Protocol):
    """What is looked at of a point, as in ``PointView``."""

    @property
    def key(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def device_en(self) -> str: ...
    @property
    def device_zh(self) -> str: ...
    @property
    def quantity(self) -> str: ...
    @property
    def en(self) -> str: ...
    @property
    def zh(self) -> str: ...
    @property
    def code(self) -> int: ...
    @property
    def quality(self) -> str: ...
    @property
    def is_stale(self) -> bool: ...
    @property
    def sampled_us(self) -> int | None: ...
    @property
    def last_value_us(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one gateway."""

    view: OfGateway
    points: Sequence[OfPoint]
    #: what it still states
    upkeep: Sequence[UpkeepView]
    #: (point, job) -> (recorded UTC us, why): where the newest verdict is a failure
    failed: Mapping[tuple[str, str], tuple[int, str]]
    #: point -> since when (UTC us) an alarm stands there that was over range
    over_range: Mapping[str, int]
    #: those of them whose newest reading is missing, and that were heard within their longest silence before it
    heard: Collection[str] = frozenset()


def find_errands(gateways: Iterable[Known], now_us: int, today: date) -> list[ErrandView]:
    """Returns the errands of all gateways, street by street, the street with the gravest one first.

    Args:
        gateways: each once.
        now_us: UTC.
        today: of UTC, as the due dates are.
    """
    found = [errand for known in gateways for errand in _Finder(known, now_us, today).find()]
    gravest: dict[tuple[str, str], int] = {}
    for item in found:
        place = place_of(item)
        gravest[place] = min(item.rank, gravest.get(place, item.rank))
    return sorted(found, key=lambda e: (gravest[place_of(e)], place_of(e), e.rank, e.due, e.gateway, e.device, e.point))


def place_of(errand: ErrandView) -> tuple[str, str]:
    """Returns what an errand is listed under: its street; without one, its gateway."""
    return errand.street, "" if errand.street else errand.gateway


class _Finder:
    """The errands of one gateway."""

    def __init__(self, known: Known, now_us: int, today: date) -> None:
        self._known = known
        self._now_us = now_us
        self._today = today
        self._points = {point.key: point for point in known.points}
        self._streets: dict[str, str] = {}
        self._of_device: dict[str, str] = {}
        for said in known.upkeep:
            if said.street:
                self._streets[said.point] = said.street
                self._of_device.setdefault(said.point.partition("/")[0], said.street)

    def find(self) -> list[ErrandView]:
        view = self._known.view
        if view.silent_for_s is None:
            return []  # never seen: nothing was there yet that could be visited
        found = []
        if view.liveness == "silent" and view.silent_for_s * 1e6 >= LASTING_US:
            heard_us = self._now_us - int(view.silent_for_s * 1e6)
            found.append(self._errand(Finding.GATEWAY_SILENT, street=self._own_street(), based_us=heard_us))
        elif view.liveness != "silent":
            found += self._by_reading()
        for key, since_us in self._known.over_range.items():
            found.append(self._of_point(Finding.OVER_RANGE_LATCHED, key, based_us=since_us))
        for (key, job), (at_us, why) in self._known.failed.items():
            if key in self._points:
                found.append(self._of_point(_FAILED[job], key, based_us=at_us, reason=why, detail=why))
        for said in self._known.upkeep:
            finding = due_finding(said, self._today)
            if finding is not None and said.point in self._points:
                found.append(self._of_point(finding, said.point, based_us=said.stated_us, due=said.due))
        return found

    def _own_street(self) -> str:
        """The gateway's street where all that hangs on it hangs in one."""
        streets = set(self._streets.values())
        return streets.pop() if len(streets) == 1 else ""

    def _by_reading(self) -> list[ErrandView]:
        found = []
        points = sorted(self._known.points, key=lambda point: point.device)
        for device, members in groupby(points, key=lambda point: point.device):
            of_device = list(members)
            judged = [(point, self._judge(point)) for point in of_device]
            whole = next(
                (
                    each
                    for each in (Finding.POINT_SILENT, Finding.IDENTITY_CHANGED)
                    if all(f is each for _, f in judged)
                ),
                None,
            )
            if whole is not None:
                said = Finding.DEVICE_SILENT if whole is Finding.POINT_SILENT else whole
                found.append(self._of_whole_device(said, device, of_device))
                continue
            for point, finding in judged:
                if finding is not None:
                    reason = _reason(point)
                    found.append(self._of_point(finding, point.key, based_us=_lost_us(point), reason=reason))
        return found

    def _judge(self, point: OfPoint) -> Finding | None:
        """Returns what is found of a point by its readings; None while a number is or was there lately."""
        if not point.is_stale and (point.quality in ("good", "uncertain") or point.key in self._known.heard):
            return None
        last_us, reason = point.last_value_us, _reason(point)
        patience_us = FORGOTTEN_US if reason in _AT_WORK else LASTING_US
        if last_us is not None and self._now_us - last_us < patience_us:
            return None
        if point.quality == "bad":
            if reason in _NO_FAULT:
                return None
            return Finding.IDENTITY_CHANGED if reason == "other_device" else Finding.SENSOR_FAULT
        if point.is_stale and last_us is None and point.sampled_us is None:
            return Finding.POINT_SILENT  # in the catalogue, and nothing was ever heard of it
        return None if reason in _NO_SILENCE and not point.is_stale else Finding.POINT_SILENT

    def _of_whole_device(self, finding: Finding, device: str, points: Sequence[OfPoint]) -> ErrandView:
        first = points[0]
        reason = Counter(_reason(point) for point in points).most_common(1)[0][0]
        street = next((street for p in points if (street := self._street(p.key))), "")
        heard = [at for point in points if (at := _lost_us(point)) is not None]
        return self._errand(
            finding,
            street=street,
            device=device,
            names=(first.device_en, first.device_zh),
            quantity=first.quantity,
            reason=reason,
            based_us=max(heard, default=None),
        )

    def _street(self, key: str) -> str:
        return self._streets.get(key) or self._of_device.get(key.partition("/")[0], "")

    def _of_point(
        self,
        finding: Finding,
        key: str,
        *,
        based_us: int | None,
        reason: str = "",
        due: str = "",
        detail: str = "",
    ) -> ErrandView:
        point = self._points.get(key)
        return self._errand(
            finding,
            street=self._street(key),
            device=key.partition("/")[0],
            point=key,
            names=("", "") if point is None else (point.en, point.zh),
            quantity="" if point is None else point.quantity,
            reason=reason,
            due=due,
            detail=detail,
            based_us=based_us,
        )

    def _errand(
        self,
        finding: Finding,
        *,
        street: str,
        based_us: int | None,
        device: str = "",
        point: str = "",
        names: tuple[str, str] | None = None,
        quantity: str = "",
        reason: str = "",
        due: str = "",
        detail: str = "",
    ) -> ErrandView:
        view = self._known.view
        table = errand_of(finding, quantity=quantity, reason=reason)
        en, zh = (view.en, view.zh) if names is None else names
        return ErrandView(
            street=street,
            gateway=view.id,
            gateway_en=view.en,
            gateway_zh=view.zh,
            device=device,
            point=point,
            en=en,
            zh=zh,
            finding=finding.value,
            rank=table.rank,
            what=table.what,
            cause=table.cause,
            bring=table.bring,
            due=due,
            detail=detail,
            based_us=based_us,
        )


def due_finding(said: UpkeepView, today: date) -> Finding | None:
    """Returns what a statement asks for on a day; None where nothing is due within ``DUE_DAYS``.

    A day that has come is due also where the gateway has not said so yet, because it is silent; that it is
    overdue is the gateway's word alone, for its readings follow from it.
    """
    overdue, due, never = _OF_JOB[said.job]
    if said.state == "overdue":
        return overdue
    if said.state == "due":
        return due
    if not said.due or date.fromisoformat(said.due) > today + timedelta(days=DUE_DAYS):
        return None
    return never if not said.last else due


def _reason(point: OfPoint) -> str:
    """The reason of the newest sample; empty where there is none."""
    known = CODES.get(point.code)
    return "" if known is None or point.sampled_us is None else known.reason


def _lost_us(point: OfPoint) -> int | None:
    """When a point last had a number; when it was last heard of, where it never had one."""
    return point.sampled_us if point.last_value_us is None else point.last_value_us
