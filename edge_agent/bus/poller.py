"""The poller of one port: wait for the next tick, ask, decode, hand on.  One task, one timer.

It decides little: whose turn it is says ``schedule``, whether a device is worth asking
``device_state``, what words mean the block's decoder, what values mean the sink.  Every tick
of every block gives exactly one row, taken or not, so that the grid has no unexplained hole:

===============================  ===========================  =============================
tick                             sample time                  quality codes
===============================  ===========================  =============================
asked and answered               middle of request and reply  as decoded, None when all good
asked, no values                 when it was asked            the cause, for every point
device silent, no probe due      the tick                     ``not_asked``
not asked before the next tick   the tick                     ``missed_tick``
===============================  ===========================  =============================

*The retry policy*, here and nowhere else: a damaged reply or a busy device is asked once more at
once if that can end before the block's next tick.  Nothing else is asked twice.  A block
refused with exception 2 is read point by point in the same tick and from then on.

On the hot path (a good reply) nothing is made beyond the result and the decoded row.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from contracts import quality
from contracts.batch import HealthRecord
from drivers.errors import DecodeError
from drivers.plan import BlockDecoder, BlockRead, Decoded
from drivers.port import BusPort, ReadRequest, ReadResult, monotonic_us
from edge_agent.bus.block import Part, decoder, holes, split
from edge_agent.bus.counters import WINDOW_US, DeviceCounters, PortCounters
from edge_agent.bus.device_state import HEALTHY, DeviceState, Event, Phase, event_of, step, timeout_s
from edge_agent.bus.schedule import Schedule, Slot, Turn
from edge_agent.plan import BlockPlan, DevicePlan, Plan

_LOG = logging.getLogger(__name__)
_RETRIED = frozenset({quality.BAD_FRAME, quality.DEVICE_BUSY})
#: after a split that did not help the block is tried whole for this long (us)
_SPLIT_AGAIN_US = 60_000_000
_MAX_TEXT = 256

Row = Sequence[int | float | None]
Codes = Sequence[int] | None


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
    ) -> None:
        """Takes what it needs and starts nothing.

        Args:
            devices: of the whole plan; blocks name them by position.
            blocks: of this port, by number.
            clock: monotonic us.
            sleep: waits so many seconds; woken by cancelling the task.
            at_once: begin with the ticks that have begun, taken late, instead of the next ones.
        """
        used = sorted({block.device for block in blocks.values()})
        self._devices = {place: _Device(devices[place], is_alone=len(used) == 1) for place in used}
        self._blocks = [_Block(number, plan, self._devices[plan.device]) for number, plan in blocks.items()]
        self._port_id = port_id
        self._port = port
        self._sink = sink
        self._clock = clock
        self._sleep = sleep
        self._at_once = at_once
        self._counters = PortCounters(clock())
        self._roll_at_us = clock() + WINDOW_US
        self._task: asyncio.Task[None] | None = None
        self._is_sleeping = False
        self._is_stopping = False
        #: why the port is away; empty while it is there
        self._away_because = ""

    async def run(self) -> None:
        """Opens the port, asks every block from its next tick on, and closes the port when stopped."""
        self._task = asyncio.current_task()
        try:
            await self._port.open()
            await self._poll()
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
        finally:
            await self._port.close()

    def stop(self) -> None:
        """Lets ``run`` end after the request under way, which every port bounds; safe to call twice."""
        self._is_stopping = True
        if self._is_sleeping and self._task is not None:
            self._is_sleeping = False
            self._task.cancel()

    def health(self) -> tuple[HealthRecord, ...]:
        """Returns what is known of the port and of each device on it."""
        now = self._clock()
        port = HealthRecord(subject=f"port/{self._port_id}", mono_us=now, facts=tuple(self._counters.facts(now)))
        return (port, *(device.health(self._blocks, now) for device in self._devices.values()))

    def device_phases(self) -> dict[str, Phase]:
        """Returns where each device stands, by its id."""
        return {device.plan.id: device.state.phase for device in self._devices.values()}

    async def _poll(self) -> None:
        clock = self._clock
        schedule = Schedule([block.slot for block in self._blocks], clock() // 1000, at_once=self._at_once)
        while not self._is_stopping:
            now = clock()
            turn = schedule.take(now // 1000)
            if turn is not None:
                try:
                    await self._serve(self._blocks[turn.slot], turn, now)
                except Exception:
                    self._counters.faults += 1
                    _LOG.exception("port %s: a tick could not be served", self._port_id)
                continue
            next_ms = schedule.next_ms
            if next_ms is None:
                return
            await self._wait(next_ms * 1000)

    async def _wait(self, until_us: int) -> None:
        self._is_sleeping = True
        await self._sleep((until_us - self._clock()) / 1_000_000)
        self._is_sleeping = False

    async def _serve(self, block: _Block, turn: Turn, now: int) -> None:
        device = block.device
        tick_us = turn.tick_ms * 1000
        if turn.missed:
            device.counters.missed += len(turn.missed)
            for missed_ms in turn.missed:
                self._sink(block.number, missed_ms * 1000, block.nothing, block.all_of(quality.MISSED_TICK), now)
        if device.state is not HEALTHY:
            if not device.state.may_be_asked(now):
                device.counters.not_asked += 1
                self._sink(block.number, tick_us, block.nothing, block.all_of(quality.NOT_ASKED), now)
                return
            device.hear(Event.PROBED, now)
        if now - tick_us > self._counters.late_us:
            self._counters.late_us = now - tick_us
        if block.parts:
            await self._read_parts(block, tick_us)
            return
        result = await self._ask(device, block.request)
        # The second attempt is taken to last as long as the first one did.
        done_us = 2 * result.replied_us - result.requested_us
        if result.code in _RETRIED and done_us <= tick_us + block.slot.interval_ms * 1000:
            device.counters.retries += 1
            result = await self._ask(device, block.request)
        if result.code == quality.ILLEGAL_ADDRESS and self._split(block, result):
            await self._read_parts(block, tick_us)
            return
        if result.words is None:
            self._sink(block.number, result.requested_us, block.nothing, block.all_of(result.code), result.replied_us)
            return
        row, codes = self._decode(block.decode, result.words, block.width)
        sampled_us = (result.requested_us + result.replied_us) // 2
        self._sink(block.number, sampled_us, row, codes, result.replied_us)

    async def _ask(self, device: _Device, request: ReadRequest) -> ReadResult:
        if device.gap_us and device.free_us > self._clock():
            await self._wait(device.free_us)
        result = await self._port.read(request)
        replied, counters = result.replied_us, device.counters
        took = replied - result.requested_us
        self._counters.busy_us += took
        device.free_us = replied + device.gap_us
        counters.requests += 1
        if result.code == quality.PORT_CLOSED or self._away_because:
            self._tell_port(result)
        if result.code == quality.GOOD:
            counters.good += 1
            counters.last_good_us = replied
            if counters.latency.add(took):
                device.find_timeout()
            if device.state is not HEALTHY:
                device.hear(Event.ANSWERED, replied)
        else:
            counters.failed(result.code, replied, result.detail)
            device.hear(event_of(result.code), replied)
        if replied >= self._roll_at_us:
            self._roll(replied)
        return result

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
            device.counters.roll()
            device.find_timeout()

    def _decode(self, decode: BlockDecoder, words: Sequence[int], width: int) -> Decoded:
        try:
            return decode(words)
        except DecodeError as error:
            self._counters.faults += 1
            _LOG.error("port %s: a reply does not fit its request: %s", self._port_id, error)
            return (None,) * width, (quality.INVALID,) * width

    def _split(self, block: _Block, refused: ReadResult) -> bool:
        """Splits a refused block where that can help; returns whether it is split now."""
        if refused.replied_us < block.split_from_us:
            return False
        block.parts = split(block.plan.read)
        if block.parts:
            _LOG.warning(
                "device %s refuses %s: reading its points one by one", block.device.plan.id, _named(block.plan.read)
            )
        return bool(block.parts)

    async def _read_parts(self, block: _Block, tick_us: int) -> None:
        """Reads a split block point by point; after a failure that concerns all, the rest is not asked."""
        row: list[int | float | None] = list(block.nothing)
        codes = [quality.NOT_ASKED] * block.width
        first = last = None
        for part in block.parts:
            result = await self._ask(block.device, block.device.request(part.read))
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
        elif refused != block.refused and refused:
            _LOG.warning("device %s has no register for %s", block.device.plan.id, ", ".join(refused))
        block.refused = refused
        sampled = (first.requested_us + last.replied_us) // 2 if any(code < 128 for code in codes) else tick_us
        self._sink(block.number, sampled, row, codes if any(codes) else None, last.replied_us)


class _Device:
    """What a poller keeps of one device."""

    __slots__ = ("_is_alone", "counters", "free_us", "gap_us", "plan", "state", "timeout_s", "waiting")

    def __init__(self, plan: DevicePlan, *, is_alone: bool) -> None:
        self.plan = plan
        self.counters = DeviceCounters()
        self.state: DeviceState = HEALTHY
        self.gap_us = plan.min_request_gap_ms * 1000
        #: no request before this, monotonic us
        self.free_us = 0
        self._is_alone = is_alone
        #: blocks whose request carries the time-out
        self.waiting: list[_Block] = []
        self.timeout_s = plan.max_reply_s
        self.find_timeout()

    def request(self, read: BlockRead) -> ReadRequest:
        """Returns the request for a read, with the time-out of now."""
        return ReadRequest(
            unit_id=self.plan.unit_id,
            table=read.table,
            address=read.address,
            count=read.count,
            timeout_s=self.timeout_s,
            max_reply_s=self.plan.max_reply_s,
        )

    def find_timeout(self) -> None:
        """Fits the time-out to what is known now."""
        found = timeout_s(
            self.state,
            slowest_us=self.counters.slowest_us,
            max_reply_s=self.plan.max_reply_s,
            is_alone=self._is_alone,
        )
        if found != self.timeout_s:
            self.timeout_s = found
            for block in self.waiting:
                block.request = self.request(block.plan.read)

    def hear(self, event: Event, now_us: int) -> None:
        """Takes one event; says once in the log when the device goes away and when it is back."""
        before, self.state = self.state, step(self.state, event, now_us)
        if self.state is before:
            return
        self.find_timeout()
        if self.state.phase is Phase.SILENT and before.phase is not Phase.PROBING:
            _LOG.warning("device %s is silent: %s", self.plan.id, self.counters.last_error)
        elif before.phase is Phase.PROBING and self.state.phase is not Phase.SILENT:
            _LOG.info("device %s answers again", self.plan.id)

    def health(self, blocks: Sequence[_Block], now_us: int) -> HealthRecord:
        """Returns the device's health record."""
        own = [block for block in blocks if block.device is self]
        gaps = [_holes(block.plan.read) for block in own if block.parts]
        refused = [name for block in own for name in block.refused]
        facts = [
            ("state", self.state.phase.value),
            ("timeout_ms", round(self.timeout_s * 1000, 3)),
            ("split_blocks", len(gaps)),
            ("holes", "; ".join(gap for gap in gaps if gap)[:_MAX_TEXT] or None),
            ("refused_points", ", ".join(refused)[:_MAX_TEXT] or None),
            *self.counters.facts(),
        ]
        return HealthRecord(subject=f"device/{self.plan.id}", mono_us=now_us, facts=tuple(facts))


class _Block:
    """What a poller keeps of one block."""

    __slots__ = (
        "_codes",
        "decode",
        "device",
        "nothing",
        "number",
        "parts",
        "plan",
        "refused",
        "request",
        "slot",
        "split_from_us",
        "width",
    )

    def __init__(self, number: int, plan: BlockPlan, device: _Device) -> None:
        self.number = number
        self.plan = plan
        self.device = device
        self.slot = Slot(interval_ms=plan.interval_ms, phase_ms=plan.phase_ms, is_alarm=plan.is_alarm)
        self.decode = decoder(plan.read)
        self.request = device.request(plan.read)
        self.width = len(plan.read.points)
        #: the row of a tick without values
        self.nothing: tuple[None, ...] = (None,) * self.width
        self._codes: dict[int, tuple[int, ...]] = {}
        #: empty while the block is read whole
        self.parts: tuple[Part, ...] = ()
        #: no split before this, monotonic us
        self.split_from_us = 0
        #: points that the device refused by themselves
        self.refused: tuple[str, ...] = ()
        device.waiting.append(self)

    def all_of(self, code: int) -> tuple[int, ...]:
        """Returns the same code for every point; one tuple per code, made once."""
        found = self._codes.get(code)
        if found is None:
            found = self._codes[code] = (code,) * self.width
        return found


def _named(read: BlockRead) -> str:
    return f"{read.table} {read.address}..{read.address + read.count - 1}"


def _holes(read: BlockRead) -> str:
    runs = [f"{first}..{last}" if last > first else str(first) for first, last in holes(read)]
    return f"{read.table} {', '.join(runs)}" if runs else ""
