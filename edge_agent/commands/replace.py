"""``edge-agent replace``: another unit hangs where a declared one did, and a person accepts it.

The unit's own serial number is read first where its profile knows the register: what hangs there is accepted, and
nothing else.  The site file stays as it is; the running agent takes the change by a reload.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from pathlib import Path

from contracts import quality
from contracts.upkeep import is_date_or_empty
from drivers.errors import DecodeError
from drivers.plan import read_identity
from drivers.port import BusPort, ReadRequest
from edge_agent.bus.identity import Told, compare
from edge_agent.commands.place import config_path, state_dir
from edge_agent.commands.words import Words
from edge_agent.commands.writing_words import say
from edge_agent.compile import compile_site
from edge_agent.control import ask
from edge_agent.errors import ConfigError, ToolError
from edge_agent.journal import seal_journal, write_journal
from edge_agent.plan import Plan
from edge_agent.plan_ports import DevicePlan
from edge_agent.replacements import Replacement, add_replacement
from edge_agent.state_dir import CONTROL
from edge_agent.tools.where import named, port_of

_RELOAD_LIMIT_S = 60.0


def run(options: argparse.Namespace, words: Words) -> int:
    """Accepts the unit that hangs there now."""
    if not is_date_or_empty(options.calibrated or ""):
        raise ConfigError([f"--calibrated {options.calibrated}: a date such as 2026-05-04 would be right"])
    path, folder = config_path(options), state_dir(options)
    plan = compile_site(path).plan
    device = _device(plan, options.device, path)
    said = _ask_unit(options, plan, device)
    new = options.serial.strip()
    if said is not None and compare(new, said) is not Told.SAME_NUMBER:
        raise ToolError(f"{device.id} says that its serial number is {said}, not {new}; nothing was accepted")
    if compare(device.serial, new) is Told.SAME_NUMBER:
        raise ToolError(f"{device.id} has the serial number {device.serial} already; nothing to accept")
    text = f"{device.id}: {device.serial} -> {new}, {options.reason}, by {options.by}"
    if options.calibrated:
        text += f", calibrated {options.calibrated}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    add_replacement(
        folder,
        Replacement(
            device=device.id,
            old=device.serial,
            new=new,
            by=options.by,
            reason=options.reason,
            calibrated=options.calibrated or "",
            at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
    )
    write_journal(folder, "replaced", text)
    print(say(words, "accepted", text=text))
    if said is None:
        print(say(words, "serial not read"))
    if seal_journal(folder, "replaced", text):
        ask(folder / CONTROL, "reload", timeout_s=_RELOAD_LIMIT_S)
        print(say(words, "agent took it"))
    else:
        print(say(words, "no agent took it"))
    return 0


def _device(plan: Plan, name: str, path: Path) -> DevicePlan:
    for device in plan.devices:
        if device.id != name:
            continue
        if not device.serial:
            raise ConfigError([f"{path}: device[{name}].serial: none is declared, so there is nothing to replace"])
        return device
    raise ConfigError([f"there is no device {name!r} in {path}; there are {', '.join(d.id for d in plan.devices)}"])


def _ask_unit(options: argparse.Namespace, plan: Plan, device: DevicePlan) -> str | None:
    """Returns what the unit says its number is; None where its profile knows no register for it.

    Raises:
        ToolError: it does not answer.
    """
    if device.serial_read is None:
        return None
    options.port = plan.ports[device.port].id
    return asyncio.run(_read_serial(port_of(named(options)), device))


async def _read_serial(port: BusPort, device: DevicePlan) -> str | None:
    step = device.serial_read
    assert step is not None
    await port.open()
    try:
        result = await port.read(
            ReadRequest(
                unit_id=device.unit_id,
                table=step.table,
                address=step.address,
                count=step.count,
                timeout_s=device.max_reply_s,
                max_reply_s=device.max_reply_s,
            )
        )
    finally:
        await port.close()
    if result.words is None:
        told = result.detail or quality.CODES[result.code].en
        raise ToolError(f"{device.id} does not tell its serial number: {told}; a unit that answers can be accepted")
    try:
        return read_identity(step, result.words)
    except DecodeError as error:
        raise ToolError(f"{device.id}: its serial number makes no sense: {error}") from error
