"""The file of bump tests and calibrations: what passed last at each point, in the state directory.

    {"format": 1, "seen": "2026-11-22", "points": {"well-1/ch4": {"serial": "104233", "commissioned": "2026-05-04",
      "jobs": {"bump": {"since": "2026-05-01", "last": "2026-05-04", "state": "current", "due": "2026-11-04"}}}}}

Small, written whole and only when something changed: a few times a year per point, and once a day the day
itself.  It decides nothing.  What happened is also sealed; this file is what the gateway itself goes by.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from contracts.keys import write_atomically
from contracts.upkeep import STATES
from contracts.visit import JOBS, RESULTS

_LOG = logging.getLogger(__name__)
FILE = "upkeep.json"
_FORMAT = 1
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job at one point."""

    #: day on which it was first watched here; None: no clock was set yet
    since: date | None = None
    #: day on which it passed last; None: never
    last: date | None = None
    #: where no clock was set when it passed: that moment, and its boot; ``last`` is then the earliest day it can be
    passed_us: int | None = None
    boot: str = ""
    #: how the newest test that proved something ended: ``passed``, ``failed``, or empty
    result: str = ""
    #: what was decided last: a state of ``contracts.upkeep``
    state: str = "never"
    due: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRecord:
    """One point, as long as one unit hangs there."""

    #: declared serial number of the unit; empty: none is
    serial: str = ""
    #: day of the last test alarm that the centre received; None: never, or no clock was set
    commissioned: date | None = None
    is_commissioned: bool = False
    jobs: Mapping[str, JobRecord] = field(default_factory=lambda: MappingProxyType({}))
    #: of the unit that hung there before, without its own; a plan that is rolled back brings it back
    former: PointRecord | None = None

    def with_unit(self, serial: str) -> PointRecord:
        """Returns what is known where a unit with this serial number hangs now."""
        if serial == self.serial:
            return self
        if not self.serial:
            return replace(self, serial=serial)
        own, before = replace(self, former=None), self.former
        if before is not None and before.serial == serial:
            return replace(before, former=own)
        return PointRecord(serial=serial, former=own)

    def with_job(self, job: str, record: JobRecord) -> PointRecord:
        """Returns it with another record of one job."""
        return replace(self, jobs=MappingProxyType({**self.jobs, job: record}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The whole file."""

    #: newest day that was believed
    seen: date | None = None
    points: Mapping[str, PointRecord] = field(default_factory=lambda: MappingProxyType({}))


def to_bytes(ledger: Ledger) -> bytes:
    """Returns the file's bytes; the same ledger gives the same."""
    points = {key: _point_to(record) for key, record in sorted(ledger.points.items())}
    data = {"format": _FORMAT, "seen": _text(ledger.seen), "points": points}
    return (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode()


def from_bytes(data: bytes) -> Ledger:
    """Reads what ``to_bytes`` gave.

    Raises:
        ValueError: says what is wrong.
    """
    value = json.loads(data)
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise ValueError("it is of another format")
    try:
        points = {str(key): _point_from(record) for key, record in value["points"].items()}
        return Ledger(seen=_day(value["seen"]), points=MappingProxyType(points))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it does not hold what it should: {error}") from error


def read_ledger(folder: Path) -> Ledger:
    """Returns what is in the state directory; a damaged file is kept aside, told, and begun anew."""
    path = folder / FILE
    try:
        with path.open("rb") as file:
            return from_bytes(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return Ledger()
    except OSError as error:
        _LOG.error("%s: %s: due dates begin anew", path, error.strerror or error)
        return Ledger()
    except (ValueError, RecursionError) as error:
        aside = path.with_suffix(".damaged")
        _LOG.error("%s cannot be read (%s): kept as %s, and due dates begin anew", path, error, aside.name)
        try:
            os.replace(path, aside)
        except OSError as failure:
            _LOG.error("%s: %s", aside, failure.strerror or failure)
        return Ledger()


def write_ledger(folder: Path, ledger: Ledger) -> None:
    """Writes the file, whole and durable.

    Raises:
        OSError: the system refuses.
    """
    write_atomically(folder / FILE, to_bytes(ledger), mode=0o600)


def _point_to(record: PointRecord) -> dict[str, Any]:
    jobs = {
        job: {
            "since": _text(one.since),
            "last": _text(one.last),
            "result": one.result,
            "state": one.state,
            "due": _text(one.due),
            **({} if one.passed_us is None else {"passed_us": one.passed_us, "boot": one.boot}),
        }
        for job, one in sorted(record.jobs.items())
    }
    commissioned = _text(record.commissioned) or ("unset" if record.is_commissioned else "")
    former = {} if record.former is None else {"former": _point_to(record.former)}
    return {"serial": record.serial, "commissioned": commissioned, "jobs": jobs, **former}


def _point_from(value: Any) -> PointRecord:
    commissioned = value["commissioned"]
    jobs = {job: _job_from(one) for job, one in value["jobs"].items() if job in JOBS}
    former = value.get("former")
    return PointRecord(
        serial=str(value["serial"]),
        commissioned=None if commissioned == "unset" else _day(commissioned),
        is_commissioned=bool(commissioned),
        jobs=MappingProxyType(jobs),
        former=None if former is None else _point_from(former),
    )


def _job_from(value: Any) -> JobRecord:
    if value["state"] not in STATES or value["result"] not in {"", *RESULTS}:
        raise ValueError(f"state {value['state']!r} or result {value['result']!r} is not known")
    passed_us = value.get("passed_us")
    if passed_us is not None and type(passed_us) is not int:
        raise ValueError("passed_us is no number")
    return JobRecord(
        since=_day(value["since"]),
        last=_day(value["last"]),
        passed_us=passed_us,
        boot=str(value.get("boot", "")),
        result=value["result"],
        state=value["state"],
        due=_day(value["due"]),
    )


def _text(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None
