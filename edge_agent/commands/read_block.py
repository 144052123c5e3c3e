"""``edge-agent read PORT``: registers or bits of one unit, as they are on the wire.

Through the running agent where it polls that port, else on the port itself.  No profile and no point: for a
technician with a manual in the hand.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from contracts.quality import CODES
from drivers.errors import RequestError
from drivers.frames import read_request
from drivers.port import ReadRequest, ReadResult
from edge_agent.commands.output import as_json, table
from edge_agent.commands.tool_words import text
from edge_agent.commands.words import Words
from edge_agent.errors import ToolError
from edge_agent.tools.where import named, port_of

_BIT_TABLES = frozenset({"coil", "discrete"})


def run(options: argparse.Namespace, words: Words) -> int:
    """Prints the block; status 1 where the unit did not give it."""
    result = read_block(options)
    if options.json:
        print(as_json(_plain(options, result)))
        return 0 if result.words is not None else 1
    if result.words is None:
        cause = CODES[result.code]
        said = cause.zh if words.language == "zh" else cause.en
        raise ToolError(f"{said}: {result.detail}" if result.detail and result.detail != cause.en else said)
    for line in _lines(options, result.words, words):
        print(line)
    return 0


def read_block(options: argparse.Namespace) -> ReadResult:
    """Returns one block.

    Raises:
        ToolError: something is not said that must be, or cannot be.
        ControlError: the running agent refuses.
    """
    if options.unit is None:
        raise ToolError("--unit is needed: the address of the unit, 1 to 247")
    request = ReadRequest(
        unit_id=options.unit,
        table=options.table,
        address=options.address,
        count=options.count,
        timeout_s=options.timeout,
        max_reply_s=options.timeout,
    )
    try:
        read_request(unit_id=request.unit_id, table=request.table, address=request.address, count=request.count)
    except RequestError as error:
        raise ToolError(str(error)) from error
    return asyncio.run(_read(options, request))


async def _read(options: argparse.Namespace, request: ReadRequest) -> ReadResult:
    port = port_of(named(options))
    await port.open()
    try:
        return await port.read(request)
    finally:
        await port.close()


def _lines(options: argparse.Namespace, registers: tuple[int, ...], words: Words) -> list[str]:
    heads = [text(words, "head address"), "hex", "u16", "i16"]
    if options.table in _BIT_TABLES:
        rows = [[str(options.address + place), str(bit)] for place, bit in enumerate(registers)]
        return list(table([heads[0], options.table], rows, right=frozenset({0, 1})))
    rows = [
        [str(options.address + place), f"{word:04X}", str(word), str(word - 65536 if word & 0x8000 else word)]
        for place, word in enumerate(registers)
    ]
    return list(table(heads, rows, right=frozenset({0, 2, 3})))


def _plain(options: argparse.Namespace, result: ReadResult) -> dict[str, Any]:
    return {
        "unit": options.unit,
        "table": options.table,
        "address": options.address,
        "words": None if result.words is None else list(result.words),
        "quality": CODES[result.code].reason,
        "detail": result.detail,
        "milliseconds": round((result.replied_us - result.requested_us) / 1000, 1),
    }
