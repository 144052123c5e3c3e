"""The poller of one port: wait for the next tick, ask, decode, hand on.  One task, one timer.

It decides little: whose turn it is says ``schedule``, whether a device is worth asking ``device_state``
and ``probes``, what is asked twice ``second_attempt``, what words mean the block's decoder, what values mean
the sink.  One request is ``asking``, a block that takes several is ``parts``.  Every tick of every block gives
exactly one row, taken or not, so that the grid has no unexplained hole:

===============================  ===========================  =============================
tick                             sample time                  quality codes
===============================  ===========================  =============================
asked and answered               middle of request and reply  as decoded, None when all good
asked, no values                 when it was asked            the cause, for every point
device silent, no probe due      the tick                     ``not_asked``
not asked before the next tick   the tick                     ``missed_tick``
===============================  ===========================  =============================

A block refused with exception 2 is read point by point in the same tick and from then on.  A block
with a trigger is written first and read after its wait; others use the line meanwhile.

With ``in_flight`` above 1 so many turns run at once, each with another device.  A technician's
job (``borrow``) gets a slot between two requests.

On the hot path (a good reply) nothing is made beyond the result and the decoded row.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from contracts import quality
from contracts.batch import HealthRecord
from drivers.port import BusPort, ReadResult, monotonic_us
from edge_agent.bus.asking import Asking
from edge_agent.bus.budget import PortBudget, deadline_s
from edge_agent.bus.counters import PortCounters, port_sums
from edge_agent.bus.device_state import HEALTHY, Event, Phase
from edge_agent.bus.handover import Estate, take_over
from edge_agent.bus.lending import JOB_SHARE, Job, Lending
from edge_agent.bus.parts import Parts
from edge_agent.bus.polled import PolledBlock, PolledDevice
from edge_agent.bus.probes import ProbeAccount
from edge_agent.bus.schedule import ALARM_RUN, Schedule, Turn
from edge_agent.bus.second_attempt import second_attempt_ms
from edge_agent.bus.sink import Codes, Row, Sink
from edge_agent.errors import ControlError
from edge_agent.logged_once import LoggedOnce
from edge_agent.plan import BlockPlan, Plan
from edge_agent.plan_ports import DevicePlan, PortPlan

__all__ = ["Codes", "Poller", "Row", "Sink", "blocks_of_port"]

_LOG = logging.getLogger(__name__)
#: what a device says for good: no such function, no such number
_REFUSED = frozenset({quality.ILLEGAL_FUNCTION, quality.ILLEGAL_VALUE})
#: a device with a request under way is held until that ends
_UNTIL_DONE = sys.maxsize
#: a poller that has nothing to wait for looks again after this (us)
_LONGEST_WAIT_US = 60_000_000

T = TypeVar("T")


def blocks_of_port(plan: Plan, port: int) -> dict[int, BlockPlan]:
    """Returns the blocks that a port reads, by block number."""
    return {number: block for number, block in enumerate(plan.blocks) if plan.devices[block.device].port == port}


class Poller:
    """Asks the devices of one port until it is stopped."""

    def __init__(
        self,
        *,
        port_id: str,
        port: BusPort,
        devices: Sequence[DevicePlan],
        blocks: Mapping[int, BlockPlan],
        sink: Sink,
        clock: Callable[[], int] = monotonic_us,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        at_once: bool = False,
        in_flight: int = 1,
        line: PortPlan | None = None,
        budget: PortBudget | None = None,
        estate: Estate | None = None,
    ) -> None:
        """Takes what it needs and starts nothing.

        Args:
            devices: of the whole plan; blocks name them by position.
            blocks: of this port, by number.
            clock: monotonic us.
            sleep: waits so many seconds; woken by cancelling the task.
            at_once: begin with the ticks that have begun, taken late, instead of the next ones.
            in_flight: requests at once, each to another device; 1 for every line.
            line: of the port; its speed tells frames from the device's own time.
            budget: of the port; shown in health, and jobs are lent no more than it leaves.
            estate: of the poller whose place it takes; its port is open and is ``port``.
        """
        shortest: dict[int, int] = {}
        for block in blocks.values():
            shortest[block.device] = min(block.interval_ms, shortest.get(block.device, block.interval_ms))
        self._devices = {
            place: PolledDevice(
                place,
                devices[place],
                shortest_ms=shortest[place],
                is_alone=len(shortest) == 1,
                gateway_timeout_s=0.0 if line is None else line.gateway_timeout_s,
            )
            for place in sorted(shortest)
        }
        bounds = {} if budget is None else {alarm.block: alarm for alarm in budget.alarms}
        self._blocks = [
            PolledBlock(place, number, plan, self._devices[plan.device], line=line, bound=bounds.get(number))
            for place, (number, plan) in enumerate(blocks.items())
        ]
        self._spare_ms = [
            round(
                1000
                * (
                    deadline_s(block.plan) - block.slot.interval_ms / 1000
                    if block.bound is None
                    else block.bound.spare_s
                )
            )
            for block in self._blocks
        ]
        self._port_id = port_id
        self._port = port
        self._sink = sink
        self._clock = clock
        self._sleep = sleep
        self._at_once = at_once
        self._in_flight = in_flight
        now = clock()
        longest_s = max((device.plan.max_reply_s for device in self._devices.values()), default=0.0)
        self._counters = PortCounters(now) if estate is None else estate.counters
        self._probes = ProbeAccount(now, longest_s) if estate is None else estate.probes
        self._schedule = Schedule((), 0)
        self._lending = Lending(port_id, port, clock)
        #: device -> until when it may not be asked, monotonic ms
        self._held: dict[int, int] = {}
        self._said = LoggedOnce(_LOG)
        self._task: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_sleeping = False
        self._is_woken = False
        self._is_stopping = False
        self._is_handing_over = False
        #: whether alarm blocks are served between the parts of another block just now
        self._is_between_parts = False
        self._asking = Asking(
            port_id=port_id,
            port=port,
            devices=self._devices,
            blocks=self._blocks,
            counters=self._counters,
            probes=self._probes,
            held=self._held,
            said=self._said,
            clock=clock,
        )
        self._parts = Parts(
            asking=self._asking,
            sink=sink,
            said=self._said,
            let_alarms_by=self._let_alarms_by,
            clock=clock,
            sleep=sleep,
        )
        self._estate = estate
        #: place in the schedule of the poller before this one -> place in this one's
        self._carried: dict[int, int] = {}
        if estate is not None:
            self._carried, held = take_over(estate, self._devices, self._blocks)
            self._held.update(held)
            self._probes.fit(longest_s)
            self._asking.inherit(estate)

    # -- life ------------------------------------------------------------------------

    async def run(self) -> None:
        """Opens the port, asks every block from its next tick on, and closes the port when stopped."""
        self._task = asyncio.current_task()
        try:
            before, self._estate = self._estate, None
            if before is None:
                await self._port.open()
            blocks = self._blocks
            self._schedule = Schedule([block.slot for block in blocks], self._clock() // 1000, at_once=self._at_once)
            if before is not None:
                self._schedule.take_over(before.schedule, self._carried)
            await (self._poll() if self._in_flight == 1 else self._poll_many())
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
        except Exception:
            self._is_handing_over = False
            raise
        finally:
            self._task = None
            for task in self._under_way:
                task.cancel()
            self._lending.refuse_all()
            if not self._is_handing_over:
                await self._port.close()

    def stop(self) -> None:
        """Lets ``run`` end after the request under way, which every port bounds; safe to call twice."""
        self._is_stopping, self._is_handing_over = True, False
        self._lending.stop()
        self._wake()

    def hand_over(self) -> None:
        """As ``stop``, but the port stays open and ``estate`` gives what another poller goes on with."""
        self._is_stopping = self._is_handing_over = True
        self._lending.stop()
        self._wake()

    @property
    def estate(self) -> Estate | None:
        """What is left after ``hand_over``, when ``run`` has ended; None: the port is closed."""
        if not self._is_handing_over or self._task is not None:
            return None
        return Estate(
            port=self._port,
            devices=tuple(self._devices.values()),
            blocks=self._blocks,
            schedule=self._schedule,
            counters=self._counters,
            probes=self._probes,
            away_because=self._asking.away_because,
            gateway_failures=self._asking.gateway_failures,
            gateway_from_us=self._asking.gateway_from_us,
        )

    async def borrow(
        self, job: Callable[[BusPort], Awaitable[T]], *, seconds: float = 1.0, share: float = JOB_SHARE
    ) -> T:
        """Runs a job on the port as one slot of the schedule, between two requests.

        It starts when no alarm block can miss its deadline by it, at once on a line that has nothing
        else to do, otherwise within ``lending.JOB_SHARE`` of the line's time.

        Args:
            job: takes the port; it may neither open nor close it.
            seconds: how long it takes at most; then it is cancelled.
            share: of the line's time that such jobs may take while others want it, above 0 and at most 1.

        Returns:
            What the job returns; what it raises is raised here.

        Raises:
            ControlError: the port is not polled, the job is too long, found no slot, or took too long.
        """
        return await self.ask(job, seconds=seconds, share=share)

    def ask(
        self, job: Callable[[BusPort], Awaitable[T]], *, seconds: float = 1.0, share: float = JOB_SHARE
    ) -> asyncio.Future[T]:
        """As ``borrow``, for whoever does not wait: the job stands in the queue when this returns.

        Raises:
            ControlError: the port is not polled, or the job is too long; what else goes wrong the future raises.
        """
        if self._task is None or self._is_stopping:
            raise ControlError(f"port {self._port_id} is not polled now; try again in a few seconds")
        answer: asyncio.Future[T] = self._lending.ask(job, seconds, share)
        self._wake()
        return answer

    def health(self) -> tuple[HealthRecord, ...]:
        """Returns what is known of the port and of each device on it."""
        now = self._clock()
        worst = [block.worst.ms for block in self._blocks if block.worst.ms is not None]
        window_us = self._counters.window_us(now)
        devices = [device.health(self._blocks, now, window_us) for device in self._devices.values()]
        facts = [
            *self._counters.facts(now),
            *port_sums(device.counters for device in self._devices.values()),
            ("alarm_worst_ms", max(worst, default=None)),
            ("probes_s", round(self._probes.spent_us / 1_000_000, 3)),
            ("jobs", self._lending.served),
        ]
        port = HealthRecord(subject=f"port/{self._port_id}", mono_us=now, facts=tuple(facts))
        return (port, *devices)

    def device_phases(self) -> dict[str, Phase]:
        """Returns where each device stands, by its id."""
        return {device.plan.id: device.state.phase for device in self._devices.values()}

    # -- turns -----------------------------------------------------------------------

    async def _poll(self) -> None:
        clock, schedule, blocks, held = self._clock, self._schedule, self._blocks, self._held
        jobs = self._lending.waiting
        while not self._is_stopping:
            now = clock()
            if jobs and (job := self._lending.take(schedule, self._spare_ms, now)) is not None:
                await self._lend(job)
                continue
            turn = schedule.take(now // 1000, held) if held else schedule.take(now // 1000)
            if turn is not None:
                await self._serve(blocks[turn.slot], turn, now)
                continue
            await self._wait(self._wake_at_us(now))
        self._give_up_all()

    async def _poll_many(self) -> None:
        clock, schedule, blocks, held = self._clock, self._schedule, self._blocks, self._held
        jobs = self._lending.waiting
        while not self._is_stopping:
            now = clock()
            if len(self._under_way) < self._in_flight:
                if jobs and (job := self._lending.take(schedule, self._spare_ms, now)) is not None:
                    self._spawn(self._lend(job))
                    continue
                turn = schedule.take(now // 1000, held)
                if turn is not None:
                    block = blocks[turn.slot]
                    held[block.device.place] = _UNTIL_DONE
                    self._spawn(self._serve_and_release(block, turn, now))
                    continue
            await self._wait(self._wake_at_us(now))
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._give_up_all()

    async def _lend(self, job: Job) -> None:
        self._counters.busy_us += await self._lending.run(job)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._wake()

    async def _serve_and_release(self, block: PolledBlock, turn: Turn, now: int) -> None:
        place = block.device.place
        try:
            await self._serve(block, turn, now)
        finally:
            if self._held.get(place) == _UNTIL_DONE:
                del self._held[place]

    def _wake_at_us(self, now: int) -> int:
        """Returns when something can happen next."""
        now_ms = now // 1000
        if self._held:
            for place in [place for place, until in self._held.items() if until <= now_ms]:
                del self._held[place]
        until = now + _LONGEST_WAIT_US
        next_ms = self._schedule.next_ms
        if next_ms is not None and len(self._under_way) < self._in_flight:
            until = next_ms * 1000
        if self._held:
            until = min(until, min(self._held.values()) * 1000)
        if self._lending.waiting and (again := self._lending.look_again_us(now)) is not None:
            return min(until, again)
        return until

    async def _wait(self, until_us: int) -> None:
        self._is_sleeping = True
        try:
            await self._sleep((until_us - self._clock()) / 1_000_000)
        except asyncio.CancelledError:
            task = self._task
            if not self._is_woken or task is None or task.uncancel() > 0:
                raise
        finally:
            self._is_sleeping = self._is_woken = False

    def _wake(self) -> None:
        if self._is_sleeping and not self._is_woken and self._task is not None:
            self._is_woken = True
            self._task.cancel()

    async def _serve(self, block: PolledBlock, turn: Turn, now: int) -> None:
        try:
            is_plain = block.device.state is HEALTHY and not turn.missed and block.begun is None
            if not (is_plain and not self._asking.gateway_from_us) and not self._may_ask(block, turn, now):
                return
            if not turn.is_second and now - turn.tick_ms * 1000 > self._counters.late_us:
                self._counters.late_us = now - turn.tick_ms * 1000
            if block.is_special:
                if block.parts:
                    await self._parts.read(block, turn.tick_ms)
                    return
                if not turn.is_second:
                    await self._trigger(block, turn)
                    return
            result = await self._asking.ask(block.device, block.request, block.wire_us)
            block.begun = None
            if result.words is None:
                await self._not_answered(block, turn, result)
                return
            if block.complaint:
                block.complain(0)
            requested, replied = result.requested_us, result.replied_us
            row, codes = self._asking.decode(block.decode, result.words, block.width)
            self._sink(block.number, (requested + replied) // 2, row, codes, replied)
            if block.slot.is_alarm:
                if block.answered_us and replied - block.answered_us > block.worst.us:
                    block.worst.us = replied - block.answered_us
                block.answered_us = requested
        except Exception as error:
            self._counters.faults += 1
            self._said.fault("serve", error, "port %s: a tick could not be served", self._port_id)

    def _may_ask(self, block: PolledBlock, turn: Turn, now: int) -> bool:
        """Tells what became of earlier ticks, and of this one where it is not asked."""
        device = block.device
        if turn.is_second:
            if block.begun is None:
                return False
        elif block.begun is not None:
            self._give_up(block)
        if turn.missed:
            device.counters.missed += len(turn.missed)
            for missed_ms in turn.missed:
                self._sink(block.number, missed_ms * 1000, block.nothing, block.all_of(quality.MISSED_TICK), now)
        is_resting = now < self._asking.gateway_from_us
        if device.state.phase is Phase.SILENT and not is_resting and device.may_be_probed(now, self._probes):
            device.begin_probe(now, self._probes)
        elif is_resting or device.state.phase is Phase.SILENT:
            if turn.is_second:
                self._give_up(block)
                return False
            device.counters.not_asked += 1
            row_us = turn.tick_ms * 1000
            self._sink(block.number, row_us, block.nothing, block.all_of(quality.NOT_ASKED), now)
            return False
        return True

    async def _not_answered(self, block: PolledBlock, turn: Turn, result: ReadResult) -> None:
        """Asks again, splits, or tells the cause."""
        block.answered_us = 0
        next_tick_ms = turn.tick_ms + block.slot.interval_ms
        again_ms = (
            None
            if turn.is_second
            else second_attempt_ms(
                result.code, requested_us=result.requested_us, replied_us=result.replied_us, next_tick_ms=next_tick_ms
            )
        )
        if again_ms is not None:
            block.device.counters.retries += 1
            block.begun = result
            self._schedule.again(turn.slot, turn.tick_ms, again_ms)
            return
        if result.code == quality.ILLEGAL_ADDRESS and self._parts.split(block, result):
            await self._parts.read(block, turn.tick_ms)
            return
        if result.code in _REFUSED:
            block.complain(result.code)
        self._tell_failed(block, result)

    async def _trigger(self, block: PolledBlock, turn: Turn) -> None:
        """Writes what lets the device measure; its read is due after the wait."""
        trigger = block.plan.read.trigger
        assert trigger is not None
        written = await self._port.write(block.trigger_request())
        device = block.device
        took = written.replied_us - written.requested_us
        self._counters.busy_us += took
        result = ReadResult(
            words=None,
            code=written.code,
            requested_us=written.requested_us,
            replied_us=written.replied_us,
            detail=written.detail,
        )
        if written.code != quality.GOOD:
            block.answered_us = 0
            self._asking.note_failure(device, result, took)
            self._tell_failed(block, result)
            return
        if trigger.answered and device.state is not HEALTHY:
            device.hear(Event.ANSWERED, written.replied_us)
        self._asking.hold(device, written.replied_us + device.gap_us)
        ready_us = written.replied_us + trigger.wait_ms * 1000
        # Told as the tick's cause where the poller is stopped before the read.
        block.begun = result
        self._schedule.go_on(turn.slot, turn.tick_ms, -(-ready_us // 1000))

    def _tell_failed(self, block: PolledBlock, result: ReadResult) -> None:
        code = result.code if result.code != quality.GOOD else quality.MISSED_TICK
        self._sink(block.number, result.requested_us, block.nothing, block.all_of(code), result.replied_us)

    def _give_up(self, block: PolledBlock) -> None:
        """Tells a tick whose second request will not be made any more."""
        begun, block.begun = block.begun, None
        if begun is not None:
            self._tell_failed(block, begun)

    def _give_up_all(self) -> None:
        if self._is_handing_over:
            return
        for block in self._blocks:
            try:
                self._give_up(block)
            except Exception as error:
                self._counters.faults += 1
                self._said.fault("tell", error, "port %s: a tick could not be told", self._port_id)

    async def _let_alarms_by(self, device: PolledDevice) -> None:
        """Serves alarm blocks of other devices that are due, as they would be between any two requests."""
        if self._in_flight > 1 or self._is_between_parts:
            return
        self._is_between_parts = True
        try:
            for _ in range(ALARM_RUN):
                now = self._clock()
                turn = self._schedule.take_alarm(now // 1000, {**self._held, device.place: _UNTIL_DONE})
                if turn is None:
                    return
                await self._serve(self._blocks[turn.slot], turn, now)
        finally:
            self._is_between_parts = False
