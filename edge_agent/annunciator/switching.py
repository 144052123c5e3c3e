"""One slot on the bus: write outputs of one board, then read back that they are as they should be.

It decides nothing about alarms and keeps no state.  A write that is not confirmed ends the slot: what the board
shows then is unknown, and another try comes later.  No write is repeated in a slot, and none toggles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.quality import CODES, GOOD
from drivers.port import BusPort, ReadRequest, WriteRequest
from edge_agent.bus.device_state import counted_timeout_s
from edge_agent.bus.request_time import wire_s
from edge_agent.plan_annunciator import OutputPlan, ReadBack
from edge_agent.plan_ports import DevicePlan, PortPlan

#: beside frames and time-outs: thread, timer and event loop (seconds)
_BESIDES_S = 0.1
#: bytes of a write with its answer, and of a read-back with its answer at most
WRITE_BYTES = 16 + 8
READ_BYTES = 13 + 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one output should be."""

    output: OutputPlan
    is_on: bool
    #: only look whether it is so
    is_look: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one slot."""

    #: output -> what it shows; None: not known, or it cannot be read back
    states: dict[str, bool | None]
    #: outputs whose write the board confirmed
    written: tuple[str, ...]
    #: when the first write was confirmed, monotonic us; None: none was
    written_us: int | None
    #: why the slot failed; empty where every order is as it should be
    fault: str


async def switch(port: BusPort, device: DevicePlan, orders: Sequence[Order]) -> Outcome:
    """Writes what is ordered and reads it back.

    Args:
        port: lent for this slot.
        device: the board.
        orders: of outputs of this board.
    """
    states: dict[str, bool | None] = {}
    written: list[str] = []
    written_us: int | None = None

    def ended(fault: str) -> Outcome:
        return Outcome(states=states, written=tuple(written), written_us=written_us, fault=fault)

    for order in orders:
        if order.is_look:
            continue
        result = await port.write(_write(device, order))
        if result.code != GOOD:
            states.update((each.output.name, None) for each in orders)
            return ended(f"{order.output.name} is not written: {result.detail or CODES[result.code].en}")
        written.append(order.output.name)
        written_us = written_us or result.replied_us
    heard: dict[tuple[str, int, int], tuple[int, ...]] = {}
    for order in orders:
        name, readback = order.output.name, order.output.readback
        if readback is None:
            states[name] = None
            continue
        place = (readback.table, readback.address, readback.count)
        if place not in heard:
            answer = await port.read(_read(device, readback))
            if answer.words is None:
                states.update((each.output.name, None) for each in orders)
                return ended(f"{name} is not read back: {answer.detail or CODES[answer.code].en}")
            heard[place] = answer.words
        states[name] = readback.state(heard[place])
    wrong = [order for order in orders if order.output.readback and states[order.output.name] is not order.is_on]
    if wrong:
        shown = {True: "on", False: "off", None: "neither on nor off"}[states[wrong[0].output.name]]
        should = "on" if wrong[0].is_on else "off"
        return ended(f"{wrong[0].output.name} reads back {shown} and should be {should}")
    return ended("")


def slot_s(port: PortPlan, device: DevicePlan, orders: Sequence[Order]) -> float:
    """Returns how long a slot takes at most, seconds."""
    wait = max(counted_timeout_s(device.timeout_s, device.max_reply_s), port.gateway_timeout_s)
    each = wait + port.network_delay_s + port.gap_ms / 1000
    bytes_s = wire_s(port, WRITE_BYTES) if port.baud else 0.0
    read_s = wire_s(port, READ_BYTES) if port.baud else 0.0
    return len(orders) * (each + bytes_s) + len(orders) * (each + read_s) + _BESIDES_S


def _write(device: DevicePlan, order: Order) -> WriteRequest:
    step = order.output.on if order.is_on else order.output.off
    return WriteRequest(
        unit_id=device.unit_id,
        function=step.function,
        address=step.address,
        values=step.values,
        timeout_s=counted_timeout_s(device.timeout_s, device.max_reply_s),
        max_reply_s=device.max_reply_s,
        answered_by=(device.unit_id,),
    )


def _read(device: DevicePlan, readback: ReadBack) -> ReadRequest:
    return ReadRequest(
        unit_id=device.unit_id,
        table=readback.table,
        address=readback.address,
        count=readback.count,
        timeout_s=counted_timeout_s(device.timeout_s, device.max_reply_s),
        max_reply_s=device.max_reply_s,
    )
