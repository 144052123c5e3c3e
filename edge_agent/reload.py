"""A reload while the agent runs: compile, compare, touch only what changed, try it, go back by itself.

What differs is found by ``plan_diff``, how a trial goes by ``reload_trial``, what lies on the disk is
``plan_store``'s.  Here it is done, under one lock: a reload, its verdict, and a roll-back never overlap.
Spool, alarm states, delays and inhibits of points that did not change do not notice: the judge and the
columns take the new plan between two rows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from contracts.batch import AlarmEvent
from edge_agent.collect import Collector
from edge_agent.errors import EdgeError
from edge_agent.heap import give_back
from edge_agent.judge import Judge
from edge_agent.plan import Plan
from edge_agent.plan_diff import Difference, difference, same_bursts, same_rows
from edge_agent.plan_own import OwnPlan
from edge_agent.plan_store import PlanStore
from edge_agent.ports_running import RunningPorts
from edge_agent.readings import Tick
from edge_agent.reload_trial import Phase, Trial, answered, begin, is_measured, step
from edge_agent.sealer import Sealer

_LOG = logging.getLogger(__name__)
Fact = float | int | str | None
#: a step of a reload waits no longer for the disk (seconds)
_DISK_LIMIT_S = 5.0


class Parts(Protocol):
    """What a reload asks of the parts that most gateways have none of."""

    def start_bursts(self, plan: Plan) -> None: ...

    def start_annunciator(self, plan: Plan) -> None: ...

    async def stop_bursts(self) -> None: ...

    async def serve_metrics(self, own: OwnPlan) -> None: ...


class Reloadable(Protocol):
    """What a reload touches of the agent."""

    plan: Plan
    judge: Judge
    columns: Collector
    sealer: Sealer
    ports: RunningPorts

    def make_catalogue(self, plan: Plan) -> tuple[bytes, bytes]: ...

    def take_catalogue(self, made: tuple[bytes, bytes]) -> None: ...

    def latest(self) -> list[Tick]: ...

    @property
    def parts(self) -> Parts: ...


class Reloader:
    """The reloads of one running agent."""

    def __init__(self, agent: Reloadable, store: PlanStore, trial: Trial, clock: Callable[[], int]) -> None:
        """Takes what it needs; starts nothing.

        Args:
            trial: of the newest reload; one that is not over goes on with ``run``.
            clock: monotonic us.
        """
        self._agent = agent
        self._store = store
        self._clock = clock
        self.trial = trial
        #: whether rows are of interest: a look at it is all that a row costs without a trial
        self.is_waiting = bool(trial.waiting)
        self._former: Plan | None = None
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._changed.set()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- what others ask -------------------------------------------------------------

    def hangup(self) -> None:
        """Reloads in the background, as SIGHUP asks; what becomes of it is in the log."""
        task = asyncio.get_running_loop().create_task(self._reload_and_log())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def hear(self, block: int, codes: Sequence[int] | None) -> None:
        """Takes note of a row during a trial."""
        plan = self._agent.plan
        if block < len(plan.blocks) and is_measured(codes):
            self.trial = self.trial.heard(plan.devices[plan.blocks[block].device].id)
            if not self.trial.waiting:
                self.is_waiting = False
                self._changed.set()

    def facts(self) -> dict[str, Fact]:
        """Returns what health and status tell of the newest reload."""
        return {"reload": self.trial.phase.value, "reload_failed": ", ".join(self.trial.failed)[:256] or None}

    def state(self) -> dict[str, Any]:
        """Returns the same for a command that waits."""
        due_us = self.trial.due_us
        return {
            "phase": self.trial.phase.value,
            "waiting": sorted(self.trial.waiting),
            "failed": list(self.trial.failed),
            "seconds_left": None if due_us is None else max(0.0, round((due_us - self._clock()) / 1e6, 1)),
        }

    # -- life ------------------------------------------------------------------------

    async def run(self) -> None:
        """Decides trials; never ends."""
        while True:
            self._changed.clear()
            due_us = self.trial.due_us
            seconds = None if due_us is None else max(0.0, (due_us - self._clock()) / 1e6)
            if self.trial.phase is not Phase.TRIAL or due_us is not None:
                try:
                    # Not wait_for: before Python 3.12 it swallows a cancellation in the moment of the change.
                    async with asyncio.timeout(seconds):
                        await self._changed.wait()
                except TimeoutError:
                    pass
            async with self._lock:
                await self._decide()

    async def stop(self) -> None:
        """Ends reloads under way; safe to call twice."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reload_and_log(self) -> None:
        try:
            await self.reload()
        except EdgeError as error:
            _LOG.error("the configuration is refused, the last good one goes on: %s", error)
        except Exception:
            _LOG.exception("the reload failed")

    async def reload(self) -> dict[str, Any]:
        """Compiles, compares, and touches only what changed.

        Returns:
            What was touched, and how the trial stands.

        Raises:
            EdgeError: the new configuration is refused; the running plan goes on.
        """
        if self._agent.sealer.keeper is None:
            raise EdgeError("the agent is still asking its store; try again in a few seconds")
        async with self._lock:
            loop = asyncio.get_running_loop()
            compiled = await loop.run_in_executor(None, self._store.compile)
            running = self._agent.plan
            new, later = self._as_running(compiled), _later(running, compiled)
            if later:
                _LOG.warning("changes of %s take effect at the next start", " and ".join(later))
            if new.hash == running.hash:
                if self.trial.phase is not Phase.TRIAL:
                    await self._settle(begin(self.trial, new, compiled.hash, (), self._clock()))
                return {"changed": False, "ports": [], "devices": [], "later": later, "trial": self.state()}
            before = answered(
                running, [(number, at_us, codes) for number, at_us, _, codes in self._agent.latest()], self._clock()
            )
            differs = difference(running, new)
            try:
                touched = await self._switch(new, differs)
            except EdgeError:
                self._store.dropped()
                raise
            former = self._former if self.trial.phase is Phase.TRIAL else running
            trial = begin(self.trial, new, compiled.hash, before & _touched(new, differs), self._clock())
            if trial.waiting:
                self._former, self.trial, self.is_waiting = former, trial, True
                await self._keep(self._store.begun, trial)
                self._changed.set()
            else:
                await self._settle(trial)
            self._tell(new, touched, differs)
            return {
                "changed": True,
                "ports": touched,
                "devices": sorted({*differs.added, *differs.removed, *differs.changed}),
                "added": sorted(differs.added),
                "removed": sorted(differs.removed),
                "later": later,
                "trial": self.state(),
            }

    def _as_running(self, plan: Plan) -> Plan:
        """Returns a plan with what only a start takes from the file."""
        running = self._agent.plan
        if (plan.uplink, plan.spool) == (running.uplink, running.spool):
            return plan
        return replace(plan, uplink=running.uplink, spool=running.spool)

    def _tell(self, plan: Plan, ports: Sequence[str], differs: Difference) -> None:
        devices = [
            f"{word} {', '.join(ids)}"
            for word, ids in (("added", differs.added), ("removed", differs.removed), ("changed", differs.changed))
            if ids
        ]
        waiting = ", ".join(sorted(self.trial.waiting))
        sentence = "; ".join(
            [
                f"plan {plan.hash.hex()[:12]}",
                f"ports changed: {', '.join(ports) or 'none'}",
                *devices,
                *([f"on trial until these answer: {waiting}"] if waiting else []),
            ]
        )
        _LOG.info("reloaded: %s", sentence)
        self._agent.sealer.note("reload", sentence)

    # -- the trial -------------------------------------------------------------------

    async def _decide(self) -> None:
        if self.trial.phase is not Phase.TRIAL:
            return
        trial = step(self.trial, self._clock())
        if trial.phase is Phase.CONFIRMED:
            _LOG.info("the new configuration is confirmed: every device that answered before answers")
            await self._settle(trial)
        elif trial.phase is Phase.ROLLED_BACK:
            await self._roll_back(trial)

    async def _settle(self, trial: Trial) -> None:
        """Makes the compiled plan the last good one."""
        self.trial, self._former, self.is_waiting = step(trial, self._clock()), None, False
        give_back()
        await self._keep(self._store.confirmed, self.trial)

    async def _keep(self, do: Callable[[Trial], None], trial: Trial) -> None:
        """Writes a step; a disk that does not answer is not waited for: a verdict must not hang on it."""
        work = asyncio.get_running_loop().run_in_executor(None, do, trial)
        done, _ = await asyncio.wait({work}, timeout=_DISK_LIMIT_S)
        if not done:
            _LOG.error("the disk has not taken what became of the reload within %.0f s", _DISK_LIMIT_S)
        elif (error := work.exception()) is not None:
            raise error

    async def _roll_back(self, trial: Trial) -> None:
        loop = asyncio.get_running_loop()
        self.trial, self.is_waiting = trial, False
        names = ", ".join(trial.failed)
        try:
            kept = self._former
            if kept is None:
                kept = await loop.run_in_executor(None, self._store.last_good)
            former = self._as_running(kept)
            await self._switch(former, difference(self._agent.plan, former))
        except EdgeError as error:
            _LOG.error(
                "%s did not answer under the new configuration, and the former one cannot return: %s", names, error
            )
            self._agent.sealer.note("reload", f"not rolled back although {names} did not answer: {error}")
            await self._settle(replace(trial, phase=Phase.CONFIRMED))
            return
        except Exception:
            # A defect: the agent ends, and the next start runs the last good plan.
            await self._keep(self._store.rolled_back, trial)
            raise
        self._former = None
        await self._keep(self._store.rolled_back, trial)
        sentence = f"rolled back to plan {former.hash.hex()[:12]}: {names} did not answer under the new configuration"
        _LOG.error("%s", sentence)
        self._agent.sealer.note("reload", sentence)

    # -- the change ------------------------------------------------------------------

    async def _switch(self, new: Plan, differs: Difference) -> list[str]:
        """Takes a plan in the place of the one that runs; returns the ids of the ports that were touched."""
        agent = self._agent
        # Made first: a plan whose catalogue cannot be sealed is refused before any port is touched.
        made = agent.make_catalogue(new)
        handed = [id for id in differs.handed if id in agent.ports]
        closed = [id for id in differs.closed if id in agent.ports]
        has_same_bursts = same_bursts(agent.plan, new)
        if not has_same_bursts:
            await agent.parts.stop_bursts()
        left, _ = await asyncio.gather(agent.ports.hand_over(handed), agent.ports.stop(closed))
        # From here to the end nothing waits, so no row comes under two plans.
        # What was sampled under the old plan is sealed under the old catalogue.
        agent.sealer.seal_data()
        old, agent.plan = agent.plan, new
        agent.take_catalogue(made)
        agent.columns.replace_plan(new.row_blocks, new.points, same_rows(old, new))
        events: Sequence[AlarmEvent] = agent.judge.replace_plan(new.points, new.row_blocks)
        agent.ports.renumber(dict(differs.same))
        started = agent.ports.start(new, left=left)
        if not has_same_bursts:
            agent.parts.start_bursts(new)
        agent.parts.start_annunciator(new)
        if events:
            agent.sealer.take_events(events)
        await agent.parts.serve_metrics(new.own)
        return sorted({*handed, *closed, *started})


def _later(running: Plan, compiled: Plan) -> list[str]:
    """Returns the tables of the site file that differ and that only a start takes."""
    pairs = (("[uplink]", running.uplink, compiled.uplink), ("[spool]", running.spool, compiled.spool))
    return [name for name, before, after in pairs if before != after]


def _touched(plan: Plan, differs: Difference) -> set[str]:
    """Returns the devices on ports that the reload touched."""
    return {device.id for device in plan.devices if plan.ports[device.port].id not in differs.same}
