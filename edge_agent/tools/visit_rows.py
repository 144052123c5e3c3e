"""What is to be visited on this gateway, and why: from what the running agent tells.  Pure.

Input are the answers of four control operations (``upkeep``, ``latest``, ``alarms``, ``status``); words, causes and
what to bring are ``rules.errands``'s.  What passes by itself takes nobody out: a reading counts as lost when the
point's own longest silence is over (its silence alarm stands), not when one reply is missed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from rules.errands import Errand, Finding, errand_of

#: what is due within so many days is listed: one round serves it
DUE_DAYS = 30
_SILENCE = "silence.v1"
#: (overdue, due or soon, never done and soon) by job
_OF_JOB = {
    "bump": (Finding.BUMP_OVERDUE, Finding.BUMP_DUE, Finding.NEVER_BUMPED),
    "calibration": (Finding.CALIBRATION_OVERDUE, Finding.CALIBRATION_DUE, Finding.NEVER_CALIBRATED),
}
_FAILED = {"bump": Finding.BUMP_FAILED, "calibration": Finding.CALIBRATION_FAILED}
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitRow:
    """One reason to go to one point, or to one device."""

    street: str
    #: of the device
    device: str
    #: key; empty: the whole device
    point: str
    en: str
    zh: str
    errand: Errand
    #: day on which it is, or was, due; empty where nothing is
    due: str = ""
    #: for how long there has been no usable reading (s), as the silence alarm has it; None: not known, or not about it
    lost_s: float | None = None


def visit_rows(
    upkeep: Record, readings: Sequence[Record], alarms: Iterable[Record], subjects: Mapping[str, Record]
) -> list[VisitRow]:
    """Returns the rows street by street, the street with the gravest one first.

    Args:
        upkeep: answer of ``upkeep``.
        readings: of ``latest``.
        alarms: of ``alarms``.
        subjects: of ``status``: health by subject.
    """
    said = {item["point"]: item for item in upkeep["points"]}
    standing = list(alarms)
    silent = {alarm["point"]: alarm["age_s"] for alarm in standing if alarm["rule_id"] == _SILENCE}
    over = {alarm["point"] for alarm in standing if alarm["cause"] == "over_range"}
    devices: dict[str, list[Record]] = {}
    for reading in readings:
        devices.setdefault(reading["point"].partition("/")[0], []).append(reading)
    found: list[VisitRow] = []
    for device, members in devices.items():
        street = next((said[item["point"]]["street"] for item in members if item["point"] in said), "")
        found += _by_reading(device, street, members, silent, subjects.get(f"device/{device}", {}))
        for item in members:
            errands = _of_point(item, said.get(item["point"], {}), over, upkeep["today"])
            found += [_row(street, item, errand, due=due) for errand, due in errands]
    gravest: dict[str, int] = {}
    for row in found:
        gravest[row.street] = min(row.errand.rank, gravest.get(row.street, row.errand.rank))
    return sorted(
        found, key=lambda row: (gravest[row.street], row.street, row.errand.rank, row.due, row.device, row.point)
    )


def _by_reading(
    device: str, street: str, members: Sequence[Record], silent: Mapping[str, float], health: Record
) -> Iterator[VisitRow]:
    """Yields what the readings of one device ask for."""
    findings = [(item, _judge(item, silent, health)) for item in members]
    whole = {finding for _, finding in findings}
    # Each point has a patience of its own: the first one that has lost it speaks for a device that tells nothing.
    is_silent = Finding.POINT_SILENT in whole and all(item["quality"] == "missing" for item in members)
    if is_silent or whole == {Finding.IDENTITY_CHANGED}:
        first = next(item for item, finding in findings if finding is not None)
        said = Finding.DEVICE_SILENT if is_silent else Finding.IDENTITY_CHANGED
        errand = errand_of(said, quantity=first["quantity"], reason=first["reason"])
        yield VisitRow(
            street=street,
            device=device,
            point="",
            en=first["en"].partition(" · ")[0],
            zh=first["zh"].partition(" · ")[0],
            errand=errand,
            lost_s=silent.get(first["point"]),
        )
        return
    for item, finding in findings:
        if finding is not None:
            errand = errand_of(finding, quantity=item["quantity"], reason=item["reason"])
            yield _row(street, item, errand, lost_s=silent.get(item["point"]))


def _judge(item: Record, silent: Collection[str], health: Record) -> Finding | None:
    if item["reason"] == "other_device" or (item["quality"] == "bad" and health.get("identity") == "other"):
        return Finding.IDENTITY_CHANGED
    if item["point"] not in silent:
        return None
    return Finding.SENSOR_FAULT if item["quality"] == "bad" else Finding.POINT_SILENT


def _of_point(item: Record, said: Record, over: set[str], today: str) -> Iterator[tuple[Errand, str]]:
    """Yields errands of one point that do not follow from its newest reading, with the day each is due."""
    quantity = item["quantity"]
    if item["point"] in over:
        yield errand_of(Finding.OVER_RANGE_LATCHED, quantity=quantity), ""
    for job in said.get("failed", ()):
        yield errand_of(_FAILED[job], quantity=quantity), ""
    jobs = said.get("jobs", ())
    for job in jobs:
        finding = due_finding(job, today)
        if finding is not None:
            yield errand_of(finding, quantity=quantity), job["due"]
    if jobs and not said.get("is_commissioned"):
        yield errand_of(Finding.NEVER_COMMISSIONED, quantity=quantity), ""


def due_finding(job: Record, today: str) -> Finding | None:
    """Returns what a job's state asks for; None where nothing is due within ``DUE_DAYS``.

    Args:
        job: of the operation ``upkeep``.
        today: ``YYYY-MM-DD``; empty: no day can be believed, then only what was decided before counts.
    """
    overdue, due, never = _OF_JOB[job["job"]]
    if job["state"] == "overdue":
        return overdue
    if job["state"] == "due":
        return due
    if not today or not job["due"]:
        return None
    if date.fromisoformat(job["due"]) > date.fromisoformat(today) + timedelta(days=DUE_DAYS):
        return None
    return due if job["last"] else never


def _row(street: str, item: Record, errand: Errand, *, due: str = "", lost_s: float | None = None) -> VisitRow:
    return VisitRow(
        street=street,
        device=item["point"].partition("/")[0],
        point=item["point"],
        en=item["en"],
        zh=item["zh"],
        errand=errand,
        due=due,
        lost_s=lost_s,
    )
