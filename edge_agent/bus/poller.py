"""The poller of one port: wait for the next tick, ask, decode, hand on.  One task, one timer.

It decides little: whose turn it is says ``schedule``, whether a device is worth asking
``device_state`` and ``probes``, what is asked twice ``second_attempt``, what words mean the block's
decoder, what values mean the sink.  Every tick of every block gives exactly one row, taken or not,
so that the grid has no unexplained hole:

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
from typing import Any, Protocol, TypeVar

from contracts import quality
from contracts.batch import HealthRecord
from drivers.errors import DecodeError
from drivers.plan import BlockDecoder, Decoded
from drivers.port import BusPort, ReadRequest, ReadResult, monotonic_us
from edge_agent.bus.block import split
from edge_agent.bus.budget import PortBudget, deadline_s
from edge_agent.bus.counters import WINDOW_US, PortCounters, port_sums
from edge_agent.bus.device_state import HEALTHY, Event, Phase, event_of, gateway_rest_us
from edge_agent.bus.handover import Estate, take_over
from edge_agent.bus.lending import JOB_SHARE, Job, Lending
from edge_agent.bus.polled import PolledBlock, PolledDevice, named
from edge_agent.bus.probes import ProbeAccount
from edge_agent.bus.schedule import ALARM_RUN, Schedule, Turn
from edge_agent.bus.second_attempt import second_attempt_ms
from edge_agent.errors import ControlError
from edge_agent.logged_once import LoggedOnce
from edge_agent.plan import BlockPlan, DevicePlan, Plan, PortPlan

_LOG = logging.getLogger(__name__)
#: after a split that did not help the block is tried whole for this long (us)
_SPLIT_AGAIN_US = 60_000_000
#: what a device says for good: no such function, no such number
_REFUSED = frozenset({quality.ILLEGAL_FUNCTION, quality.ILLEGAL_VALUE})
#: a device with a request under way is held until that ends
_UNTIL_DONE = sys.maxsize
#: a poller that has nothing to wait for looks again after this (us)
_LONGEST_WAIT_US = 60_000_000

Row = Sequence[int | float | None]
Codes = Sequence[int] | None
T = TypeVar("T")


class Sink(Protocol):
    """Takes every row at once; what it raises is logged and does not stop the poller."""

    def __call__(self, block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int, /) -> None:
        """Takes one tick of one block.

        Args:
            block: number in the plan.
            sampled_us: monotonic us.
            row: counts or floats in the order of the block's points; None where there is no number.
            codes: one quality code per point; None when all are good.
            replied_us: when the row was known, monotonic us.
        """


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
        self._counters = PortCounters(now)
        self._roll_at_us = now + WINDOW_US
        longest_s = max((device.plan.max_reply_s for device in self._devices.values()), default=0.0)
        self._probes = ProbeAccount(now, longest_s)
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
        #: why the port is away; empty while it is there
        self._away_because = ""
        self._gateway_failures = 0
        #: a gateway without a path is asked again from here on, monotonic us
        self._gateway_from_us = 0
        self._is_handing_over = False
        #: whether alarm blocks are served between the parts of another block just now
        self._is_between_parts = False
        self._estate = estate
        #: place in the schedule of the poller before this one -> place in this one's
        self._carried: dict[int, int] = {}
        if estate is not None:
            self._inherit(estate)

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
            away_because=self._away_because,
            gateway_failures=self._gateway_failures,
            gateway_from_us=self._gateway_from_us,
        )

    def _inherit(self, estate: Estate) -> None:
        self._carried, held = take_over(estate, self._devices, self._blocks)
        self._held.update(held)
        self._counters, self._probes = estate.counters, estate.probes
        self._probes.fit(max((device.plan.max_reply_s for device in self._devices.values()), default=0.0))
        self._away_because = estate.away_because
        self._gateway_failures, self._gateway_from_us = estate.gateway_failures, estate.gateway_from_us

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
        if self._task is None or self._is_stopping:
            raise ControlError(f"port {self._port_id} is not polled now; try again in a few seconds")
        answer = self._lending.ask(job, seconds, share)
        self._wake()
        result: T = await answer
        return result

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
            if not (is_plain and not self._gateway_from_us) and not self._may_ask(block, turn, now):
                return
            if not turn.is_second and now - turn.tick_ms * 1000 > self._counters.late_us:
                self._counters.late_us = now - turn.tick_ms * 1000
            if block.is_special:
                if block.parts:
                    await self._read_parts(block, turn)
                    return
                if not turn.is_second:
                    await self._trigger(block, turn)
                    return
            result = await self._ask(block.device, block.request, block.wire_us)
            block.begun = None
            if result.words is None:
                await self._not_answered(block, turn, result)
                return
            if block.complaint:
                block.complain(0)
            requested, replied = result.requested_us, result.replied_us
            row, codes = self._decode(block.decode, result.words, block.width)
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
        is_resting = now < self._gateway_from_us
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
        if result.code == quality.ILLEGAL_ADDRESS and self._split(block, result):
            await self._read_parts(block, turn)
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
            self._note_failure(device, result, took)
            self._tell_failed(block, result)
            return
        if trigger.answered and device.state is not HEALTHY:
            device.hear(Event.ANSWERED, written.replied_us)
        self._hold(device, written.replied_us + device.gap_us)
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

    # -- one request -----------------------------------------------------------------

    async def _ask(self, device: PolledDevice, request: ReadRequest, wire_us: int) -> ReadResult:
        result = await self._port.read(request)
        replied, counters = result.replied_us, device.counters
        took = replied - result.requested_us
        self._counters.busy_us += took
        if device.gap_us:
            self._hold(device, replied + device.gap_us)
        counters.requests += 1
        if result.code == quality.PORT_CLOSED or self._away_because:
            self._tell_port(result)
        if result.code == quality.GOOD:
            counters.good += 1
            counters.last_good_us = replied
            if counters.latency.add(took - wire_us if took > wire_us else 0):
                device.find_timeout()
            if device.state is not HEALTHY:
                device.hear(Event.ANSWERED, replied)
            if self._gateway_failures:
                self._gateway_failures = self._gateway_from_us = 0
        else:
            self._note_failure(device, result, took)
        if replied >= self._roll_at_us:
            self._roll(replied)
        return result

    def _note_failure(self, device: PolledDevice, result: ReadResult, took: int) -> None:
        device.counters.failed(result.code, result.replied_us, result.detail)
        event = event_of(result.code)
        if device.state.phase is Phase.PROBING and event is not Event.ANSWERED:
            self._probes.charge(took)
        device.hear(event, result.replied_us)
        if result.code == quality.GATEWAY_PATH:
            self._gateway_failures += 1
            self._gateway_from_us = gateway_rest_us(self._gateway_failures, result.replied_us)
        elif event is not Event.UNKNOWN:
            self._gateway_failures = self._gateway_from_us = 0

    def _hold(self, device: PolledDevice, until_us: int) -> None:
        device.free_us = until_us
        self._held[device.place] = -(-until_us // 1000)

    def _tell_port(self, result: ReadResult) -> None:
        """Says once in the log why the port is away, and once that it is back."""
        if result.code == quality.PORT_CLOSED:
            if result.detail != self._away_because:
                _LOG.warning("port %s is away: %s", self._port_id, result.detail or "closed")
            self._away_because = result.detail or "closed"
        elif result.code != quality.NOT_ASKED:
            _LOG.info("port %s is back", self._port_id)
            self._away_because = ""

    def _roll(self, now_us: int) -> None:
        self._roll_at_us = now_us + WINDOW_US
        self._counters.roll(now_us)
        for device in self._devices.values():
            device.roll()
        for block in self._blocks:
            block.worst.roll()

    def _decode(self, decode: BlockDecoder, words: Sequence[int], width: int) -> Decoded:
        try:
            return decode(words)
        except DecodeError as error:
            self._counters.faults += 1
            self._said.gone(f"fit {error}", "port %s: a reply does not fit its request: %s", self._port_id, error)
            return (None,) * width, (quality.INVALID,) * width

    # -- blocks that are read point by point -----------------------------------------

    def _split(self, block: PolledBlock, refused: ReadResult) -> bool:
        """Splits a refused block where that can help; returns whether it is split now."""
        if refused.replied_us < block.split_from_us or block.plan.read.trigger is not None:
            return False
        block.parts = split(block.plan.read)
        block.is_special = bool(block.parts)
        if block.parts:
            self._said.gone(
                f"split {block.number}",
                "device %s refuses %s: reading its points one by one",
                block.device.plan.id,
                named(block.plan.read),
                level=logging.WARNING,
            )
        return bool(block.parts)

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

    async def _read_parts(self, block: PolledBlock, turn: Turn) -> None:
        """Reads a split block point by point; after a failure that concerns all, the rest is not asked."""
        row: list[int | float | None] = list(block.nothing)
        codes = [quality.NOT_ASKED] * block.width
        first = last = None
        device = block.device
        for part in block.parts:
            if first is not None:
                await self._let_alarms_by(device)
            rest_us = device.free_us - self._clock()
            if device.gap_us and rest_us > 0:
                await self._sleep(rest_us / 1_000_000)
            result = await self._ask(device, device.request(part.read), 0)
            first, last = first or result, result
            if result.words is not None:
                values, qualities = self._decode(part.decode, result.words, 1)
                row[part.place] = values[0]
                codes[part.place] = quality.GOOD if qualities is None else qualities[0]
                continue
            codes[part.place] = result.code
            if event_of(result.code) in (Event.UNANSWERED, Event.UNKNOWN):
                break
        if first is None or last is None:
            return
        refused = tuple(
            part.read.points[0].name for part in block.parts if codes[part.place] == quality.ILLEGAL_ADDRESS
        )
        if len(refused) == block.width:
            # Not a hole: the device refuses everything, so one question is enough until later.
            block.parts, block.split_from_us = (), last.replied_us + _SPLIT_AGAIN_US
            block.is_special = False
        elif refused != block.refused and refused:
            _LOG.warning("device %s has no register for %s", block.device.plan.id, ", ".join(refused))
        block.refused = refused
        tick_us = turn.tick_ms * 1000
        sampled = (first.requested_us + last.replied_us) // 2 if any(code < 128 for code in codes) else tick_us
        self._sink(block.number, sampled, row, codes if any(codes) else None, last.replied_us)
