"""What a modem tells of itself: signal, operator, access technology and SIM number, by ModemManager's ``mmcli -J``.

Only asked for where ``mmcli`` is installed, with the first modem it lists.  Keys as mmcli(1) of ModemManager 1.14
and later prints them; what is not there, or is ``--`` (mmcli's word for unknown), is not told.
Unproved on a modem of ours: the reading is tested with mmcli's output only.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Protocol

_LIMIT_S = 10.0
_UNKNOWN = frozenset({"", "--", "unknown"})
Fact = float | int | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModemFacts:
    """None: the modem does not tell."""

    #: 0 to 100, as the modem reckons it
    signal_pct: int | None = None
    operator: str | None = None
    #: such as ``lte``
    technology: str | None = None
    #: ICCID, the number printed on the SIM
    sim: str | None = None

    def facts(self) -> dict[str, Fact]:
        """Returns what is known, by the names of health facts."""
        named: dict[str, Fact] = {
            "modem_signal_pct": self.signal_pct,
            "modem_operator": self.operator,
            "modem_technology": self.technology,
            "modem_sim": self.sim,
        }
        return {name: value for name, value in named.items() if value is not None}


class Modem(Protocol):
    """Whatever can tell about the modem."""

    async def read(self) -> ModemFacts | None:
        """Returns what it tells; None where there is no modem."""


class MmcliModem:
    """ModemManager, by its command."""

    def __init__(self, command: str = "mmcli") -> None:
        """Takes the command's name or path."""
        self._command = command

    async def read(self) -> ModemFacts | None:
        # Imported late: it brings decompressors along, and only metered gateways get here.
        from shutil import which

        path = which(self._command)
        if path is None:
            return None
        modems = await _ask(path, "-L", "-J")
        listed = modems.get("modem-list")
        if not isinstance(listed, list) or not listed:
            return None
        modem = _table(await _ask(path, "-m", str(listed[0]), "-J"), "modem")
        sim_path = _word(_table(modem, "generic").get("sim"))
        sim = _table(await _ask(path, "-i", sim_path, "-J"), "sim") if sim_path else {}
        return facts_of(modem, sim)


def facts_of(modem: dict[str, Any], sim: dict[str, Any]) -> ModemFacts:
    """Returns the facts in what mmcli printed of a modem and its SIM."""
    generic = _table(modem, "generic")
    signal = _word(_table(generic, "signal-quality").get("value"))
    technologies = generic.get("access-technologies")
    words = [_word(item) for item in technologies] if isinstance(technologies, list) else []
    return ModemFacts(
        signal_pct=int(signal) if signal is not None and signal.isdecimal() and int(signal) <= 100 else None,
        operator=_word(_table(modem, "3gpp").get("operator-name")),
        technology="+".join(word for word in words if word) or None,
        sim=_word(_table(sim, "properties").get("iccid")),
    )


async def _ask(*command: str) -> dict[str, Any]:
    """Returns what a command prints as a JSON object; empty where it does not in time."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return {}
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), _LIMIT_S)
        document = json.loads(printed)
    except (TimeoutError, ValueError):
        return {}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return document if isinstance(document, dict) else {}


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _word(value: Any) -> str | None:
    text = value.strip()[:64] if isinstance(value, str) else ""
    return None if text.lower() in _UNKNOWN else text
