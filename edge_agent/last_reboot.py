"""How the agent ended last time, and why the machine started: from a marker file that a clean end changes.

    running.json   {"boot_id": ..., "ended": "" while it runs, else "clean" or "failed", "reboot": ...}

Read at the start, before it is written anew: two small writes for each life of the agent.

==========================  ==========================  ===========================================
the marker says             the boot is                 so the agent was, and the machine
==========================  ==========================  ===========================================
ended in order              the same                    stopped; did not restart
ended by a defect           the same                    failed; did not restart
nothing                     the same                    killed (kill -9, out of memory); did not restart
ended in order              another one                 stopped; was restarted in order
anything else               another one                 cut; by watchdog, panic, or else power
==========================  ==========================  ===========================================

A watchdog's reset is the kernel's word (``bootstatus``, WDIOF_CARDRESET 0x20: kernel document
watchdog/watchdog-api), a panic is what it left in pstore (kernel document admin-guide/pstore-blk); boards
without them say ``power``, which then means: nobody ended it in order.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from contracts.keys import write_atomically

_LOG = logging.getLogger(__name__)
MARKER = "running.json"
_CARD_RESET = 0x20


class Stop(Enum):
    """How the agent ended last time; the value is how health shows it."""

    #: no marker: a first start, or it could not be kept
    UNKNOWN = "unknown"
    CLEAN = "clean"
    #: one of its tasks ended by itself
    FAILED = "failed"
    KILLED = "killed"
    #: the machine went down under it
    CUT = "cut"


class Reboot(Enum):
    """Why the machine started; the value is how health shows it."""

    UNKNOWN = "unknown"
    ORDERLY = "orderly"
    POWER = "power"
    WATCHDOG = "watchdog"
    PANIC = "panic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What the last life of the agent left."""

    #: hex
    boot_id: str
    #: empty while it ran
    ended: str
    #: why that boot began
    reboot: Reboot


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEnd:
    """What health shows."""

    stop: Stop
    reboot: Reboot


def last_end(marker: Marker | None, boot_id: str, *, was_watchdog: bool, was_panic: bool) -> LastEnd:
    """Returns how the agent and the machine ended last time.

    Args:
        marker: None: there is none, or it cannot be read.
        boot_id: of now, hex.
        was_watchdog: whether the kernel says that a watchdog reset the machine.
        was_panic: whether a panic left its log.
    """
    machine = Reboot.WATCHDOG if was_watchdog else Reboot.PANIC if was_panic else None
    if marker is None:
        return LastEnd(stop=Stop.UNKNOWN, reboot=machine or Reboot.UNKNOWN)
    ended = {"clean": Stop.CLEAN, "failed": Stop.FAILED}.get(marker.ended)
    if marker.boot_id == boot_id:
        return LastEnd(stop=ended or Stop.KILLED, reboot=marker.reboot)
    if ended is Stop.CLEAN:
        return LastEnd(stop=ended, reboot=machine or Reboot.ORDERLY)
    return LastEnd(stop=ended or Stop.CUT, reboot=machine or Reboot.POWER)


class RunMarker:
    """The marker file of one state directory."""

    def __init__(self, folder: Path, boot_id: bytes, *, sys: Path = Path("/sys")) -> None:
        """Reads what the last life left and begins a new one; a disk that takes nothing costs the answer alone."""
        self._path = folder / MARKER
        self._boot_id = boot_id.hex()
        self.last = last_end(
            self._read(), self._boot_id, was_watchdog=reset_by_watchdog(sys), was_panic=has_panic_log(sys)
        )
        self._write("")

    def end(self, *, is_clean: bool) -> None:
        """Notes that the agent ended by itself."""
        self._write("clean" if is_clean else "failed")

    def facts(self) -> dict[str, str]:
        """Returns what health shows."""
        return {"last_stop": self.last.stop.value, "last_reboot": self.last.reboot.value}

    def _read(self) -> Marker | None:
        try:
            document = json.loads(self._path.read_text())
            return Marker(
                boot_id=str(document["boot_id"]), ended=str(document["ended"]), reboot=Reboot(document["reboot"])
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            _LOG.warning("%s cannot be read (%s): how the agent ended is not known", self._path, error)
            return None

    def _write(self, ended: str) -> None:
        document = {"boot_id": self._boot_id, "ended": ended, "reboot": self.last.reboot.value}
        try:
            write_atomically(self._path, json.dumps(document).encode() + b"\n", mode=0o600)
        except OSError as error:
            _LOG.warning("%s cannot be written: %s", self._path, error.strerror or error)


def reset_by_watchdog(sys: Path) -> bool:
    """Returns whether any watchdog says that it reset the machine."""
    for path in sys.glob("class/watchdog/watchdog*/bootstatus"):
        try:
            if int(path.read_text().strip(), 0) & _CARD_RESET:
                return True
        except (OSError, ValueError):
            continue
    return False


def has_panic_log(sys: Path) -> bool:
    """Returns whether the kernel kept the log of a panic, where this user may look."""
    try:
        return any(path.name.startswith("dmesg-") for path in (sys / "fs" / "pstore").iterdir())
    except OSError:
        return False
