"""A serial line in virtual time: devices that answer when a test says, and a clock that jumps.

Not a test double of our own code: it stands for the kernel, the cable and the devices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.errors import LineError
from drivers.exchange import Exchange
from drivers.frames import FrameRequest, parse_request
from drivers.serial_wire import LineSettings

#: what a device does with a request: (seconds until the reply begins, bytes), or nothing
Answer = tuple[float, bytes] | None


@dataclass
class VirtualLine:
    """The wire, the clock and the devices in one."""

    settings: LineSettings
    answer: Callable[[FrameRequest], Answer]
    #: what the devices do with a frame that is no read
    answer_other: Callable[[bytes], Answer] = lambda _: None
    now_us: int = 1_000_000
    echoes: bool = False
    #: raised by the next open or write
    broken: LineError | None = None
    #: (monotonic microseconds, request) as they came
    heard: list[tuple[int, FrameRequest]] = field(default_factory=list)
    heard_other: list[tuple[int, bytes]] = field(default_factory=list)
    #: when a byte last moved in either direction, as the line sees it
    _moving: list[tuple[float, int]] = field(default_factory=list)
    #: shortest silence seen before a request, in microseconds
    shortest_silence_us: float = float("inf")
    _last_moved_us: float = 0.0
    opened: int = 0

    def clock_us(self) -> int:
        return self.now_us

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_us += int(seconds * 1e6) + 1

    def open(self) -> None:
        self._break()
        self.opened += 1

    def close(self) -> None:
        self._moving.clear()

    def write(self, data: bytes) -> None:
        self._break()
        char_us = self.settings.char_s * 1e6
        moved = [at for at, _ in self._moving if at <= self.now_us]
        self.shortest_silence_us = min(self.shortest_silence_us, self.now_us - max([self._last_moved_us, *moved]))
        self._last_moved_us = self.now_us + len(data) * char_us
        if self.echoes:
            self.inject(data, 0.0)
        request = parse_request(data)
        if isinstance(request, FrameRequest):
            self.heard.append((self.now_us, request))
            answer = self.answer(request)
        else:
            self.heard_other.append((self.now_us, data))
            answer = self.answer_other(data)
        if answer is not None:
            self.inject(answer[1], len(data) * self.settings.char_s + answer[0])

    def inject(self, data: bytes, after_s: float) -> None:
        """Puts bytes on the line, the first one complete one character after ``after_s``."""
        char_us = self.settings.char_s * 1e6
        start = self.now_us + after_s * 1e6
        self._moving += [(start + (place + 1) * char_us, byte) for place, byte in enumerate(data)]
        self._moving.sort(key=lambda item: item[0])

    def read(self) -> bytes:
        self._break()
        here = [item for item in self._moving if item[0] <= self.now_us]
        del self._moving[: len(here)]
        if here:
            self._last_moved_us = max(self._last_moved_us, here[-1][0])
        return bytes(byte for _, byte in here)

    def wait(self, timeout_s: float) -> None:
        until = self.now_us + timeout_s * 1e6
        if self._moving:
            until = min(until, max(self._moving[0][0], self.now_us))
        self.now_us = int(until) + 1

    def exchange(self) -> Exchange:
        """The exchange under test on this line."""
        return Exchange(self.settings, self, clock_us=self.clock_us, sleep=self.sleep)

    def idle(self, exchange: Exchange, until_us: int) -> None:
        """Lets time pass as the line's thread does: it looks often while a late reply may come."""
        while self.now_us < until_us:
            step_us = until_us - self.now_us
            if exchange.is_watching():
                step_us = min(step_us, 20_000)
            self.now_us += step_us
            if self.now_us < until_us:
                exchange.look()

    def _break(self) -> None:
        if self.broken is not None:
            error, self.broken = self.broken, None
            raise error
