"""One shot of all points, without the agent: open every port, ask every block once, close.

It keeps nothing, judges nothing and sends nothing.  Ports are asked side by side, the blocks
of one port one after the other.  A block that is refused with exception 2 is asked point by
point, as the agent does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from contracts.quality import CODES, CONNECT_FAILED, GOOD, ILLEGAL_ADDRESS, INVALID, NO_REPLY, NOT_ASKED, PORT_CLOSED
from drivers.errors import DecodeError
from drivers.plan import BlockRead
from drivers.port import BusPort, ReadRequest, ReadResult
from edge_agent.bus.block import decoder, split
from edge_agent.plan import DevicePlan, Plan, PortPlan
from edge_agent.readings import Tick

#: codes of a device that is not there for now
_NO_ANSWER = frozenset({NO_REPLY, NOT_ASKED, CONNECT_FAILED, PORT_CLOSED})

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
    port = make_port(plan.ports[number])
    await port.open()
    try:
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


async def _read_block(port: BusPort, device: DevicePlan, read: BlockRead, tell: _Tell) -> _Row:
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
