"""Bytes in and out of a serial port: the only file that knows pyserial.

It opens, writes and reads without blocking; frames, silence and time-outs are
``drivers.exchange``.  pyserial sets the line up; reading and writing go straight to the
descriptor, because pyserial's own calls wait per byte.

A port is held by two locks: flock, which pyserial takes and which programs may ignore, and
TIOCEXCL, with which the kernel refuses everybody but root.  So root asks for TIOCEXCL itself
before it touches a line that somebody has open.  A pseudo terminal gets no TIOCEXCL: the mark
outlives a killed program as long as the other end stays.  A name (by-id, by-path) is resolved
anew at every opening.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import termios
from dataclasses import dataclass
from typing import Protocol

import serial

from drivers.errors import LineError, PortBusy, PortGone, PortRefused
from drivers.frames import silence_s
from drivers.port_access import group_of, holders_of, why_refused
from drivers.rs485 import (
    NOT_OPEN,
    ElectronicsReport,
    KernelElectronics,
    LineElectronics,
    Rs485Settings,
    Unavailable,
)

#: asks whether TIOCEXCL is set (Linux 3.8 and up; termios has no name for it)
_TIOCGEXCL = 0x80045440
#: device numbers of pseudo terminals (Linux admin-guide/devices.txt)
_PTY_MAJORS = range(136, 144)

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
    #: direction switching by the kernel; ``None`` leaves it as the system has it
    rs485: Rs485Settings | None = None

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

    def __init__(self, settings: LineSettings, *, sends: bool = True) -> None:
        """``sends``: false for a line that is only listened to; RTS stays off and every write is refused."""
        self._settings = settings
        self._sends = sends
        self._port: serial.Serial | None = None
        self._fd = -1
        self._poll = select.poll()
        self._device = ""
        self._electronics: LineElectronics | None = None
        self._latency: int | Unavailable = Unavailable(NOT_OPEN)
        self._rs485: Rs485Settings | Unavailable | None = None

    def open(self) -> None:
        """Opens and locks the port.

        Raises:
            PortGone, PortBusy, PortRefused: says which and why.
        """
        settings = self._settings
        if os.geteuid() == 0:
            _refuse_claimed(settings.path)
        try:
            self._port = serial.Serial(
                baudrate=settings.baud,
                parity=settings.parity,
                stopbits=settings.stop_bits,
                timeout=0,
                exclusive=True,
            )
            self._port.port = settings.path
            if not self._sends:
                self._port.rts = False
            self._port.open()
        except termios.error as error:
            # No OSError: what tcsetattr says of settings that the driver does not take.
            raise _translated(OSError(*error.args), settings.path) from error
        except (OSError, ValueError) as error:
            raise _translated(error, settings.path) from error
        self._fd = self._port.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        if not _is_pty(self._fd):
            _claim(self._fd)
        self._device = os.path.realpath(settings.path)
        self._electronics = KernelElectronics(self._fd, self._device)
        self._latency = self._electronics.set_low_latency()
        self._rs485 = None if settings.rs485 is None else self._electronics.set_rs485(settings.rs485)

    def electronics(self) -> ElectronicsReport:
        """Asks the driver what it has counted; a port that is closed says so."""
        if self._fd < 0 or self._electronics is None:
            return ElectronicsReport(path=self._settings.path, because=NOT_OPEN)
        return ElectronicsReport(
            path=self._settings.path,
            device=self._device,
            rs485=self._rs485,
            counters=self._electronics.read_counters(),
            latency_ms=self._latency,
        )

    def write(self, data: bytes) -> None:
        """Hands all bytes to the driver; raises PortGone, or PortRefused on a line that is only listened to."""
        if not self._sends:
            raise PortRefused(f"{self._settings.path} is only listened to")
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


def _is_pty(fd: int) -> bool:
    return os.major(os.fstat(fd).st_rdev) in _PTY_MAJORS


def _claim(fd: int) -> None:
    try:
        fcntl.ioctl(fd, termios.TIOCEXCL)
    except OSError:
        pass  # the flock holds among programs that ask for it


def _refuse_claimed(path: str) -> None:
    """Raises PortBusy when a program has claimed the port by TIOCEXCL, which root is not told by open."""
    holders = holders_of(path)
    if not holders.found:
        return
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise _translated(error, path) from error
    try:
        is_claimed = bytearray(4)
        fcntl.ioctl(fd, _TIOCGEXCL, is_claimed)
    except OSError:
        return  # no terminal: opening it will say so
    finally:
        os.close(fd)
    if any(is_claimed):
        raise PortBusy(f"{path} is used by {holders}")


def _translated(error: OSError | ValueError, path: str) -> LineError:
    number = error.errno if isinstance(error, OSError) else None
    if number in _BUSY:
        holders = holders_of(path)
        hint = "" if holders.found else f"; `sudo fuser -v {path}` names it"
        return PortBusy(f"{path} is used by {holders}{hint}")
    if number in _GONE:
        return PortGone(f"{path} is not there")
    if number in (errno.EACCES, errno.EPERM):
        return PortRefused(why_refused(path, group_of(path)))
    return PortRefused(f"{path} cannot be used: {error}")
