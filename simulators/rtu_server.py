"""Modbus RTU devices behind a real pseudo terminal, with bytes paced at the line's speed.

One thread per bus.  A PTY hands over a whole write at once and has no baud rate, so the thread keeps the
time of a wire: bytes that arrive at T have left the sender only at T + n characters, and no byte of a
reply is handed over before it would have left ours.

::

    request bytes   |######|                              wire busy until here
    device                 |-- t3.5 --|-- delay --|
    reply bytes                                   |#|#|#|#|   each given when its last bit is out

Silence shorter than t3.5 between the end of one frame and the start of the next request is counted.
What a PTY does not carry (parity, stop bits, a wrong baud rate) comes through ``client_line``: a test says
how the other side's port is set, and where that differs from the bus every request is garbage to the
devices.  This is unproved on hardware.  Broadcasts (unit 0) are carried out and never answered.
"""

from __future__ import annotations

import os
import pty
import select
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drivers.frames import crc_fits, with_crc
from simulators.errors import PortInUse
from simulators.plant import LineSettings, SerialLine
from simulators.world import World

#: how many silences between frames are remembered
GAPS_KEPT = 10_000
#: a gap is measured through two schedulers; shorter than t3.5 by less than this is no violation
_CLOCK_SLACK_S = 0.0001
_FIXED_REQUESTS = frozenset({1, 2, 3, 4, 5, 6})
_LONGEST_FRAME = 256


@dataclass(slots=True)
class BusCounts:
    """What one bus has seen since its start."""

    requests: int = 0
    replies: int = 0
    crc_errors: int = 0
    #: requests that began less than t3.5 after the line fell silent
    short_gaps: int = 0
    #: requests that came while the line settings of the two sides differed
    wrong_settings: int = 0
    #: seconds of silence before each request but the first
    gaps_s: deque[float] = field(default_factory=lambda: deque(maxlen=GAPS_KEPT))


@dataclass(slots=True)
class _Outgoing:
    """A reply on its way: bytes and the moment when each has left the wire."""

    data: bytes
    first_s: float
    sent: int = 0


class RtuBus:
    """One serial line and the devices on it; ``units`` maps unit id to device id."""

    def __init__(
        self,
        line: SerialLine,
        units: Mapping[int, str],
        world: World,
        *,
        reply_delay_s: float = 0.002,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args beyond the line: ``reply_delay_s`` is what a device thinks after t3.5 of silence.

        The default is within the 1 to 3 ms that the KELLER manual states.
        """
        self.line = line
        self.counts = BusCounts()
        #: how the other side's port is set, where a test says so; None is as the bus
        self.client_line: LineSettings | None = None
        #: path of the pseudo terminal; empty before ``start``
        self.device = ""
        self._units = units
        self._world = world
        self._reply_delay_s = reply_delay_s
        self._clock = clock
        self._master = -1
        self._slave = -1
        self._stop_read, self._stop_write = -1, -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Makes the pseudo terminal, its symbolic link and the thread.

        Raises:
            PortInUse: something that is no symbolic link is at the line's path, or it cannot be made.
        """
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave, termios.TCSANOW)
        os.set_blocking(self._master, False)
        self.device = os.ttyname(self._slave)
        path = self.line.path
        try:
            if path.is_symlink():
                path.unlink()
            path.symlink_to(self.device)
        except OSError as error:
            self._close_files()
            raise PortInUse(
                f"{self.line.id}: cannot make a link at {path}: {error.strerror or error}; give a path that is free"
            ) from error
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name=f"bus-{self.line.id}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and removes the link; safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        os.write(self._stop_write, b"x")
        thread.join(timeout=5.0)
        if self.line.path.is_symlink() and os.readlink(self.line.path) == self.device:
            self.line.path.unlink()
        self._close_files()

    def _close_files(self) -> None:
        for name in ("_master", "_slave", "_stop_read", "_stop_write"):
            number = getattr(self, name)
            if number >= 0:
                os.close(number)
                setattr(self, name, -1)

    def _run(self) -> None:
        state = _Wire(self.line.settings)
        while True:
            # select() waits in microseconds; poll() would round a character up to whole milliseconds.
            readable, _, _ = select.select((self._master, self._stop_read), (), (), state.wait_s(self._clock()))
            if self._stop_read in readable:
                return
            now = self._clock()
            if self._master in readable:
                self._receive(state, now)
            for frame, ended_s in state.frames(now):
                self._handle(state, frame, ended_s)
            self._send(state, self._clock())

    def _receive(self, state: _Wire, now: float) -> None:
        try:
            data = os.read(self._master, 4096)
        except (BlockingIOError, OSError):
            return  # no client has the other end open
        gap_s = state.receive(data, now)
        if gap_s is None:
            return
        self.counts.gaps_s.append(gap_s)
        if gap_s < self.line.settings.frame_gap_s - _CLOCK_SLACK_S:
            self.counts.short_gaps += 1

    def _handle(self, state: _Wire, frame: bytes, ended_s: float) -> None:
        if self.client_line is not None and self.client_line != self.line.settings:
            self.counts.wrong_settings += 1
            return
        if len(frame) < 4 or not crc_fits(frame):
            self.counts.crc_errors += 1
            return
        self.counts.requests += 1
        unit_id, pdu = frame[0], frame[1:-2]
        if unit_id == 0:
            for device_id in self._units.values():
                self._world.reply(device_id, pdu)
            return
        addressed = self._units.get(unit_id)
        reply = None if addressed is None else self._world.reply(addressed, pdu)
        if reply is None:
            return
        sent = with_crc(bytes((reply.unit_id,)) + reply.pdu)
        if reply.is_crc_wrong:
            sent = sent[:-2] + bytes(byte ^ 0x5A for byte in sent[-2:])
        begins = ended_s + self.line.settings.frame_gap_s + self._reply_delay_s + reply.delay_s
        state.queue(sent, begins)
        self.counts.replies += 1

    def _send(self, state: _Wire, now: float) -> None:
        data = state.due(now)
        if data:
            try:
                os.write(self._master, data)
            except (BlockingIOError, OSError):
                return  # nobody reads: the bytes are lost, as on a wire


class _Wire:
    """The time of one half-duplex wire; pure, the clock comes in."""

    def __init__(self, settings: LineSettings) -> None:
        self._character_s = settings.character_s
        self._gap_s = settings.frame_gap_s
        self._pending = b""
        #: when the last received byte has left the sender
        self._received_until = -1.0
        #: when the last byte of either side has left the wire; below 0: none yet
        self._silent_since = -1.0
        self._out: list[_Outgoing] = []

    def receive(self, data: bytes, now: float) -> float | None:
        """Takes bytes that a client wrote; returns the silence before them, or None inside of a frame."""
        begins = max(now, self._received_until)
        gap: float | None = None
        if not self._pending and self._silent_since >= 0:
            gap = now - self._silent_since
        self._pending += data
        self._received_until = begins + len(data) * self._character_s
        self._silent_since = max(self._silent_since, self._received_until)
        return gap

    def frames(self, now: float) -> list[tuple[bytes, float]]:
        """Returns the requests that are complete: by length, or by t3.5 of silence; with their end."""
        found: list[tuple[bytes, float]] = []
        if not self._pending or now < self._received_until:
            return found
        while (length := request_length(self._pending)) is not None and len(self._pending) >= length:
            found.append((self._pending[:length], self._received_until))
            self._pending = self._pending[length:]
        if self._pending and (now >= self._received_until + self._gap_s or len(self._pending) > _LONGEST_FRAME):
            found.append((self._pending, self._received_until))
            self._pending = b""
        return found

    def queue(self, data: bytes, begins: float) -> None:
        """Puts a reply on the wire at its time, or after a reply that it would overlap; a later one holds none back."""
        length_s = len(data) * self._character_s
        place = 0
        for place, other in enumerate(self._out, start=1):
            if begins + length_s <= other.first_s:
                place -= 1
                break
            begins = max(begins, other.first_s + len(other.data) * self._character_s)
        self._out.insert(place, _Outgoing(data=data, first_s=begins))

    def due(self, now: float) -> bytes:
        """Returns the bytes whose last bit is out by now."""
        ready = b""
        while self._out:
            item = self._out[0]
            complete = int((now - item.first_s) / self._character_s) if now > item.first_s else 0
            complete = min(complete, len(item.data))
            if complete > item.sent:
                ready += item.data[item.sent : complete]
                item.sent = complete
                self._silent_since = max(self._silent_since, item.first_s + complete * self._character_s)
            if item.sent < len(item.data):
                break
            self._out.pop(0)
        return ready

    def wait_s(self, now: float) -> float | None:
        """Returns how long nothing can happen without new bytes; None is for ever."""
        moments: list[float] = []
        if self._pending:
            wanted = request_length(self._pending)
            is_whole = wanted is not None and len(self._pending) >= wanted
            moments.append(self._received_until + (0.0 if is_whole else self._gap_s))
        if self._out:
            item = self._out[0]
            moments.append(item.first_s + (item.sent + 1) * self._character_s)
        if not moments:
            return None
        return max(0.0, min(moments) - now)


def request_length(data: bytes) -> int | None:
    """Returns the length of the request that these bytes begin, or None when they do not tell."""
    if len(data) < 2:
        return None
    if data[1] in _FIXED_REQUESTS:
        return 8
    if data[1] in (15, 16):
        return 9 + data[6] if len(data) >= 7 else None
    return None
