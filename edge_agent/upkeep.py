"""Upkeep: what is due at which point, which values are doubtful for it, and what of it is to be signed.

    visits, accepted units -> ledger --(a day that can be believed)--> state per point and job
                                          overdue calibration -> good rows become `uncertain: calibration overdue`
                                          state               -> statements in data batches

It thinks about no day itself (``trusted_day``) and about no due date (``rules.due_dates``).  While no day can be
believed every state stays as it was decided.  Only an overdue *calibration* makes values doubtful, as
their quality says; an overdue bump test is stated and on the visit list.  A calibration that passed counts as a
bump test as well, because the head was shown its gas.

A row without such a point costs one look at an empty dict.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from contracts.batch import Anchor
from contracts.quality import CALIBRATION_OVERDUE, GOOD
from contracts.quantities import GASES
from contracts.upkeep import Upkeep
from contracts.visit import Visit
from edge_agent.logged_once import LoggedOnce
from edge_agent.plan import Plan, PointPlan
from edge_agent.plan_upkeep import NO_UPKEEP, UpkeepPlan, Watched
from edge_agent.trusted_day import TrustedDay, day_of
from edge_agent.upkeep_file import JobRecord, Ledger, PointRecord, read_ledger, write_ledger
from rules.due_dates import DueState, standing

_LOG = logging.getLogger(__name__)
#: states are looked at this often (seconds), and when something happens
_LOOK_EVERY_S = 60.0
#: everything is stated again after this (us)
AGAIN_US = 86_400_000_000
_DAY_US = 86_400_000_000
_UNKNOWN = PointRecord()
#: points that turned on one day are told by name up to here
_TOLD = 20
#: results that prove something of the instrument
_PROVING = frozenset({"passed", "failed"})


class UpkeepBook:
    """The upkeep of one agent's points."""

    def __init__(
        self,
        folder: Path,
        *,
        boot_id: bytes,
        anchor: Callable[[], Anchor],
        earliest_us: Callable[[], int],
        note: Callable[[str, str], None] = lambda kind, text: None,
    ) -> None:
        """Reads what an earlier run kept.

        Args:
            folder: the state directory.
            boot_id: whose monotonic clock the anchors are of.
            anchor: the tie between the clocks of this moment.
            earliest_us: UTC us than which it is not earlier now, whatever the clock says.
            note: puts a line into the gateway's journal.
        """
        self._folder = folder
        self._boot = boot_id.hex()
        self._anchor = anchor
        self._earliest_us = earliest_us
        self._note = note
        ledger = read_ledger(folder)
        self._records = dict(ledger.points)
        self._day = TrustedDay(ledger.seen)
        #: whether the file lags behind
        self._is_unkept = False
        #: the day of the last decisions; None: something changed since, or there was no day
        self._decided_on: date | None = None
        self._plan: UpkeepPlan = NO_UPKEEP
        #: every point of the plan that runs
        self._points: Sequence[PointPlan] = ()
        #: of watched points only, like the three below
        self._streets: dict[str, str] = {}
        self._serials: dict[str, str] = {}
        self._calibrated: dict[str, date] = {}
        self._blocks: dict[str, tuple[int, int]] = {}
        #: block number of the plan that runs -> places in its rows whose calibration is overdue
        self.marks: dict[int, tuple[int, ...]] = {}
        self._stated: dict[tuple[str, str], Upkeep] = {}
        self._stated_us: int | None = None
        #: whether a statement may differ from what was stated
        self._is_news = False
        self._changed = asyncio.Event()
        self._said = LoggedOnce(_LOG)

    # -- what runs -------------------------------------------------------------------

    def take_plan(self, plan: Plan) -> None:
        """Goes by another plan from now on."""
        upkeep, self._points = plan.upkeep, plan.points
        self._plan = upkeep
        watched = {item.point for item in upkeep.watched}
        known = {point.key: point.device for point in plan.points if point.key in watched or point.key in self._records}
        self._streets = {key: upkeep.street(device) for key, device in known.items()}
        self._serials = {key: plan.devices[device].serial for key, device in known.items()}
        days = {device: date.fromisoformat(day) for device, day in upkeep.calibrated if day}
        ids = {key: plan.devices[device].id for key, device in known.items()}
        self._calibrated = {key: days[id] for key, id in ids.items() if id in days}
        self._blocks = {
            plan.points[point].key: (number, place)
            for number, block in enumerate(plan.row_blocks)
            for place, point in enumerate(block.points)
            if plan.points[point].key in watched
        }
        self._stated_us = self._decided_on = None
        self.look()

    def marked(self, block: int, codes: Sequence[int] | None, width: int) -> Sequence[int] | None:
        """Returns the codes of a row with those of overdue points in the place of ``good``.

        Args:
            block: number in the plan that runs.
            codes: None: all good.
            width: samples in the row.
        """
        places = self.marks.get(block)
        if places is None:
            return codes
        marked = [GOOD] * width if codes is None else list(codes)
        for place in places:
            if marked[place] == GOOD:
                marked[place] = CALIBRATION_OVERDUE
        return tuple(marked)

    # -- what happens ----------------------------------------------------------------

    def take_visit(self, visit: Visit) -> None:
        """Takes note of how a visit ended; one that was left or interrupted proves nothing."""
        if visit.result not in _PROVING:
            return
        # As a record carries it: its first 64 bytes.
        serial = self._serials.get(visit.point, "").encode(errors="replace")[:64].decode(errors="ignore")
        if visit.serial and serial and visit.serial != serial:
            # Told again after a restart, and another unit hangs there by now.
            return
        job = self._record(visit.point).jobs.get(visit.job, JobRecord())
        if visit.result == "passed":
            job = self._passed(job, visit)
        self._put(visit.point, self._record(visit.point).with_job(visit.job, replace(job, result=visit.result)))
        self.look()

    def commissioned(self, points: Iterable[str]) -> None:
        """Takes note of test alarms that the centre received."""
        today = self._day.look(self._anchor())
        for point in points:
            self._put(point, replace(self._record(point), commissioned=today, is_commissioned=True))
        self.look()

    def look(self) -> None:
        """Decides anew what a day that can be believed allows to decide; where none can, nothing changes."""
        today = self._day.look(self._anchor())
        if today is not None and today == self._decided_on:
            return
        for key in {*self._records, *(item.point for item in self._plan.watched)}:
            self._settle_unit(key)
        if today is not None:
            self._tell([turned for item in self._plan.watched if (turned := self._decide(item, today))])
            # The day itself is kept for the next run, which has to know whether its clock jumped.
            self._is_unkept = self._is_unkept or bool(self._plan.watched)
        self._decided_on = today
        marks: dict[int, list[int]] = {}
        for item in self._plan.watched:
            place = self._blocks.get(item.point)
            if item.job == "calibration" and place is not None and self._state(item) == DueState.OVERDUE.value:
                marks.setdefault(place[0], []).append(place[1])
        self.marks = {block: tuple(places) for block, places in marks.items()}
        if self._is_unkept:
            self._changed.set()

    async def run(self) -> None:
        """Looks at the calendar and keeps what changed; never ends."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            try:
                self.look()
                # Before keeping: what happens meanwhile is looked at next; a disk that refuses waits for its turn.
                self._changed.clear()
                await self.keep()
            except Exception as error:
                # The outermost loop of upkeep: a defect here must not end monitoring.
                self._said.fault("look", error, "due dates could not be looked at; the next look comes")

    async def keep(self) -> None:
        """Makes what is known durable; a disk that takes nothing is told once, and tried again."""
        if not self._is_unkept:
            return
        self._is_unkept = False
        ledger = Ledger(seen=self._day.seen, points=MappingProxyType(dict(self._records)))
        try:
            await asyncio.get_running_loop().run_in_executor(None, write_ledger, self._folder, ledger)
        except OSError as error:
            self._is_unkept = True
            self._said.gone("keep", "due dates cannot be kept for the next start: %s", error.strerror or error)
            return
        self._said.back("keep", "due dates are kept again")

    # -- what is told ----------------------------------------------------------------

    def due(self, now_us: int) -> tuple[Upkeep, ...]:
        """Returns what is to be stated in a batch sealed now, and takes it to be stated.

        All of it at the start, under another plan and once a day; in between what changed.
        """
        if not self._plan.watched and not self._plan.streets:
            return ()
        is_all = self._stated_us is None or now_us - self._stated_us >= AGAIN_US
        if not is_all and not self._is_news:
            return ()
        self._is_news = False
        current = {(item.point, item.job): self._statement(item) for item in self._plan.watched}
        if is_all:
            self._stated_us, self._stated = now_us, current
            return (*current.values(), *self._bare_streets())
        changed = tuple(one for key, one in current.items() if one != self._stated.get(key))
        self._stated = current
        return changed

    def describe(self) -> dict[str, Any]:
        """Returns what the visit list needs, as plain JSON values."""
        jobs: dict[str, list[dict[str, Any]]] = {}
        for item in self._plan.watched:
            jobs.setdefault(item.point, []).append(self._described(item))
        points = [
            {
                "point": point.key,
                "street": self._plan.street(point.device),
                "jobs": jobs.get(point.key, []),
                "failed": sorted(job for job, one in self._record(point.key).jobs.items() if one.result == "failed"),
                "is_commissioned": self._record(point.key).is_commissioned,
            }
            for point in self._points
        ]
        today = self._day.look(self._anchor())
        return {"today": "" if today is None else today.isoformat(), "points": points}

    def _bare_streets(self) -> Iterator[Upkeep]:
        """Yields for points with a street and nothing to be watched where they hang."""
        watched = {item.point for item in self._plan.watched}
        for point in self._points:
            street = self._plan.street(point.device)
            if street and point.key not in watched:
                yield Upkeep(
                    point=point.key,
                    job="bump" if point.quantity in GASES else "calibration",
                    last="",
                    due="",
                    state=DueState.CURRENT.value,
                    street=street,
                )

    # -- parts -----------------------------------------------------------------------

    def _described(self, item: Watched) -> dict[str, Any]:
        one = self._statement(item)
        return {"job": one.job, "last": one.last, "due": one.due, "state": one.state, "days": item.days}

    def _statement(self, item: Watched) -> Upkeep:
        job = self._record(item.point).jobs.get(item.job, JobRecord())
        last = self._last(item, self._day.seen or date.max)
        return Upkeep(
            point=item.point,
            job=item.job,
            last="" if last is None else last.isoformat(),
            due="" if job.due is None else job.due.isoformat(),
            state=job.state,
            street=self._streets.get(item.point, ""),
        )

    def _tell(self, turned: Sequence[str]) -> None:
        """Tells what turned overdue, or is no longer; of many on one day some, the journal holds only so much."""
        more = [f"{len(turned) - _TOLD} points more turned overdue or no longer are"] if len(turned) > _TOLD else []
        for sentence in (*turned[:_TOLD], *more):
            self._note("upkeep", sentence)
            _LOG.info("%s", sentence)

    def _decide(self, item: Watched, today: date) -> str:
        """Decides how a job stands; returns what is to be told of it, mostly nothing."""
        record = self._record(item.point)
        job = record.jobs.get(item.job, JobRecord())
        found = standing(
            last=self._last(item, today),
            since=job.since,
            days=item.days,
            grace_days=self._plan.grace_days,
            today=today,
        )
        # A first day ahead of today came from a clock that was wrong.
        since = min(today, job.since or today)
        decided = replace(job, since=since, state=found.state.value, due=found.due)
        if decided != job:
            self._put(item.point, record.with_job(item.job, decided))
        is_told = found.state.value != job.state and DueState.OVERDUE.value in (found.state.value, job.state)
        return f"{item.point} {item.job}: {found.state.value}, due {found.due}" if is_told else ""

    def _last(self, item: Watched, today: date) -> date | None:
        """Returns the newest day that counts for a job; one that lies ahead of ``today`` proves nothing."""
        jobs = self._record(item.point).jobs
        days = [jobs[item.job].last] if item.job in jobs else []
        if "calibration" in jobs:
            days.append(jobs["calibration"].last)
        if item.job == "calibration":
            days.append(self._calibrated.get(item.point))
        known = [day for day in days if day is not None]
        return max((day for day in known if day <= today or (day - today).days <= 1), default=None)

    def _passed(self, job: JobRecord, visit: Visit) -> JobRecord:
        now = self._anchor()
        if self._day.look(now) is not None and visit.boot_id.hex() == self._boot:
            return replace(
                job, last=self._day.day_at(visit.ended_us), passed_us=None, boot="", state="current", due=None
            )
        # No day can be believed: the earliest one that it can be, until this boot learns the time.  A record that
        # is told again after a restart was dated better the first time.
        return replace(
            job,
            last=max(day_of(self._earliest_us()), job.last or date.min),
            passed_us=visit.ended_us,
            boot=visit.boot_id.hex(),
            state="current",
            due=None,
        )

    def _settle_unit(self, key: str) -> None:
        """Begins anew where another unit hangs now, and dates what passed before the clock was set."""
        record, serial = self._record(key), self._serials.get(key, "")
        if serial:
            record = record.with_unit(serial)
        for name, job in record.jobs.items():
            if job.passed_us is not None and job.boot == self._boot and self._day.day_at(job.passed_us) is not None:
                day = self._day.day_at(job.passed_us)
                record = record.with_job(name, replace(job, last=day, passed_us=None, boot=""))
        if record != self._record(key):
            self._put(key, record)

    def _state(self, item: Watched) -> str:
        return self._record(item.point).jobs.get(item.job, JobRecord()).state

    def _record(self, key: str) -> PointRecord:
        return self._records.get(key, _UNKNOWN)

    def _put(self, key: str, record: PointRecord) -> None:
        self._records[key] = record
        self._is_unkept = self._is_news = True
        self._decided_on = None
