"""The lines of a site file for what a scan found.  Pure.

They are made so that ``edge-agent check`` takes them once names are filled in; where no profile fits
the device's lines are comments, because a guess in a configuration would become a measurement.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from edge_agent.tools.scan_plan import Settings

_PARITY = {"N": "none", "E": "even", "O": "odd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDevice:
    """One unit for the site file."""

    unit_id: int
    #: id of the profile; empty where none fits
    profile: str
    #: one line about how sure that is
    comment: str


def port_id(path: str) -> str:
    """Returns an id for a port from its path: ``/dev/ttyUSB0`` -> ``ttyusb0``."""
    name = "".join(char if char.isalnum() else "-" for char in path.rsplit("/", 1)[-1].lower() if char.isascii())
    return name.strip("-")[-32:].strip("-") or "bus-1"


def stanza(
    path: str,
    settings: Settings,
    devices: Iterable[FoundDevice],
    *,
    port: str | None = None,
    listen_only: bool = False,
) -> str:
    """Returns the TOML text of a port and the devices on it.

    Args:
        path: stable name of the port.
        settings: of the line.
        devices: what was found with these settings.
        port: id of a port that the site file has already; then only devices are written.
        listen_only: whether another client owns the bus.
    """
    name = port or port_id(path)
    lines = []
    if port is None:
        lines += [
            "[[port]]",
            f'id = "{name}"',
            'kind = "serial"',
            f"device = {json.dumps(path)}",
            f"baud = {settings.baud}",
            f'parity = "{_PARITY[settings.parity]}"',
            f"stop_bits = {settings.stop_bits}",
            *(["listen_only = true"] if listen_only else []),
            "",
        ]
    for device in devices:
        lead = "" if device.profile else "# "
        lines += [
            f"# {device.comment}",
            f"{lead}[[device]]",
            f'{lead}id = "{name[:25].strip("-")}-u{device.unit_id}"',
            f'{lead}port = "{name}"',
            f"{lead}unit_id = {device.unit_id}",
            f'{lead}profile = "{device.profile or "..."}"',
            "",
        ]
    return "\n".join(lines).rstrip("\n") + "\n"
