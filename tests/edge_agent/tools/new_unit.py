"""A new unit on a pseudo terminal: it answers at one address, takes writes, and gets another address by them."""

from __future__ import annotations

import os
import select
import struct
import threading
import tty
from dataclasses import dataclass, field
from types import TracebackType

from drivers.frames import build_reply, crc_fits, with_crc


@dataclass
class NewUnit:
    """One unit; ``power_cycle`` is what the person does."""

    address: int
    #: register that takes the new address
    address_register: int
    #: the new address counts only after the supply was off
    needs_power_cycle: bool = False
    #: forgets the new address when the supply is off
    forgets: bool = False
    #: takes writes and does nothing
    is_stubborn: bool = False
    is_connected: bool = True
    words: dict[int, int] = field(default_factory=dict)
    writes: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    _next: int = 0
    _old: int = 0

    def __enter__(self) -> NewUnit:
        self._old = self.address
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for number in (self._master, self._slave, self._stop_read, self._stop_write):
            os.close(number)

    def power_cycle(self) -> None:
        """The supply goes off and on."""
        if self.forgets:
            self.address = self._old
        elif self._next:
            self.address = self._next

    def renew(self, address: int) -> None:
        """Another unit of the kind takes its place on the line."""
        self.address = self._old = address
        self._next = 0

    def _run(self) -> None:
        pending = b""
        while True:
            ready, _, _ = select.select([self._master, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            pending += os.read(self._master, 4096)
            while (length := _length(pending)) and len(pending) >= length:
                frame, pending = pending[:length], pending[length:]
                if not crc_fits(frame):
                    pending = b""
                elif self.is_connected and frame[0] in (self.address, 0):
                    answer = self._answer(frame)
                    if frame[0]:
                        os.write(self._master, answer)

    def _answer(self, frame: bytes) -> bytes:
        unit_id, function, address, last = struct.unpack(">BBHH", frame[:6])
        if function in (1, 2, 3, 4):
            return build_reply(unit_id, function, [self.words.get(address + place, 0) for place in range(last)])
        values = (last,) if function in (5, 6) else struct.unpack(f">{last}H", frame[7:-2])
        self.writes.append((function, address, values))
        for place, value in enumerate(values):
            self.words[address + place] = value
        if address == self.address_register and not self.is_stubborn:
            self._next = values[0] & 0xFF
            if not self.needs_power_cycle:
                self.address = self._next
        return with_crc(frame[:6])


def _length(data: bytes) -> int:
    """Length of the request that begins here; 0 where too little is there to tell."""
    if len(data) < 2:
        return 0
    if data[1] in (15, 16):
        return 9 + data[6] if len(data) > 6 else 0
    return 8
