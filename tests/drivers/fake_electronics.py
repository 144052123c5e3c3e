"""The kernel's side of a serial port's electronics: the ioctls of a driver, in memory."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from pathlib import Path

from drivers.rs485 import TIOCGICOUNT, TIOCGRS485, TIOCGSERIAL, TIOCSRS485, TIOCSSERIAL


@dataclass
class FakeDriver:
    """A driver; what it does not support gives ENOTTY, as the kernel does."""

    #: flags that the driver takes of an RS-485 request; ``None``: it knows none
    rs485_flags: int | None = None
    #: cts dsr rng dcd rx tx frame overrun parity brk buf_overrun
    counts: tuple[int, ...] | None = None
    #: file of the latency timer; ASYNC_LOW_LATENCY sets it to 1
    timer: Path | None = None
    obeys_flag: bool = True
    asked: list[tuple[int, bytes]] = field(default_factory=list)
    _rs485: bytes = bytes(32)

    def ioctl(self, fd: int, request: int, buffer: bytearray) -> int:
        self.asked.append((request, bytes(buffer)))
        if request == TIOCSRS485 and self.rs485_flags is not None:
            self._rs485 = struct.pack("=I", struct.unpack_from("=I", buffer)[0] & self.rs485_flags) + buffer[4:]
        elif request == TIOCGRS485 and self.rs485_flags is not None:
            buffer[:] = self._rs485
        elif request == TIOCGICOUNT and self.counts is not None:
            buffer[:44] = struct.pack("=11i", *self.counts)
        elif request == TIOCGSERIAL and self.timer is not None:
            struct.pack_into("=5i", buffer, 0, 0, 3, 0, 0, 0x40)
        elif request == TIOCSSERIAL and self.timer is not None:
            if self.obeys_flag and struct.unpack_from("=i", buffer, 16)[0] & 0x2000:
                self.timer.write_text("1\n")
        else:
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        return 0
