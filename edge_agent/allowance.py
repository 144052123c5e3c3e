"""The month's bytes, and how much of a stated allowance is used.  Pure, but for the one small file.

    counted on         the interface of the route to the broker, both ways, whoever used it
    the same boot      what was counted while the agent did not run is found again: counters go on
    another boot       counters begin at 0; lost is what came after the last writing, before the power went
    counters reset     (a modem that was plugged again) what they show now is new
    another interface  counted from its first look on; what the other one carried stays counted
    a new month        by a clock that is set; one that is not turns no page

The file is written at most every ten minutes, and then only after a megabyte, or after an hour, to spare the card.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.keys import write_atomically
from edge_agent.link_plan import LinkPlan
from edge_agent.pacing import Level
from edge_agent.traffic import Counters

_LOG = logging.getLogger(__name__)
#: in the state directory
FILE_NAME = "traffic.json"
_WRITE_AFTER_US, _WRITE_ANYWAY_US = 600_000_000, 3_600_000_000
_WRITE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was counted, and where counting stands."""

    #: day on which this month of the bill began, such as ``2026-11-05``; empty: no set clock has told yet
    month: str = ""
    received: int = 0
    sent: int = 0
    #: the interface that was looked at last, in which boot, and what its counters showed
    interface: str = ""
    boot_id: str = ""
    seen: Counters | None = None
    #: the highest part of the allowance that was told of in this month
    told: float = 0.0

    @property
    def total(self) -> int:
        """Both ways."""
        return self.received + self.sent


def counted(usage: Usage, counters: Counters, *, interface: str, boot_id: str) -> Usage:
    """Returns the usage after a look at an interface."""
    before = usage.seen if usage.interface == interface else None
    if before is None:
        new = Counters(received=0, sent=0)
    elif usage.boot_id != boot_id or counters.received < before.received or counters.sent < before.sent:
        new = counters
    else:
        new = Counters(received=counters.received - before.received, sent=counters.sent - before.sent)
    return replace(
        usage,
        received=usage.received + new.received,
        sent=usage.sent + new.sent,
        interface=interface,
        boot_id=boot_id,
        seen=counters,
    )


def month_of(wall_us: int, billing_day: int) -> str:
    """Returns the day on which the month of the bill began, in the time zone of this machine.

    Args:
        wall_us: UTC us, of a clock that is set.
        billing_day: 1 to 28.
    """
    now = time.localtime(wall_us / 1e6)
    year, month = now.tm_year, now.tm_mon
    if now.tm_mday < billing_day:
        year, month = (year - 1, 12) if month == 1 else (year, month - 1)
    return f"{year:04}-{month:02}-{billing_day:02}"


def turned(usage: Usage, month: str) -> Usage:
    """Returns the usage in a month: from 0 in a later one.

    A month before the one that was counted means that the clock had been wrong: what was counted stays, and
    counts for this month.
    """
    if not usage.month or month < usage.month:
        return replace(usage, month=month)
    if month == usage.month:
        return usage
    return replace(usage, month=month, received=0, sent=0, told=0.0)


def level_of(total: int, plan: LinkPlan) -> Level:
    """Returns how much of the allowance is used."""
    if not plan.allowance_bytes or total < plan.allowance_bytes * plan.thin_from:
        return Level.ENOUGH
    return Level.NEARLY_USED if total < plan.allowance_bytes else Level.USED_UP


def newly_reached(usage: Usage, plan: LinkPlan) -> float | None:
    """Returns the highest part of the allowance that was reached and not told of; None: there is none."""
    if not plan.allowance_bytes:
        return None
    used = usage.total / plan.allowance_bytes
    parts = [part for part in (*plan.warn_at, plan.thin_from, 1.0) if usage.told < part <= used]
    return max(parts, default=None)


class UsageFile:
    """Keeps a usage over restarts, seldom written."""

    def __init__(self, path: Path) -> None:
        """Takes the file; reads nothing yet."""
        self._path = path
        self._written = Usage()
        self._at_us: int | None = None
        self._is_failing = False

    def read(self) -> Usage:
        """Returns what was kept; a file that cannot be read counts from now on, and is told."""
        try:
            self._written = _from_text(self._path.read_text())
        except FileNotFoundError:
            pass
        except (OSError, ValueError, OverflowError, KeyError, TypeError, RecursionError) as error:
            _LOG.warning("%s cannot be read (%s): this month's bytes count from now on", self._path, error)
        return self._written

    def offer(self, usage: Usage, now_us: int, *, is_last: bool = False) -> None:
        """Writes it when it is time to, or at the end."""
        if self._at_us is None:
            self._at_us = now_us
        waited, more = now_us - self._at_us, abs(usage.total - self._written.total)
        is_new = (usage.month, usage.told, usage.interface) != (
            self._written.month, self._written.told, self._written.interface,
        )  # fmt: skip
        is_due = is_new or (waited >= _WRITE_AFTER_US and more >= _WRITE_BYTES) or (waited >= _WRITE_ANYWAY_US and more)
        if not (is_due or (is_last and more)):
            return
        try:
            write_atomically(self._path, (_to_text(usage) + "\n").encode(), mode=0o600)
        except OSError as error:
            if not self._is_failing:
                _LOG.error("this month's bytes cannot be kept: %s: %s", self._path, error.strerror or error)
            self._is_failing = True
            return
        if self._is_failing:
            _LOG.warning("this month's bytes are kept again")
        self._is_failing = False
        self._written, self._at_us = usage, now_us


def _to_text(usage: Usage) -> str:
    seen = usage.seen or Counters(received=0, sent=0)
    return json.dumps(
        {
            "month": usage.month,
            "received": usage.received,
            "sent": usage.sent,
            "interface": usage.interface,
            "boot_id": usage.boot_id,
            "seen_received": seen.received,
            "seen_sent": seen.sent,
            "told": usage.told,
        }
    )


def _from_text(text: str) -> Usage:
    document = json.loads(text)
    return Usage(
        month=str(document["month"]),
        received=int(document["received"]),
        sent=int(document["sent"]),
        interface=str(document["interface"]),
        boot_id=str(document["boot_id"]),
        seen=Counters(received=int(document["seen_received"]), sent=int(document["seen_sent"])),
        told=float(document["told"]),
    )
