"""Units that took the place of others: who put them there, when and why.

The site file declares the serial number of a unit.  When another one hangs there the readings are
``bad: other device`` until a person accepts it (``edge-agent replace``); what was accepted is
kept in the state directory, and compiling takes it for the serial number of now.  The site
file stays the technician's: nothing writes to it, and once the new number stands in it the
entries here no longer apply.

    {"device": "main-1", "old": "104233", "new": "104877", "by": "...", "reason": "...", "calibrated": "2026-05-04",
     "at": "2026-06-01T08:00:00Z"}

one per line, oldest first; nothing is ever taken out.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from contracts.keys import write_atomically
from edge_agent.errors import StateDirError
from edge_agent.state_dir import give_to_owner, unusable

FILE = "replacements.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """One unit that was accepted in the place of another."""

    #: id of the device in the site file
    device: str
    #: serial numbers; what was declared or accepted before, and what answers now
    old: str
    new: str
    by: str
    reason: str
    #: date of the new unit's calibration, ``YYYY-MM-DD``; empty where it is not known
    calibrated: str
    #: UTC, by this machine's clock
    at: str


def read_replacements(folder: Path) -> tuple[Replacement, ...]:
    """Returns what was accepted, oldest first.

    Args:
        folder: the state directory.

    Raises:
        StateDirError: the file is there and cannot be read; names the line.
    """
    path = folder / FILE
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise StateDirError(f"{path}: cannot be read: {error}") from error
    return tuple(_parse(path, number, line) for number, line in enumerate(lines, start=1))


def add_replacement(folder: Path, one: Replacement) -> None:
    """Adds one; of two persons who do it at once the second sees what the first did.

    Args:
        folder: the state directory, which is there.
        one: its ``old`` is the number that counts now.

    Raises:
        StateDirError: it cannot be written, or somebody else replaced this unit meanwhile.
    """
    path = folder / FILE
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = read_replacements(folder)
        now = serial_now(one.device, one.old, before)
        if now != one.old:
            raise StateDirError(f"{one.device}: somebody accepted {now} in place of {one.old} meanwhile; look again")
        lines = [json.dumps(asdict(item), ensure_ascii=False) for item in (*before, one)]
        write_atomically(path, ("\n".join(lines) + "\n").encode(), mode=0o600)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            give_to_owner(folder, descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unusable(path, error) from error
    finally:
        os.close(lock)


def serial_now(device: str, declared: str, replacements: Iterable[Replacement]) -> str:
    """Returns the serial number that counts for a device: as declared, or what was accepted in its place."""
    serial = declared
    for one in replacements:
        if one.device == device and one.old == serial:
            serial = one.new
    return serial


def _parse(path: Path, number: int, line: str) -> Replacement:
    try:
        data = json.loads(line)
    except ValueError:
        data = None
    names = [field.name for field in fields(Replacement)]
    if (
        not isinstance(data, dict)
        or sorted(data) != sorted(names)
        or not all(isinstance(v, str) for v in data.values())
    ):
        raise StateDirError(
            f"{os.fspath(path)}: line {number} is no replacement; texts for {', '.join(names)} would be"
        )
    return Replacement(**data)
