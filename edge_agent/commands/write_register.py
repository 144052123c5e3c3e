"""``edge-agent write-register``: writes registers or coils of one device, once, and reads them back.

It is off unless the site file has ``allow_write = true`` for the device.  What stands there now is shown first,
a person says yes, and every write is in the journal with its result.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any

from contracts import quality
from drivers.errors import RequestError
from drivers.pdu import write_pdu
from drivers.port import BusPort, ReadRequest, WriteRequest
from edge_agent.commands.output import as_json
from edge_agent.commands.place import config_path, state_dir
from edge_agent.commands.words import Words
from edge_agent.commands.writing_words import say
from edge_agent.errors import ConfigError, ControlError, ToolError
from edge_agent.journal import keep_journal
from edge_agent.tools.where import named
from edge_agent.tools.writing import check_allowed, confirm, writing_port

_MOST_S = 2.0
_ONE = {"holding": 6, "coil": 5}
_MANY = {"holding": 16, "coil": 15}


def run(options: argparse.Namespace, words: Words) -> int:
    """Writes and reads back; status 1 where the device refuses, or then shows something else."""
    unit_id, device = _target(options)
    request = _request(options, unit_id)
    try:
        write_pdu(request)
    except RequestError as error:
        raise ConfigError([str(error)]) from error
    found = named(options)
    check_allowed(options, found, [unit_id])
    port = writing_port(found, options.by)
    who = f"{device or options.port} unit {unit_id}"
    return asyncio.run(_write(options, words, port, request, who, through_agent=found.lent is not None))


async def _write(
    options: argparse.Namespace,
    words: Words,
    port: BusPort,
    request: WriteRequest,
    who: str,
    *,
    through_agent: bool,
) -> int:
    def journal(text: str) -> None:
        keep_journal(state_dir(options), "written", text, through_agent=through_agent)

    await port.open()
    try:
        before = await _read(port, request, options.table)
        what = f"{who}, {options.table} {request.address}"
        wanted = _shown(_readable(request))
        question = f"{what}: {_shown(before)} -> {wanted}"
        if not await asyncio.to_thread(confirm, question, words, is_sure=options.yes):
            print(say(words, "nothing written"))
            return 1
        journal(f"{what}: {_shown(before)} -> {wanted}, by {options.by}")
        try:
            result = await port.write(request)
        except ControlError as error:
            journal(f"{what}: refused: {error}")
            raise
        after = await _read(port, request, options.table)
    finally:
        await port.close()
    told = "ok" if result.code == quality.GOOD else result.detail or quality.CODES[result.code].en
    journal(f"{what}: {told}; reads back {_shown(after)}")
    is_same = after == _readable(request)
    if options.json:
        answer: dict[str, Any] = {"written": told, "before": before, "after": after, "is_same": is_same}
        print(as_json(answer))
    elif result.code != quality.GOOD:
        print(say(words, "write refused", told=told, after=_shown(after)))
    elif after is None:
        print(say(words, "not read back"))
    else:
        print(say(words, "written" if is_same else "shows other", after=_shown(after)))
    return 0 if result.code == quality.GOOD and is_same else 1


def _target(options: argparse.Namespace) -> tuple[int, str]:
    """Returns unit id and device id; a device's port takes its place in the options."""
    if options.unit is not None:
        return options.unit, ""
    path = config_path(options)
    if not path.exists():
        raise ToolError(f"which unit? give --unit with port {options.port!r}, or a device of a site file (--config)")
    from edge_agent.config import read_site

    name: str = options.port
    devices = read_site(path).device
    for device in devices:
        if device.id == name:
            options.port = device.port
            return device.unit_id, device.id
    known = ", ".join(device.id for device in devices)
    raise ConfigError([f"there is no device {name!r} in {path}; there are {known}. For a port, give --unit too"])


def _request(options: argparse.Namespace, unit_id: int) -> WriteRequest:
    values: Sequence[int] = options.values
    function = options.function or (_ONE if len(values) == 1 else _MANY)[options.table]
    table = next(name for name in _ONE if function in (_ONE[name], _MANY[name]))
    if table != options.table:
        raise ConfigError([f"--function {function} writes a {table}, not a {options.table}; give --table {table} too"])
    if table == "coil" and not set(values) <= {0, 1}:
        raise ConfigError([f"{' '.join(map(str, values))}: a coil is 0 or 1"])
    if function == 5:
        values = [0xFF00 * value for value in values]
    return WriteRequest(
        unit_id=unit_id,
        function=function,
        address=options.address,
        values=tuple(values),
        timeout_s=_MOST_S,
        max_reply_s=_MOST_S,
        answered_by=(unit_id,),
    )


def _readable(request: WriteRequest) -> list[int]:
    """The values as a read shows them."""
    return [int(value != 0) for value in request.values] if request.function == 5 else list(request.values)


async def _read(port: BusPort, request: WriteRequest, table: str) -> list[int] | None:
    result = await port.read(
        ReadRequest(
            unit_id=request.unit_id,
            table=table,
            address=request.address,
            count=len(request.values),
            timeout_s=_MOST_S,
            max_reply_s=_MOST_S,
        )
    )
    return None if result.words is None else list(result.words)


def _shown(values: Sequence[int] | None) -> str:
    return "?" if values is None else " ".join(map(str, values))
