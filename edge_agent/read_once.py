"""One shot of all points, without the agent: open every port, ask every block once, close.

It keeps nothing, judges nothing and sends nothing.  Ports are asked side by side, the blocks
of one port one after the other.  A block that is refused with exception 2 is asked point by
point, as the agent does.  A port that is only listened to is listened to for one tick of its slowest block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from contracts.quality import (
    CODES,
    CONNECT_FAILED,
    GOOD,
    ILLEGAL_ADDRESS,
    INVALID,
    NO_REPLY,
    NOT_ASKED,
    NOT_OVERHEARD,
    OWNER_SILENT,
    PORT_CLOSED,
)
from drivers.errors import DecodeError
from drivers.plan import BlockRead, TriggerStep
from drivers.port import BusPort, ReadRequest, ReadResult, WriteRequest, WriteResult, monotonic_us
from edge_agent.bus.block import decoder, split
from edge_agent.bus.poller import Codes, Row, blocks_of_port
from edge_agent.plan import Plan
from edge_agent.plan_ports import DevicePlan, PortPlan
from edge_agent.readings import Tick

#: codes of a device that is not there for now
_NO_ANSWER = frozenset({NO_REPLY, NOT_ASKED, CONNECT_FAILED, PORT_CLOSED})

#: codes of a tick in which nothing was heard
_UNHEARD = frozenset({NOT_OVERHEARD, OWNER_SILENT, PORT_CLOSED})
#: seconds of listening beyond two ticks, and at most
_LISTEN_MORE_S = 1.0
_LISTEN_MOST_S = 30.0
#: seconds that a DTU may take to dial in
_DIAL_IN_MOST_S = 30.0

_Row = tuple[list[int | float | None], list[int], int]


#: id of a device, and what the line says of a read that failed
_Tell = Callable[[str, str], object]


async def read_once(
    plan: Plan, make_port: Callable[[PortPlan], BusPort], tell: _Tell = lambda device, detail: None
) -> list[Tick]:
    """Returns one row per block, in the order of the plan.

    Args:
        plan: what to read.
        make_port: plan of a port -> port, closed.
        tell: called for each failed read that has more to say than its quality code does.
    """
    shots = await asyncio.gather(*(_read_port(plan, number, make_port, tell) for number in range(len(plan.ports))))
    return sorted((tick for shot in shots for tick in shot), key=lambda tick: tick[0])


async def _read_port(plan: Plan, number: int, make_port: Callable[[PortPlan], BusPort], tell: _Tell) -> list[Tick]:
    numbers = [place for place, block in enumerate(plan.blocks) if plan.devices[block.device].port == number]
    if not numbers:
        return []
    if plan.ports[number].listen_only:
        return await _listen(plan, number, tell)
    port = make_port(plan.ports[number])
    await port.open()
    try:
        if plan.ports[number].kind == "dtu":
            await _wait_for_dial_in(port)
        ticks: list[Tick] = []
        #: devices that gave no answer; asking again would only make a person wait longer
        silent: set[int] = set()
        for place in numbers:
            block = plan.blocks[place]
            device = plan.devices[block.device]
            if block.device in silent:
                width = len(block.points)
                ticks.append((place, ticks[-1][1], [None] * width, [NOT_ASKED] * width))
                continue
            values, codes, at_us = await _read_block(port, device, block.read, tell)
            ticks.append((place, at_us, values, codes))
            if set(codes) <= _NO_ANSWER:
                silent.add(block.device)
        return ticks
    finally:
        await port.close()


async def _wait_for_dial_in(port: BusPort) -> None:
    """Gives a DTU the time to find that somebody listens; what it did not do, the first read says."""
    from drivers.socket_line import DialInLine

    if isinstance(port, DialInLine):
        await port.dialled_in(_DIAL_IN_MOST_S)


async def _listen(plan: Plan, number: int, tell: _Tell) -> list[Tick]:
    from edge_agent.listening import make_listener

    port, blocks = plan.ports[number], blocks_of_port(plan, number)
    found: dict[int, Tick] = {}
    #: blocks of which nothing was heard yet
    waiting = set(blocks)
    is_whole = asyncio.Event()

    def take(block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
        all_codes = list(codes or [GOOD] * len(row))
        if block in waiting:
            found[block] = (block, sampled_us, list(row), all_codes)
        if not set(all_codes) <= _UNHEARD:
            waiting.discard(block)
        if not waiting:
            is_whole.set()

    slowest_s = max(block.interval_ms for block in blocks.values()) / 1000
    limit_s = min(2 * slowest_s + _LISTEN_MORE_S, _LISTEN_MOST_S)
    tell(port.id, f"another controller owns this bus; listening for up to {limit_s:g} s, nothing is sent")
    listening = make_listener(port, plan.devices, blocks, take)
    task = asyncio.create_task(listening.run())
    try:
        await asyncio.wait_for(is_whole.wait(), limit_s)
    except TimeoutError:
        now = monotonic_us()
        for block, what in blocks.items():
            width = len(what.points)
            found.setdefault(block, (block, now, [None] * width, [NOT_OVERHEARD] * width))
    finally:
        listening.stop()
        await task
    return list(found.values())


async def _read_block(port: BusPort, device: DevicePlan, read: BlockRead, tell: _Tell) -> _Row:
    if read.trigger is not None:
        written = await _pull(port, device, read.trigger)
        if written.code != GOOD:
            tell(device.id, written.detail or CODES[written.code].en)
            return [None] * len(read.points), [written.code] * len(read.points), written.replied_us
    result = await port.read(_request(device, read))
    if result.words is None and result.detail not in CODES[result.code].en:
        tell(device.id, result.detail)
    parts = split(read) if result.code == ILLEGAL_ADDRESS else ()
    if not parts:
        values, codes = _decode(read, result)
        return values, codes, _midpoint(result)
    values, codes = [None] * len(read.points), [ILLEGAL_ADDRESS] * len(read.points)
    for part in parts:
        result = await port.read(_request(device, part.read))
        own_values, own_codes = _decode(part.read, result)
        values[part.place], codes[part.place] = own_values[0], own_codes[0]
    return values, codes, _midpoint(result)


async def _pull(port: BusPort, device: DevicePlan, trigger: TriggerStep) -> WriteResult:
    """Writes what lets the device measure, and waits for it."""
    written = await port.write(
        WriteRequest(
            unit_id=device.unit_id,
            function=trigger.function,
            address=trigger.address,
            values=trigger.values,
            timeout_s=device.max_reply_s if trigger.answered else 0.0,
            max_reply_s=device.max_reply_s,
            answered_by=(device.unit_id,) if trigger.answered else (),
        )
    )
    if written.code == GOOD:
        await asyncio.sleep(trigger.wait_ms / 1000)
    return written


def _request(device: DevicePlan, read: BlockRead) -> ReadRequest:
    return ReadRequest(
        unit_id=device.unit_id,
        table=read.table,
        address=read.address,
        count=read.count,
        timeout_s=device.max_reply_s,
        max_reply_s=device.max_reply_s,
    )


def _decode(read: BlockRead, result: ReadResult) -> tuple[list[int | float | None], list[int]]:
    width = len(read.points)
    if result.words is None:
        return [None] * width, [result.code] * width
    try:
        values, codes = decoder(read)(result.words)
    except DecodeError:
        return [None] * width, [INVALID] * width
    return list(values), list(codes or [GOOD] * width)


def _midpoint(result: ReadResult) -> int:
    return (result.requested_us + result.replied_us) // 2
