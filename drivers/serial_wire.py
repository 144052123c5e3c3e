"""Bytes in and out of a serial port: the only file that knows pyserial.

It opens, writes and reads without blocking; frames, silence and time-outs are
``drivers.exchange``.  pyserial sets the line up and holds an exclusive lock; reading and
writing go straight to the descriptor, because pyserial's own calls wait per byte.
"""

from __future__ import annotations

import errno
import os
import select
from dataclasses import dataclass
from typing import Protocol

import serial

from drivers.errors import LineError, PortBusy, PortGone, PortRefused
from drivers.frames import silence_s

_BUSY = frozenset({errno.EAGAIN, errno.EBUSY})
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO})
_HUNG_UP = select.POLLHUP | select.POLLERR | select.POLLNVAL
#: seconds that the driver may take to accept a frame; its buffer holds many frames
_WRITE_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSettings:
    """How a serial line is set up."""

    #: device file; a by-id or by-path name finds the adapter again after a re-plug
    path: str
    baud: int = 9600
    #: ``N``, ``E`` or ``O``
    parity: str = "N"
    stop_bits: int = 1

    @property
    def char_bits(self) -> int:
        """Bits of one character on the line."""
        return 1 + 8 + (self.parity != "N") + self.stop_bits

    @property
    def char_s(self) -> float:
        """Seconds of one character."""
        return self.char_bits / self.baud

    @property
    def silence_s(self) -> float:
        """Seconds of silence before a request, t3.5."""
        return silence_s(self.baud, self.char_bits)


class Wire(Protocol):
    """What an exchange needs of a line; every method raises LineError when the line is not there."""

    def open(self) -> None:
        """Opens the line."""

    def write(self, data: bytes) -> None:
        """Hands all bytes to the driver."""

    def read(self) -> bytes:
        """Returns what is there now, at once; empty for nothing."""

    def wait(self, timeout_s: float) -> None:
        """Returns when something is there to read, or after the time-out."""

    def close(self) -> None:
        """Closes the line; safe to call twice, never raises."""


class SerialWire:
    """A serial port of this machine."""

    def __init__(self, settings: LineSettings) -> None:
        self._settings = settings
        self._port: serial.Serial | None = None
        self._fd = -1
        self._poll = select.poll()

    def open(self) -> None:
        """Opens and locks the port.

        Raises:
            PortGone, PortBusy, PortRefused: says which and why.
        """
        settings = self._settings
        try:
            self._port = serial.Serial(
                port=settings.path,
                baudrate=settings.baud,
                parity=settings.parity,
                stopbits=settings.stop_bits,
                timeout=0,
                exclusive=True,
            )
        except (OSError, ValueError) as error:
            raise _translated(error, settings.path) from error
        self._fd = self._port.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def write(self, data: bytes) -> None:
        """Hands all bytes to the driver; raises PortGone."""
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    if not select.select([], [self._fd], [], _WRITE_PATIENCE_S)[1]:
                        raise PortGone(f"{self._settings.path} takes no bytes") from None
        except OSError as error:
            raise _translated(error, self._settings.path) from error

    def read(self) -> bytes:
        """Returns what is there now; raises PortGone when the line has hung up."""
        events = self._events(0)
        if not events:
            return b""
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise _translated(error, self._settings.path) from error
        if not data:
            raise PortGone(f"{self._settings.path} has hung up")
        return data

    def wait(self, timeout_s: float) -> None:
        """Sleeps until bytes are there or the time is over."""
        self._events(max(0, int(timeout_s * 1000 + 0.999)))

    def close(self) -> None:
        """Closes the port."""
        port, self._port, self._fd = self._port, None, -1
        if port is not None:
            try:
                port.close()
            except OSError:
                pass  # the descriptor of a vanished adapter may fail to close; it is gone either way

    def _events(self, timeout_ms: int) -> int:
        if self._fd < 0:
            raise PortGone(f"{self._settings.path} is closed")
        found = self._poll.poll(timeout_ms)
        events = found[0][1] if found else 0
        if events & _HUNG_UP and not events & select.POLLIN:
            raise PortGone(f"{self._settings.path} has hung up")
        return events


def _translated(error: OSError | ValueError, path: str) -> LineError:
    number = error.errno if isinstance(error, OSError) else None
    if number in _BUSY:
        return PortBusy(f"{path} is used by another program")
    if number in _GONE:
        return PortGone(f"{path} is not there")
    if number in (errno.EACCES, errno.EPERM):
        return PortRefused(f"{path} may not be opened by this user; members of its group (often dialout) may")
    return PortRefused(f"{path} cannot be used: {error}")
