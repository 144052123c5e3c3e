"""The time budget of one port: how late an alarm can be, computed before anything is asked.

The worst case of an alarm block, from the change of a register to the row handed to the judge::

    register changes just after the last sample
    |<- interval ->|<- wait for the line ->|<- its own request ->|
                   tick                    sent                  judged

Everybody else on the port may be dead, or die in that very moment; the block's own device
answers within its counted time-out (``device_state.counted_timeout_s``).  The wait is at most the sum of

* ``under way``: one request of anybody, which is not interrupted;
* ``alarms``: alarm blocks with an earlier or equal deadline, each once, and once more for each of its
  ticks that can come before this block's deadline;
* ``ordinary``: the turns that ``schedule.ALARM_RUN`` leaves to overdue ordinary blocks;
* ``probe``: long probes of silent devices (``probes.LONG_REST_S`` apart);
* ``gap``: the pause that the block's own device wants between requests, and after each the
  request that went out meanwhile;
* ``outputs``: what the annunciator writes meanwhile (``output_cost``).

``process`` is what this machine itself needs; it is assumed, not measured.  Not in the bound: a
reply of the block's own device that is lost (``after_loss_s`` has one of them), a block that is read
point by point because its device refuses it whole, noise that never ends, a technician's borrowed
slots (they are only given where they fit: ``Poller.borrow``), and devices that need longer than is
counted (health names them).

It is response-time analysis of a non-preemptive, two-class, earliest-deadline-first line; every
request is counted with its whole time-out, so the bound is safe and often far above what is seen.
That it holds is a property test over the engine itself (``tests/edge_agent/bus/test_laws.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.bus.device_state import counted_timeout_s
from edge_agent.bus.probes import LONG_REST_S
from edge_agent.bus.request_time import LineNeed, line_share, read_bytes, wire_s, write_bytes
from edge_agent.bus.schedule import ALARM_RUN
from edge_agent.plan import BlockPlan, Plan
from edge_agent.plan_ports import DevicePlan, PortPlan

if TYPE_CHECKING:
    from edge_agent.bus.output_cost import OutputCost
    from edge_agent.plan_annunciator import OutputPlan

#: an alarm point without a deadline of its own: its interval and this (seconds).  A gas head itself may
#: take 30 s to show 90 % of a change (T90 in GB 15322.1), so the line never takes longer than the head.
DEFAULT_DEADLINE_S = 30.0
#: thread, timer and event loop for one request (seconds; assumed)
_REQUEST_PROCESS_S = 0.002
#: other ports, decoding and judging on the way of one row (seconds; assumed)
_ROW_PROCESS_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One part of a bound."""

    #: ``interval``, ``under way``, ``alarms``, ``ordinary``, ``probe``, ``gap``, ``outputs``, ``own`` or ``process``
    name: str
    seconds: float
    #: how many requests; 0 where that says nothing
    count: int = 0
    #: device with the largest part; empty where there is none
    device: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmBound:
    """How late the alarm points of one block can be."""

    #: number in the plan
    block: int
    device: str
    interval_s: float
    #: largest time from the change of a register to its judgement, seconds
    bound_s: float
    #: the same when one reply of its own device is lost
    after_loss_s: float
    deadline_s: float
    #: of ``bound_s``, largest first
    terms: tuple[Term, ...]

    @property
    def is_met(self) -> bool:
        """Whether the deadline holds in the worst case."""
        return self.bound_s <= self.deadline_s

    @property
    def dominating(self) -> Term:
        """The largest part of the bound."""
        return self.terms[0]

    @property
    def spare_s(self) -> float:
        """What is left in the worst case, at least 0."""
        return max(0.0, self.deadline_s - self.bound_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBudget:
    """The worst cases of one port."""

    port: str
    #: of the line's time for all reads when every device answers at once; None where no speed is known
    share: float | None
    #: every block once, while every device leaves its request unanswered, seconds
    cycle_s: float
    #: in the order of block numbers
    alarms: tuple[AlarmBound, ...]
    #: boards on it that the annunciator writes to
    outputs: tuple[OutputCost, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cost:
    """What the analysis knows of one block, seconds."""

    number: int
    device: int
    is_alarm: bool
    interval: float
    #: from its tick, for the order
    wait: float
    #: its requests, each with a whole time-out
    requests: tuple[float, ...]
    #: between its trigger and its read
    pause: float

    @property
    def total(self) -> float:
        return sum(self.requests)

    @property
    def longest(self) -> float:
        return max(self.requests)


def port_budget(
    port: PortPlan,
    devices: Sequence[DevicePlan],
    blocks: Mapping[int, BlockPlan],
    outputs: Sequence[OutputPlan] = (),
) -> PortBudget:
    """Returns the worst cases of one port.

    Args:
        port: its line.
        devices: of the whole plan.
        blocks: of this port, by number.
        outputs: of the annunciator, on any port.
    """
    costs = [_cost(port, number, block, devices[block.device]) for number, block in blocks.items()]
    own = {cost.device: devices[cost.device] for cost in costs}
    needs = [
        LineNeed(
            read=block.read,
            interval_ms=block.interval_ms,
            min_request_gap_ms=devices[block.device].min_request_gap_ms,
        )
        for block in blocks.values()
    ]
    boards = _boards(port, own, outputs)
    return PortBudget(
        port=port.id,
        share=line_share(port, needs) if port.baud else None,
        cycle_s=sum(cost.total for cost in costs),
        alarms=tuple(
            _bound(cost, costs, own, deadline_s(blocks[cost.number]), port, boards) for cost in costs if cost.is_alarm
        ),
        outputs=tuple(boards),
    )


def plan_budgets(plan: Plan) -> list[PortBudget]:
    """Returns the worst cases of every port that the agent asks on, in the order of the plan."""
    outputs = () if plan.annunciator is None else plan.annunciator.outputs
    budgets = []
    for place, port in enumerate(plan.ports):
        blocks = {n: block for n, block in enumerate(plan.blocks) if plan.devices[block.device].port == place}
        if blocks and not port.listen_only:
            budgets.append(port_budget(port, plan.devices, blocks, outputs))
    return budgets


def deadline_s(block: BlockPlan) -> float:
    """Returns the deadline of an alarm block, seconds from the change of a register to its judgement."""
    return block.deadline_ms / 1000 or block.interval_ms / 1000 + DEFAULT_DEADLINE_S


def slot_deadline_ms(block: BlockPlan) -> int:
    """Returns by when after its tick a block should be asked, for the order of the schedule, ms."""
    if not block.is_alarm:
        return block.interval_ms
    return max(1, min(block.interval_ms, round(deadline_s(block) * 1000) - block.interval_ms))


def unmet(budgets: Iterable[PortBudget]) -> list[tuple[PortBudget, AlarmBound]]:
    """Returns the alarm blocks that can miss their deadline."""
    return [(budget, alarm) for budget in budgets for alarm in budget.alarms if not alarm.is_met]


def _wait_s(port: PortPlan, device: DevicePlan) -> float:
    """Returns the longest wait of an ordinary request, seconds: its time-out, and what the link adds."""
    counted = counted_timeout_s(device.timeout_s, device.max_reply_s)
    return max(counted, port.gateway_timeout_s) + port.network_delay_s + port.gap_ms / 1000


def _cost(port: PortPlan, number: int, block: BlockPlan, device: DevicePlan) -> _Cost:
    wait = _wait_s(port, device)
    counts = [read_bytes(block.read)]
    trigger = block.read.trigger
    if trigger is not None:
        counts.insert(0, write_bytes(trigger))
    return _Cost(
        number=number,
        device=block.device,
        is_alarm=block.is_alarm,
        interval=block.interval_ms / 1000,
        wait=slot_deadline_ms(block) / 1000,
        requests=tuple(wire_s(port, count) + wait + _REQUEST_PROCESS_S for count in counts),
        pause=0.0 if trigger is None else trigger.wait_ms / 1000,
    )


def _bound(
    own: _Cost,
    costs: Sequence[_Cost],
    devices: Mapping[int, DevicePlan],
    deadline: float,
    port: PortPlan,
    boards: Sequence[OutputCost],
) -> AlarmBound:
    others = [cost for cost in costs if cost.number != own.number]
    # Its own last request can only be in the way where it takes longer than the interval.
    ahead = [*others, own] if own.total > own.interval else others
    longest = max(ahead, key=lambda cost: cost.longest, default=None)
    most = 0.0 if longest is None else longest.longest
    turns = {cost.number: _turns_before(own, cost) for cost in others if cost.is_alarm}
    alarms = {cost.number: turns[cost.number] * cost.total for cost in others if cost.is_alarm}
    worst = max(others, key=lambda cost: alarms.get(cost.number, 0.0), default=own)
    device = devices[own.device]
    terms = [
        Term(name="interval", seconds=own.interval),
        Term(
            name="under way",
            seconds=most,
            count=int(longest is not None),
            device="" if longest is None else devices[longest.device].id,
        ),
        Term(name="alarms", seconds=sum(alarms.values()), count=sum(turns.values()), device=devices[worst.device].id),
        _ordinary(others, devices, sum(turns[cost.number] * len(cost.requests) for cost in others if cost.is_alarm)),
        _gap(own, others, turns, device, most, port.in_flight),
        # Between trigger and read two others may go out: one under way at its end, one overdue.
        Term(
            name="own",
            seconds=own.total + own.pause + 2 * (len(own.requests) - 1) * most,
            count=len(own.requests),
            device=device.id,
        ),
        Term(name="process", seconds=_ROW_PROCESS_S),
    ]
    known = sum(term.seconds for term in terms) - own.interval
    terms += _probe_and_outputs(port, devices, known, boards)
    bound = sum(term.seconds for term in terms)
    response = bound - own.interval
    return AlarmBound(
        block=own.number,
        device=device.id,
        interval_s=own.interval,
        bound_s=bound,
        # The lost reply can come until max_reply_s after its request: until then its unit is not asked, and
        # then it waits for its next tick.
        after_loss_s=bound + response + max(0.0, device.max_reply_s - _wait_s(port, device)) + own.interval,
        deadline_s=deadline,
        terms=tuple(sorted(terms, key=lambda term: -term.seconds)),
    )


def _turns_before(own: _Cost, other: _Cost) -> int:
    """Returns how often another alarm block can be asked while this one waits."""
    ahead = max(0.0, own.wait - other.wait)
    return 1 + math.ceil(ahead / other.interval)


def _ordinary(others: Sequence[_Cost], devices: Mapping[int, DevicePlan], alarm_requests: int) -> Term:
    ordinary = [cost for cost in others if not cost.is_alarm]
    if not ordinary:
        return Term(name="ordinary", seconds=0.0)
    count = 1 + alarm_requests // ALARM_RUN
    longest = max(ordinary, key=lambda cost: cost.longest)
    return Term(name="ordinary", seconds=count * longest.longest, count=count, device=devices[longest.device].id)


def _gap(
    own: _Cost,
    others: Sequence[_Cost],
    turns: Mapping[int, int],
    device: DevicePlan,
    longest: float,
    in_flight: int,
) -> Term:
    siblings = [cost for cost in others if cost.device == own.device]
    pause = device.min_request_gap_ms / 1000
    if in_flight > 1 and siblings:
        pause += max(cost.longest for cost in siblings)
    if not pause:
        return Term(name="gap", seconds=0.0)
    count = len(own.requests) + sum(turns.get(cost.number, 0) * len(cost.requests) for cost in siblings)
    if any(not cost.is_alarm for cost in siblings):
        # An overdue ordinary block of the device can come between each two of its alarm blocks.
        count *= 2
    return Term(name="gap", seconds=count * (pause + longest), count=count, device=device.id)


def _boards(port: PortPlan, devices: Mapping[int, DevicePlan], outputs: Sequence[OutputPlan]) -> Sequence[OutputCost]:
    if not outputs:
        return ()
    # Imported late: most gateways drive no outputs.
    from edge_agent.bus.output_cost import output_costs

    return output_costs(port, devices, outputs)


def _probe_and_outputs(
    port: PortPlan, devices: Mapping[int, DevicePlan], known: float, boards: Sequence[OutputCost]
) -> list[Term]:
    """Returns both: each lengthens the wait in which more of the other may come."""
    probe = _probe(port, devices, known)
    if not boards:
        return [probe]
    from edge_agent.bus.output_cost import outputs_within

    while True:
        seconds, count = outputs_within(boards, known + probe.seconds)
        longer = _probe(port, devices, known + seconds)
        if longer.seconds <= probe.seconds:
            worst = max(boards, key=lambda board: board.slot_s + board.wait_s)
            return [probe, Term(name="outputs", seconds=seconds, count=count, device=worst.device)]
        probe = longer


def _probe(port: PortPlan, devices: Mapping[int, DevicePlan], known: float) -> Term:
    """Returns what long probes add to requests that are counted already."""
    if len(devices) < 2:
        return Term(name="probe", seconds=0.0)
    extra = {
        place: max(device.max_reply_s, port.gateway_timeout_s)
        + port.network_delay_s
        + port.gap_ms / 1000
        - _wait_s(port, device)
        for place, device in devices.items()
    }
    worst = max(extra, key=lambda place: extra[place])
    if extra[worst] <= 0:
        return Term(name="probe", seconds=0.0)
    # Each lengthens the wait that it falls into.
    reply, count = devices[worst].max_reply_s, 1
    while count < 1 + int((known + count * extra[worst] + reply) / LONG_REST_S) and count < 100:
        count += 1
    return Term(name="probe", seconds=count * extra[worst], count=count, device=devices[worst].id)
