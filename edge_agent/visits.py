"""Visits: a person tests or calibrates one point, and the running agent sees it through.

The agent owns the visit, not the terminal: it inhibits that point alone for a bounded time, follows its samples,
lifts the inhibit when the value is back or the time is up, and seals the record under the person's name.
The terminal may die at any moment.  If the agent dies, its next start seals the record as ``interrupted``
(``visit_file.py``) and still lifts an inhibit that the same boot left behind, once the value is back.

Stages and verdicts are ``rules.visiting``'s; what an inhibit does to alarms is the judge's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from contracts.batch import AlarmEvent
from contracts.inhibit import Inhibit
from contracts.visit import Visit, visit_id
from edge_agent.errors import ControlError, StateDirError
from edge_agent.journal import is_in_journal, write_journal
from edge_agent.judge import Judge
from edge_agent.judged import Codes, Row
from edge_agent.logged_once import LoggedOnce
from edge_agent.plan import Plan
from edge_agent.visit_file import read_visits, write_visits
from edge_agent.visit_running import Running, places_of, sample_of, view_of
from rules.errors import RulesError
from rules.state import Sample
from rules.visit_words import Why, sentence
from rules.visiting import (
    DEVIATION,
    Job,
    Stage,
    VisitState,
    cancel,
    check_time,
    cut,
    gas_off,
    gas_on,
    is_inside,
    is_sure,
    outcome,
    rule_for,
    take_sample,
)

_LOG = logging.getLogger(__name__)
#: what is said of the inhibit, in both languages
REASONS = {Job.BUMP: "bump test / 通气测试", Job.CALIBRATION: "calibration / 校准"}
#: how often time is looked at while somebody works on a point (seconds)
_TICK_S = 0.25
#: a sealed record stays in the file as long, and until the store has everything (us)
_SAFE_US = 600_000_000
#: so long a restarted agent looks for an inhibit that its last run left behind (us)
_LEFT_US = 120_000_000
#: a disk that has not answered by then is not waited for: the person stands there (seconds)
_DISK_LIMIT_S = 2.0
#: visits at once; a person works on one
_MOST = 64


class Visits:
    """The visits of one agent."""

    def __init__(
        self,
        *,
        gateway: str,
        boot_id: bytes,
        judge: Judge,
        plan: Callable[[], Plan],
        folder: Path,
        clock: Callable[[], int],
        take_events: Callable[[Sequence[AlarmEvent]], None],
        seal: Callable[[Visit], None],
        tell: Callable[[str, str], None],
        on_ended: Callable[[Visit], None],
        is_kept: Callable[[], bool],
    ) -> None:
        """Knows of no visit yet.

        Args:
            folder: the state directory.
            clock: monotonic us, of ``boot_id``.
            take_events: what the end of an inhibit raises.
            seal: takes the record of an ended visit.
            tell: takes a line of the journal: kind and text.
            on_ended: hears of every ended visit, after its record was handed over.
            is_kept: whether everything sealed so far is in the store.
        """
        self._gateway = gateway
        self._boot = boot_id
        self._judge = judge
        self._plan = plan
        self._folder = folder
        self._clock = clock
        self._take_events = take_events
        self._seal = seal
        self._tell = tell
        self._on_ended = on_ended
        self._is_kept = is_kept
        self._running: dict[str, Running] = {}
        self._ended: dict[str, Running] = {}
        #: records that were sealed a moment ago, with the time of that
        self._unsafe: list[tuple[int, Visit]] = []
        #: point -> (name, reason) of an inhibit that the last run of this boot left behind
        self._left: dict[str, tuple[str, str]] = {}
        self._left_until_us = 0
        self._located: Plan | None = None
        self._is_file_stale = False
        self._writing = asyncio.Lock()
        #: a write that the disk has not answered yet; none is begun beside it
        self._late: asyncio.Future[None] | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._journals: set[asyncio.Future[None]] = set()
        self._said = LoggedOnce(_LOG)

    @property
    def is_idle(self) -> bool:
        """Whether no row matters to anybody here."""
        return not self._running and not self._left

    def is_visited(self, point: str) -> bool:
        """Returns whether a visit to a point runs."""
        return point in self._running

    # -- life ------------------------------------------------------------------------

    def resume(self) -> None:
        """Seals what the last run could not, and looks after the inhibits that it left behind."""
        now = self._clock()
        for visit in read_visits(self._folder):
            self._hand_over(visit)
            if visit.result == "interrupted":
                self._keep_journal(f"{visit.job} of {visit.point} by {visit.by}: interrupted", mark=visit.id.hex()[:16])
            if visit.boot_id == self._boot and visit.result == "interrupted":
                self._left[visit.point] = (visit.by, REASONS[Job(visit.job)])
        self._left_until_us = now + _LEFT_US
        if self._unsafe:
            self._tick_on()

    async def close(self) -> None:
        """Stops looking; a visit that runs is sealed by the next start.  Safe to call twice."""
        task, self._ticking = self._ticking, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        waiting = {*self._journals, *([] if self._late is None else [self._late])}
        if waiting:
            await asyncio.wait(waiting, timeout=_DISK_LIMIT_S)
        if self._is_file_stale:
            await self._write()

    def _tick_on(self) -> None:
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.get_running_loop().create_task(self._tick_forever())

    async def _tick_forever(self) -> None:
        while self._running or self._left or self._unsafe:
            try:
                self.tick(self._clock())
                if self._is_file_stale:
                    await self._write()
            except Exception as error:
                # The outermost loop of visits: a defect in one must not leave another point inhibited unseen.
                self._said.fault("tick", error, "a step of a visit failed; the next one comes")
            await asyncio.sleep(_TICK_S)

    # -- what the person does --------------------------------------------------------

    async def begin(
        self, key: str, *, job: Job, by: str, seconds: float, applied: float | None, deviation: float, note: str
    ) -> None:
        """Begins a visit: the point is inhibited from now on, for ``seconds`` at most.

        Raises:
            ControlError: it is refused, and why.
        """
        if not by.strip():
            raise ControlError("by: a name is needed", exit_status=2)
        if key in self._running:
            raise ControlError(f"{self._running[key].by} is at {key} already; one visit at a time")
        other = self._judge.inhibits.of(key)
        if other is not None and not _is_of(other, self._left.get(key)):
            raise ControlError(
                f"{key} is inhibited already by {other.by}: {other.reason}; "
                f"end that first: edge-agent inhibit {key} --by NAME --end"
            )
        if len(self._running) >= _MOST:
            raise ControlError(f"{_MOST} visits run already; end one first")
        plan = self._plan()
        point = next((item for item in plan.points if item.key == key), None)
        if point is None:
            raise ControlError(f"there is no point {key!r}; `edge-agent read` lists them")
        try:
            rule = rule_for(job, point.quantity, applied=applied, deviation=deviation)
        except RulesError as error:
            raise ControlError(str(error), exit_status=2) from error
        now = self._clock()
        until_us = now + round(seconds * 1e6)
        refused = self._judge.inhibit(key, reason=REASONS[job], by=by, now_us=now, until_us=until_us).refused
        if refused:
            raise ControlError(refused)
        if deviation != DEVIATION:
            note = f"deviation allowed {deviation:.0%}; {note}".removesuffix("; ")
        serial = plan.devices[point.device].serial
        state = VisitState(began_us=now, until_us=until_us)
        visit = Running(
            point=point,
            rule=rule,
            state=state,
            by=by,
            note=_cut(note, 1024),
            serial=serial,
            places=places_of(plan, key),
        )
        self._left.pop(key, None)
        self._ended.pop(key, None)
        self._running[key] = visit
        self._tell("visit", f"{job} of {key} begun by {by}, for {seconds:.0f} s at most")
        self._tick_on()
        await self._write()

    async def gas(self, key: str, *, is_on: bool) -> None:
        """Takes from the person that the gas is on or off, or that the work begins or is done.

        Raises:
            ControlError: no visit runs there, or it is not the time for that.
        """
        visit, now = self._find(key), self._clock()
        try:
            state = gas_on(visit.rule, visit.state, now) if is_on else gas_off(visit.state, now)
        except RulesError as error:
            raise ControlError(str(error)) from error
        self._put(visit, state)
        await self._write()

    async def end(self, key: str, by: str) -> None:
        """Gives a visit up: it ends when the value is back, or when its time is up.

        Raises:
            ControlError: no visit runs there.
        """
        visit, now = self._find(key), self._clock()
        state = cancel(visit.state, now)
        last = state.last
        if last is not None and state.gas_us is None and is_sure(last) and last.value is not None:
            # No gas was there: what was read last is what there is.
            state = take_sample(visit.rule, state, Sample(value=last.value, code=last.code, at_us=now), _limits(visit))
        if by != visit.by:
            self._tell("visit", f"{key} of {visit.by} ended by {by}")
        self._put(visit, state)
        await self._write()

    def _find(self, key: str) -> Running:
        visit = self._running.get(key)
        if visit is None:
            raise ControlError(f"no visit to {key!r} runs")
        return visit

    # -- what the point does ---------------------------------------------------------

    def take_row(self, block: int, sampled_us: int, row: Row, codes: Codes) -> None:
        """Follows a row, after the judge has seen it; a defect here is told and stops no polling."""
        try:
            self._follow(block, sampled_us, row, codes)
        except Exception as error:
            self._said.fault("row", error, "a visit could not follow a row; the next one comes")

    def _follow(self, block: int, sampled_us: int, row: Row, codes: Codes) -> None:
        if self._plan() is not self._located:
            self._locate()
        for visit in tuple(self._running.values()):
            for at_block, place in visit.places:
                if at_block == block:
                    self._take(visit, sample_of(visit.point, row[place], codes, place, sampled_us))
        if self._left:
            self._free_left(block, sampled_us, row, codes)

    def _take(self, visit: Running, sample: Sample) -> None:
        last = visit.state.last
        if last is not None and sample.at_us < last.at_us:
            return
        self._put(visit, take_sample(visit.rule, visit.state, sample, _limits(visit)))

    def tick(self, now_us: int) -> None:
        """Ends what has to end without a sample."""
        if self._plan() is not self._located:
            self._locate()
        for key, visit in tuple(self._running.items()):
            state = check_time(visit.state, now_us)
            if state.stage is not Stage.DONE and self._judge.inhibits.of(key) is None:
                state = cut(state, now_us, sentence(Why.INHIBIT_ENDED))
            self._put(visit, state)
        if now_us > self._left_until_us:
            inhibits = self._judge.inhibits
            self._left = {key: owner for key, owner in self._left.items() if _is_of(inhibits.of(key), owner)}
        before = len(self._unsafe)
        if self._is_kept():
            self._unsafe = [(at_us, visit) for at_us, visit in self._unsafe if now_us - at_us < _SAFE_US]
        self._is_file_stale = self._is_file_stale or len(self._unsafe) != before

    def _locate(self) -> None:
        self._located = plan = self._plan()
        points = {item.key: item for item in plan.points}
        for key, visit in tuple(self._running.items()):
            found = points.get(key)
            if found is None or found.unit != visit.point.unit:
                why = Why.POINT_LEFT if found is None else Why.UNIT_CHANGED
                self._put(visit, cut(visit.state, self._clock(), sentence(why)))
                continue
            visit.point, visit.places = found, places_of(plan, key)

    def _free_left(self, block: int, sampled_us: int, row: Row, codes: Codes) -> None:
        """Lifts an inhibit of the last run once its point has a good value inside its limits."""
        plan = self._plan()
        for key, owner in tuple(self._left.items()):
            point = next((item for item in plan.points if item.key == key), None)
            if point is None:
                del self._left[key]
                continue
            for at_block, place in places_of(plan, key):
                sample = sample_of(point, row[place], codes, place, sampled_us) if at_block == block else None
                if sample is None or sample.value is None or not is_sure(sample):
                    continue
                if is_inside(point.rules.limits, sample.value) and _is_of(self._judge.inhibits.of(key), owner):
                    self._left.pop(key, None)
                    self._lift(key)
                    self._tell("visit", f"{key}: the value is back; the inhibit of the interrupted visit is lifted")

    # -- its end ---------------------------------------------------------------------

    def _put(self, visit: Running, state: VisitState) -> None:
        if state is visit.state:
            return
        is_new_stage = state.stage is not visit.state.stage
        visit.state = state
        visit.revision += 1
        news, visit.news = visit.news, asyncio.Event()
        if state.stage is Stage.DONE:
            self._finish(visit)
        elif is_new_stage:
            self._is_file_stale = True
        news.set()

    def _finish(self, visit: Running) -> None:
        key = visit.point.key
        del self._running[key]
        self._ended[key] = visit
        self._lift(key)
        visit.record = record = self._record(visit)
        self._hand_over(record)
        text = f"{record.job} of {key} by {record.by}: {record.result}"
        text += f": {record.reason}" if record.reason else ""
        self._tell("visit", text)
        self._keep_journal(text)

    def _lift(self, key: str) -> None:
        """Ends the inhibit where it still runs; a value past a limit raises now."""
        if self._judge.inhibits.of(key) is None:
            return
        now = self._clock()
        events = self._judge.end_inhibit(key, now).events
        # A sample behind its time has ended it for the rules already; then this is what says so.
        self._judge.inhibits.end(key, now)
        if events:
            self._take_events(events)

    def _hand_over(self, visit: Visit) -> None:
        self._seal(visit)
        self._unsafe.append((self._clock(), visit))
        self._is_file_stale = True
        self._on_ended(visit)

    def _record(self, visit: Running) -> Visit:
        """Returns what a visit has proved; of one that runs, what is to be said if the agent ends now."""
        rule, state = visit.rule, visit.state
        found = outcome(rule, state)
        is_done = state.stage is Stage.DONE
        return Visit(
            id=visit_id(self._gateway, self._boot, visit.point.key, state.began_us),
            boot_id=self._boot,
            point=visit.point.key,
            job=rule.job.value,
            began_us=state.began_us,
            ended_us=state.ended_us if state.ended_us is not None else max(state.began_us, self._clock()),
            by=visit.by,
            result=found.result if is_done else "interrupted",
            reason=found.reason if is_done else sentence(Why.AGENT_ENDED, stage=state.stage.value),
            unit=visit.point.unit,
            zero=found.zero,
            applied=rule.applied,
            peak=found.peak,
            t90_us=found.t90_us,
            return_us=found.return_us,
            t90_limit_us=rule.t90_limit_us,
            return_limit_us=rule.return_limit_us,
            serial=_cut(visit.serial, 64),
            note=visit.note,
        )

    async def _write(self) -> None:
        async with self._writing:
            if self._late is not None and not self._late.done():
                self._is_file_stale = True
                return
            self._is_file_stale = False
            records = [visit for _, visit in self._unsafe[-_MOST:]]
            records += [self._record(visit) for visit in self._running.values()]
            write = partial(write_visits, self._folder, records)
            self._late = work = asyncio.get_running_loop().run_in_executor(None, write)
            done, _ = await asyncio.wait({work}, timeout=_DISK_LIMIT_S)
            error = work.exception() if done else TimeoutError("the disk does not answer")
            if error is None:
                self._said.back("file", "visits are kept across a restart again")
            elif isinstance(error, OSError):
                # A full or frozen disk stops no test; only what a restart would say of it is lost.
                self._said.gone("file", "visits are not kept across a restart: %s", error)
            else:
                raise error

    def _keep_journal(self, text: str, mark: str = "") -> None:
        """Writes a line in the background; one with a mark, which stands in the line, only once."""

        def write() -> None:
            try:
                if not mark:
                    write_journal(self._folder, "visited", text)
                elif not is_in_journal(self._folder, mark):
                    write_journal(self._folder, "visited", f"{text} (visit {mark})")
            except StateDirError as error:
                _LOG.error("the journal of this gateway does not take a visit, which is sealed all the same: %s", error)

        done = asyncio.get_running_loop().run_in_executor(None, write)
        self._journals.add(done)
        done.add_done_callback(self._journals.discard)

    # -- what is shown ---------------------------------------------------------------

    async def watch(self, key: str, revision: int, wait_s: float) -> dict[str, Any]:
        """Returns the state as soon as it is newer than ``revision``, or after ``wait_s``.

        Raises:
            ControlError: there is no visit to that point.
        """
        visit = self._seen(key)
        if visit.revision <= revision and visit.state.stage is not Stage.DONE:
            try:
                await asyncio.wait_for(visit.news.wait(), wait_s)
            except TimeoutError:
                pass
        return self._shown(visit)

    def view(self, key: str) -> dict[str, Any]:
        """Returns the state of the newest visit to a point of this run.

        Raises:
            ControlError: there is none.
        """
        return self._shown(self._seen(key))

    def _shown(self, visit: Running) -> dict[str, Any]:
        return view_of(visit, self._plan(), self._clock())

    def running(self) -> list[dict[str, Any]]:
        """Returns the state of every visit that runs, by point."""
        return [self._shown(self._running[key]) for key in sorted(self._running)]

    def _seen(self, key: str) -> Running:
        visit = self._running.get(key) or self._ended.get(key)
        if visit is None:
            raise ControlError(f"no visit to {key!r} was begun since the agent started")
        return visit


def _limits(visit: Running) -> Sequence[Any]:
    return visit.point.rules.limits


def _is_of(inhibit: Inhibit | None, owner: tuple[str, str] | None) -> bool:
    return inhibit is not None and (inhibit.by, inhibit.reason) == owner


def _cut(text: str, limit: int) -> str:
    return text.encode(errors="replace")[:limit].decode(errors="ignore")
