"""A Modbus TCP device whose every answer is another number: what it has said can be looked for at the collector.

registers 0, 1   how many answers it has given, high word first
register 2       a level that the test sets
"""

from __future__ import annotations

import threading
import time

from tests.edge_agent.tcp_device import TcpDevice

#: a profile for it
PROFILE = """\
id = "counting"
names = { en = "Counting device", zh = "计数设备" }
maker = "none"
model = "made for tests"
kind = "other"
confidence = "M"
sources = ["made for tests; no device"]
[points.count]
names = { en = "count", zh = "计数" }
quantity = "raw"
suffix = "1"
address = 0
type = "u32"
resolution = "1"
unit = "1"
[points.level]
names = { en = "level", zh = "水平" }
quantity = "raw"
suffix = "2"
address = 2
type = "u16"
resolution = "1"
unit = "1"
"""
#: a rule for its level
RULE = """\
id = "test.level"
en = "test limit"
zh = "测试限值"
quantities = ["raw"]
unit = "1"
scheme = "test"
[[limit]]
name = "high"
en = "high"
zh = "高"
direction = "high"
value = 1000
deadband = 10
severity = "orange"
basis = "made for tests"
mark = "D"
"""
#: beyond the limit, and not
HIGH, LOW = 5000, 100


class CountingDevice(TcpDevice):
    """Answers with numbers that count."""

    def __init__(self) -> None:
        #: when each number was given (monotonic seconds); number 1 is the first
        self.given: list[float] = []
        self.level = LOW
        #: when the level was first given after it was set
        self.shown_s: float | None = None
        self._lock = threading.Lock()
        super().__init__()

    def set_level(self, level: int) -> None:
        with self._lock:
            self.level, self.shown_s = level, None

    def answer(self, frame: bytes) -> bytes:
        with self._lock:
            self.given.append(time.monotonic())
            if self.shown_s is None:
                self.shown_s = self.given[-1]
            number = len(self.given)
            self.registers = {0: number >> 16, 1: number & 0xFFFF, 2: self.level}
            return super().answer(frame)

    def first_after(self, at_s: float) -> float | None:
        """Returns when it was first asked after a moment."""
        later = [given for given in self.given[-1000:] if given >= at_s]
        return later[0] if later else None
