"""The electronics behind a serial port: RS-485 direction, error counters, adapter latency.

A small port (``LineElectronics``) and its Linux side (``KernelElectronics``).  Nothing here ever
fails a line: what a driver, an adapter or a pseudo terminal does not have is ``Unavailable``, with
the reason.  It sends nothing and decides nothing.

Sources: Linux ``serial-rs485.rst`` and ``linux/serial.h`` (ioctl numbers and structures of x86 and ARM);
``ftdi_sio``: its latency timer is 16 ms unless it is set, 1 ms with ASYNC_LOW_LATENCY.

Proved: on pseudo terminals (all three not available), the packing of the structures against a
driver in memory, and the counters on Linux's 8250 driver with an emulated 16550.  Not proved on
hardware: that a driver obeys the direction settings, that an FTDI adapter takes the low latency,
that an adapter's driver counts what the line did.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

TIOCGSERIAL = 0x541E
TIOCSSERIAL = 0x541F
TIOCGRS485 = 0x542E
TIOCSRS485 = 0x542F
TIOCGICOUNT = 0x545D

_RS485_ENABLED = 1 << 0
_RS485_RTS_ON_SEND = 1 << 1
_RS485_RTS_AFTER_SEND = 1 << 2
_RS485_RX_DURING_TX = 1 << 4
_RS485_TERMINATE_BUS = 1 << 5
#: flags, delays before and after, five words of addresses and padding
_RS485_STRUCT = struct.Struct("=8I")
#: cts dsr rng dcd rx tx frame overrun parity brk buf_overrun, nine reserved
_COUNTER_STRUCT = struct.Struct("=20i")
#: struct serial_struct is 60 to 72 bytes long; its flags are the fifth int
_SERIAL_BYTES = 128
_SERIAL_FLAGS_AT = 16
_ASYNC_LOW_LATENCY = 1 << 13

NOT_OPEN = "port is not open"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A thing that this port does not have, or does not tell."""

    reason: str

    def __str__(self) -> str:
        return f"not available: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rs485Settings:
    """How the kernel switches a transceiver between sending and receiving by RTS."""

    #: level of RTS while sending, and afterwards
    rts_on_send: bool = True
    rts_after_send: bool = False
    #: hears itself: every request comes back as an echo
    rx_during_tx: bool = False
    #: switches a terminating resistor on, where the board has one
    terminate: bool = False
    #: milliseconds between RTS and the first bit, and between the last bit and RTS
    delay_before_ms: int = 0
    delay_after_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCounters:
    """What the driver has counted since the port exists; they never go down while it does."""

    #: no stop bit where one should be: wrong baud rate, noise, collisions
    frame: int
    parity: int
    #: bytes lost because the computer was too slow
    overrun: int
    #: the line was held low: A and B swapped, or a short
    breaks: int
    buffer_overrun: int
    received: int
    sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectronicsReport:
    """What a port's electronics told at one moment."""

    #: name of the port in the configuration
    path: str
    #: device file behind it
    device: str = ""
    #: why there is nothing to tell; empty while the port is open
    because: str = ""
    #: as the driver took it; ``None`` where nothing was asked for
    rs485: Rs485Settings | Unavailable | None = None
    counters: ErrorCounters | Unavailable = Unavailable(NOT_OPEN)
    #: milliseconds that the adapter may hold received bytes back
    latency_ms: int | Unavailable = Unavailable(NOT_OPEN)

    def facts(self) -> tuple[tuple[str, int | str], ...]:
        """Returns what is known as names and values for a health record."""
        found: list[tuple[str, int | str]] = []
        if self.device:
            found.append(("device", self.device))
        if isinstance(self.counters, ErrorCounters):
            counters = self.counters
            found += [
                ("frame_errors", counters.frame),
                ("parity_errors", counters.parity),
                ("overruns", counters.overrun + counters.buffer_overrun),
                ("breaks", counters.breaks),
            ]
        if isinstance(self.latency_ms, int):
            found.append(("adapter_latency_ms", self.latency_ms))
        if self.rs485 is not None:
            found.append(("rs485", "on" if isinstance(self.rs485, Rs485Settings) else str(self.rs485)))
        return tuple(found)


class LineElectronics(Protocol):
    """What a line may ask of the port that it has opened; nothing raises."""

    def set_rs485(self, settings: Rs485Settings) -> Rs485Settings | Unavailable:
        """Turns the kernel's direction switching on; returns what the driver took."""

    def read_counters(self) -> ErrorCounters | Unavailable:
        """Returns the driver's error counters."""

    def latency_ms(self) -> int | Unavailable:
        """Returns how long the adapter may hold received bytes back."""

    def set_low_latency(self) -> int | Unavailable:
        """Asks for the shortest latency; returns what it is now."""


class KernelElectronics:
    """The electronics of an open serial port, asked by ioctl and sysfs; it does not own the descriptor."""

    def __init__(
        self,
        fd: int,
        device: str,
        *,
        sys: Path = Path("/sys"),
        ioctl: Callable[[int, int, bytearray], int] = fcntl.ioctl,
    ) -> None:
        self._fd = fd
        self._timer = sys / "bus/usb-serial/devices" / os.path.basename(device) / "latency_timer"
        self._ioctl = ioctl

    def set_rs485(self, settings: Rs485Settings) -> Rs485Settings | Unavailable:
        """Turns the kernel's direction switching on; returns what the driver took."""
        buffer = bytearray(_pack_rs485(settings))
        try:
            self._ioctl(self._fd, TIOCSRS485, buffer)
            self._ioctl(self._fd, TIOCGRS485, buffer)
        except OSError as error:
            return Unavailable(f"the driver switches no RS-485 direction ({error.strerror})")
        taken = _unpack_rs485(bytes(buffer))
        return Unavailable("the driver did not turn RS-485 on") if taken is None else taken

    def read_counters(self) -> ErrorCounters | Unavailable:
        """Returns the driver's error counters."""
        buffer = bytearray(_COUNTER_STRUCT.size)
        try:
            self._ioctl(self._fd, TIOCGICOUNT, buffer)
        except OSError as error:
            return Unavailable(f"the driver counts no errors ({error.strerror})")
        _, _, _, _, received, sent, frame, overrun, parity, breaks, lost, *_ = _COUNTER_STRUCT.unpack(buffer)
        return ErrorCounters(
            frame=frame,
            parity=parity,
            overrun=overrun,
            breaks=breaks,
            buffer_overrun=lost,
            received=received,
            sent=sent,
        )

    def latency_ms(self) -> int | Unavailable:
        """Returns how long the adapter may hold received bytes back."""
        try:
            return int(self._timer.read_text())
        except FileNotFoundError:
            return Unavailable("the driver has no latency timer")
        except (OSError, ValueError) as error:
            return Unavailable(f"{self._timer} cannot be read ({error})")

    def set_low_latency(self) -> int | Unavailable:
        """Asks for the shortest latency; returns what it is now.

        First by the port's own flag, which needs no more rights than the port itself, then by
        sysfs, which root may write.
        """
        before = self.latency_ms()
        if isinstance(before, Unavailable) or before <= 1:
            return before
        buffer = bytearray(_SERIAL_BYTES)
        try:
            self._ioctl(self._fd, TIOCGSERIAL, buffer)
            flags = struct.unpack_from("=i", buffer, _SERIAL_FLAGS_AT)[0]
            struct.pack_into("=i", buffer, _SERIAL_FLAGS_AT, flags | _ASYNC_LOW_LATENCY)
            self._ioctl(self._fd, TIOCSSERIAL, buffer)
        except OSError:
            pass  # the timer's file is tried next, and what holds in the end is read back
        now = self.latency_ms()
        if isinstance(now, int) and now > 1:
            try:
                self._timer.write_text("1")
            except OSError:
                pass  # not root: the latency stays, is reported, and udev can set it
            now = self.latency_ms()
        return now


def _pack_rs485(settings: Rs485Settings) -> bytes:
    flags = _RS485_ENABLED
    for is_set, flag in (
        (settings.rts_on_send, _RS485_RTS_ON_SEND),
        (settings.rts_after_send, _RS485_RTS_AFTER_SEND),
        (settings.rx_during_tx, _RS485_RX_DURING_TX),
        (settings.terminate, _RS485_TERMINATE_BUS),
    ):
        flags |= flag if is_set else 0
    return _RS485_STRUCT.pack(flags, settings.delay_before_ms, settings.delay_after_ms, 0, 0, 0, 0, 0)


def _unpack_rs485(data: bytes) -> Rs485Settings | None:
    flags, before, after, *_ = _RS485_STRUCT.unpack(data)
    if not flags & _RS485_ENABLED:
        return None
    return Rs485Settings(
        rts_on_send=bool(flags & _RS485_RTS_ON_SEND),
        rts_after_send=bool(flags & _RS485_RTS_AFTER_SEND),
        rx_during_tx=bool(flags & _RS485_RX_DURING_TX),
        terminate=bool(flags & _RS485_TERMINATE_BUS),
        delay_before_ms=before,
        delay_after_ms=after,
    )
