"""The outputs of a simulated relay board: what a write switches, what drops by itself, and when.

Made from the same profile that the agent reads: an output's on and off, its timed pulse, and the board's watchdog with
each output's safe state.  The words are what the profile states; that a real board restarts a running pulse
when it is told again is an assumption (``docs/annunciator.md``).  Where the profile states no length for the
watchdog, its register holds ``WATCHDOG_COUNTS``.  Time comes in as monotonic seconds.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from drivers.profile import Profile
from drivers.profile_actions import OutputProfile
from simulators.device import Answer

#: as shipped by the one maker who documents it (Wiren Board WB-MR6C: 10 s)
WATCHDOG_COUNTS = 10
_KEPT = 10_000


class Switching(NamedTuple):
    """One change of one output."""

    at_s: float
    output: str
    is_on: bool


@dataclass(slots=True)
class _Output:
    name: str
    profile: OutputProfile
    #: table and address where its state is read
    cell: tuple[str, int]
    is_on: bool = False
    #: of a pulse; None: it stays
    until_s: float | None = None


@dataclass(slots=True)
class OutputBoard:
    """The outputs of one device."""

    #: name -> output
    outputs: dict[str, _Output]
    #: table, address and count length in seconds of the watchdog; None: there is none
    watchdog: tuple[str, int, float] | None
    #: every change, oldest first
    switchings: deque[Switching] = field(default_factory=lambda: deque(maxlen=_KEPT))
    #: when somebody last asked the board for something, monotonic s
    asked_s: float | None = None
    watchdog_counts: int = WATCHDOG_COUNTS
    #: lines have threads of their own, and whoever looks has another
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def states(self, now_s: float) -> dict[str, bool]:
        """Returns which outputs are on."""
        with self._lock:
            self._expire(now_s)
            return {name: output.is_on for name, output in self.outputs.items()}

    def words(self, now_s: float) -> dict[str, dict[int, int]]:
        """Returns what the registers of the outputs show, by table and address."""
        with self._lock:
            self._expire(now_s)
            return self._words()

    def _words(self) -> dict[str, dict[int, int]]:
        found: dict[str, dict[int, int]] = {}
        for output in self.outputs.values():
            table, address = output.cell
            found.setdefault(table, {})[address] = int(output.is_on)
        if self.watchdog is not None:
            table, address, _ = self.watchdog
            found.setdefault(table, {})[address] = self.watchdog_counts
        return found

    def heard(self, now_s: float) -> None:
        """Takes note of a request to the board: it starts the watchdog again."""
        with self._lock:
            self._expire(now_s)
            self.asked_s = now_s

    def take(self, pdu: bytes, now_s: float) -> Answer | None:
        """Carries out a write to an output; None: the request is for something else."""
        with self._lock:
            return self._take(pdu, now_s)

    def _take(self, pdu: bytes, now_s: float) -> Answer | None:
        self._expire(now_s)
        if len(pdu) != 5 or pdu[0] not in (5, 6):
            return None
        function, address, value = struct.unpack(">BHH", pdu)
        for output in self.outputs.values():
            pulse = output.profile.pulse
            if pulse is not None and (function, address) == (pulse.function, pulse.address):
                count = value - pulse.add
                if 1 <= count <= pulse.most:
                    self._put(output, True, now_s, until_s=now_s + count * pulse.count_ms / 1000)
                    return Answer(pdu=pdu)
            if (function, address) == (output.profile.write_function, output.profile.address):
                on = (0xFF00 if output.profile.on else 0) if function == 5 else output.profile.on
                off = (0xFF00 if output.profile.off else 0) if function == 5 else output.profile.off
                if value in (on, off):
                    self._put(output, value == on, now_s)
                    return Answer(pdu=pdu)
        return None

    def _put(self, output: _Output, is_on: bool, now_s: float, until_s: float | None = None) -> None:
        output.until_s = until_s
        if output.is_on != is_on:
            output.is_on = is_on
            self.switchings.append(Switching(now_s, output.name, is_on))

    def _expire(self, now_s: float) -> None:
        for output in self.outputs.values():
            if output.until_s is not None and now_s >= output.until_s:
                self._put(output, False, output.until_s)
        if self.watchdog is None or self.asked_s is None:
            return
        ends_s = self.asked_s + self.watchdog_counts * self.watchdog[2]
        if now_s < ends_s:
            return
        for output in self.outputs.values():
            # As its setting says; here the first half is set to keep, the rest to drop.
            if output.profile.safe is not None and output.name in self._dropping():
                self._put(output, False, ends_s)

    def _dropping(self) -> frozenset[str]:
        names = [name for name, output in self.outputs.items() if output.profile.safe is not None]
        return frozenset(names[len(names) // 2 :])


def board_of(profile: Profile) -> OutputBoard | None:
    """Returns the board of a profile; None where it has no outputs."""
    if not profile.outputs:
        return None
    points = profile.all_points
    outputs = {}
    for name, output in profile.outputs.items():
        point = points.get(output.readback) if output.readback else None
        cell = (output.table, output.address) if point is None else (point.table, point.address)
        outputs[name] = _Output(name=name, profile=output, cell=cell)
    watchdog = profile.watchdog
    return OutputBoard(
        outputs=outputs,
        watchdog=None if watchdog is None else (watchdog.table, watchdog.address, watchdog.count_ms / 1000),
    )
