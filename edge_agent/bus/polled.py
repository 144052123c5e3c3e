"""What a poller keeps of each device and of each block: records that change, and no decisions of their own."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from contracts import quality
from contracts.batch import HealthRecord
from drivers.plan import BlockRead
from drivers.port import ReadRequest, ReadResult, WriteRequest
from edge_agent.bus.block import Part, decoder, holes
from edge_agent.bus.budget import AlarmBound, slot_deadline_ms
from edge_agent.bus.counters import DeviceCounters, Worst
from edge_agent.bus.device_state import (
    HEALTHY,
    DeviceState,
    Event,
    Phase,
    backoff_s,
    counted_timeout_s,
    event_of,
    is_over_budget,
    longest_backoff_s,
    step,
    timeout_s,
)
from edge_agent.bus.probes import LONG_PROBE, ProbeAccount
from edge_agent.bus.request_time import read_bytes, wire_s
from edge_agent.bus.schedule import Slot
from edge_agent.plan import BlockPlan
from edge_agent.plan_ports import DevicePlan, PortPlan

_LOG = logging.getLogger(__name__)
_MAX_TEXT = 256
#: how health shows a device whose line, connection or gateway fails before it can answer
_UNREACHED = "unreached"
#: more alarm blocks of one device than this are not shown one by one
_MOST_SHOWN = 20


class PolledDevice:
    """One device."""

    __slots__ = (
        "_is_alone",
        "_longest_s",
        "_since_long",
        "_slowest_us",
        "counted_s",
        "counters",
        "free_us",
        "gap_us",
        "is_over_budget",
        "place",
        "plan",
        "state",
        "timeout_s",
        "waiting",
    )

    def __init__(
        self, place: int, plan: DevicePlan, *, shortest_ms: int, is_alone: bool, gateway_timeout_s: float = 0.0
    ) -> None:
        """Takes what a device is.

        Args:
            place: position in the plan.
            plan: the device.
            shortest_ms: shortest interval of its blocks.
            is_alone: whether nobody else is on its port.
            gateway_timeout_s: the port gives no request up earlier.
        """
        self.place = place
        self.plan = plan
        self.counters = DeviceCounters()
        self.state: DeviceState = HEALTHY
        self.gap_us = plan.min_request_gap_ms * 1000
        #: no request before this, monotonic us
        self.free_us = 0
        self.counted_s = max(counted_timeout_s(plan.timeout_s, plan.max_reply_s), gateway_timeout_s)
        #: whether it was seen to need longer than the budget counts
        self.is_over_budget = False
        self._is_alone = is_alone
        self._longest_s = longest_backoff_s(shortest_ms, plan.max_reply_s)
        self._since_long = LONG_PROBE
        self._slowest_us: int | None = None
        #: blocks whose request carries the time-out
        self.waiting: list[PolledBlock] = []
        self.timeout_s = plan.max_reply_s
        self.find_timeout()

    def inherit(self, before: PolledDevice) -> None:
        """Goes on where the same device stood under an earlier plan."""
        self.counters = before.counters
        self.state = before.state
        self.free_us = before.free_us
        self._since_long, self._slowest_us = before._since_long, before._slowest_us
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
        """Fits the time-out to what is known now; what was known of a device that is away stays."""
        slowest = self._slowest_us = self.counters.slowest_us or self._slowest_us
        self._wait(
            timeout_s(
                slowest_us=slowest,
                counted_s=self.counted_s,
                max_reply_s=self.plan.max_reply_s,
                is_alone=self._is_alone,
            )
        )
        is_over = not self._is_alone and is_over_budget(slowest, self.counted_s)
        if is_over and not self.is_over_budget:
            _LOG.warning(
                "device %s needs %.3f s to answer, the budget counts a time-out of %.3g s: "
                "alarms on its line can be later than computed; a longer timeout_s would be right",
                self.plan.id,
                (slowest or 0) / 1e6,
                self.counted_s,
            )
        self.is_over_budget = is_over

    def _wait(self, seconds: float) -> None:
        if seconds != self.timeout_s:
            self.timeout_s = seconds
            for block in self.waiting:
                block.request = self.request(block.plan.read)

    def may_be_probed(self, now_us: int, account: ProbeAccount) -> bool:
        """Whether a tick of this silent device goes out as a probe."""
        state = self.state
        if not state.may_be_asked(now_us):
            return False
        rest_s = self._longest_s - backoff_s(state.probes, self._longest_s)
        return account.allows(now_us, state.probe_from_us + rest_s * 1_000_000)

    def begin_probe(self, now_us: int, account: ProbeAccount) -> None:
        """Makes the next request a probe."""
        self.hear(Event.PROBED, now_us)
        if self._is_alone:
            return
        seconds, is_long = account.wait_s(
            now_us,
            since_long=self._since_long,
            slowest_us=self._slowest_us,
            short_s=self.timeout_s,
            max_reply_s=self.plan.max_reply_s,
        )
        self._since_long = 0 if is_long else self._since_long + 1
        self._wait(seconds)

    def hear(self, event: Event, now_us: int) -> None:
        """Takes one event; says once in the log when the device goes away and when it is back."""
        before, self.state = self.state, step(self.state, event, now_us, self._longest_s)
        if self.state is before:
            return
        self.find_timeout()
        if self.state.phase is Phase.SILENT and before.phase is not Phase.PROBING:
            self._since_long = LONG_PROBE
            _LOG.warning("device %s is silent: %s", self.plan.id, self.counters.last_error)
        elif before.phase is Phase.PROBING and self.state.phase is not Phase.SILENT:
            _LOG.info("device %s answers again", self.plan.id)

    def roll(self) -> None:
        """Begins a new window."""
        self.counters.roll()
        self.find_timeout()

    @property
    def _is_unreached(self) -> bool:
        # Of a device whose line is not there nothing is known: it is not well because it was so, or never asked.
        counters = self.counters
        code, failed_us, good_us = counters.last_code, counters.last_error_us, counters.last_good_us
        return (
            self.state.phase is Phase.HEALTHY
            and code is not None
            and failed_us is not None
            and (good_us is None or good_us < failed_us)
            and event_of(code) is Event.UNKNOWN
        )

    def health(self, blocks: Sequence[PolledBlock], now_us: int, window_us: int = 0) -> HealthRecord:
        """Returns the device's health record; ``window_us`` is how long latencies are kept."""
        own = [block for block in blocks if block.device is self]
        gaps = [_holes(block.plan.read) for block in own if block.parts]
        refused = [name for block in own for name in block.refused]
        facts: list[tuple[str, float | int | str | None]] = [
            ("state", _UNREACHED if self._is_unreached else self.state.phase.value),
            ("timeout_ms", round(self.timeout_s * 1000, 3)),
            ("over_budget", int(self.is_over_budget)),
            ("split_blocks", len(gaps)),
            ("holes", "; ".join(gap for gap in gaps if gap)[:_MAX_TEXT] or None),
            ("refused_points", ", ".join(refused)[:_MAX_TEXT] or None),
            *self.counters.facts(window_us),
        ]
        for block in [block for block in own if block.slot.is_alarm][:_MOST_SHOWN]:
            name = f"{block.plan.read.table}_{block.plan.read.address}"
            facts.append((f"alarm_worst_ms_{name}", block.worst.ms))
            facts.append((f"alarm_bound_ms_{name}", None if block.bound is None else block.bound.bound_s * 1000))
        return HealthRecord(subject=f"device/{self.plan.id}", mono_us=now_us, facts=tuple(facts))


class PolledBlock:
    """One block."""

    __slots__ = (
        "_codes",
        "answered_us",
        "begun",
        "bound",
        "complaint",
        "decode",
        "device",
        "is_special",
        "nothing",
        "number",
        "parts",
        "place",
        "plan",
        "refused",
        "request",
        "slot",
        "split_from_us",
        "width",
        "wire_us",
        "worst",
    )

    def __init__(
        self,
        place: int,
        number: int,
        plan: BlockPlan,
        device: PolledDevice,
        *,
        line: PortPlan | None = None,
        bound: AlarmBound | None = None,
    ) -> None:
        """Takes what a block is.

        Args:
            place: position in the schedule.
            number: in the plan.
            plan: the block.
            device: whom it asks.
            line: of the port, for the time that frames take; None: they are counted as the device's time.
            bound: how late its alarm points can be; None: not computed.
        """
        self.place = place
        self.number = number
        self.plan = plan
        self.device = device
        self.slot = Slot(
            interval_ms=plan.interval_ms,
            phase_ms=plan.phase_ms,
            is_alarm=plan.is_alarm,
            device=device.place,
            deadline_ms=slot_deadline_ms(plan),
        )
        self.decode = decoder(plan.read)
        self.request = device.request(plan.read)
        #: of both frames, and of the network where there is one on the way
        self.wire_us = 0
        if line is not None:
            self.wire_us = round((wire_s(line, read_bytes(plan.read)) + line.network_delay_s) * 1_000_000)
        self.width = len(plan.read.points)
        self.bound = bound
        #: time between the change of a register and its row at most, between two answered reads in a row
        self.worst = Worst()
        #: when the last answered read was asked, monotonic us; 0: the last one was not answered
        self.answered_us = 0
        #: the row of a tick without values
        self.nothing: tuple[None, ...] = (None,) * self.width
        self._codes: dict[int, tuple[int, ...]] = {}
        #: empty while the block is read whole
        self.parts: tuple[Part, ...] = ()
        #: whether it is more than one read: a trigger before it, or parts
        self.is_special = plan.read.trigger is not None
        #: no split before this, monotonic us
        self.split_from_us = 0
        #: points that the device refused by themselves
        self.refused: tuple[str, ...] = ()
        #: quality code that was told in the log; 0: none stands
        self.complaint = 0
        #: what there is of a tick that is to be asked once more
        self.begun: ReadResult | None = None
        device.waiting.append(self)

    def inherit(self, before: PolledBlock) -> None:
        """Goes on where a block of the same reads stood under an earlier plan."""
        self.worst, self.answered_us = before.worst, before.answered_us
        self.parts, self.split_from_us, self.refused = before.parts, before.split_from_us, before.refused
        self.is_special, self.complaint, self.begun = before.is_special, before.complaint, before.begun

    def all_of(self, code: int) -> tuple[int, ...]:
        """Returns the same code for every point; one tuple per code, made once."""
        found = self._codes.get(code)
        if found is None:
            found = self._codes[code] = (code,) * self.width
        return found

    def complain(self, code: int) -> None:
        """Says once in the log that a device refuses a block for good, and once that it does no more."""
        if code == self.complaint:
            return
        if code:
            _LOG.warning(
                "device %s refuses %s: %s; the profile or its table does not fit this device",
                self.device.plan.id,
                named(self.plan.read),
                quality.CODES[code].reason,
            )
        else:
            _LOG.info("device %s answers %s again", self.device.plan.id, named(self.plan.read))
        self.complaint = code

    def trigger_request(self) -> WriteRequest:
        """Returns the write that comes before the block's read."""
        trigger, device = self.plan.read.trigger, self.device
        assert trigger is not None
        return WriteRequest(
            unit_id=device.plan.unit_id,
            function=trigger.function,
            address=trigger.address,
            values=trigger.values,
            timeout_s=device.timeout_s if trigger.answered else 0.0,
            max_reply_s=device.plan.max_reply_s,
            answered_by=(device.plan.unit_id,) if trigger.answered else (),
        )


def named(read: BlockRead) -> str:
    """Returns a read as people say it."""
    return f"{read.table} {read.address}..{read.address + read.count - 1}"


def _holes(read: BlockRead) -> str:
    runs = [f"{first}..{last}" if last > first else str(first) for first, last in holes(read)]
    return f"{read.table} {', '.join(runs)}" if runs else ""
