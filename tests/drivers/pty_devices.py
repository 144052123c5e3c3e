"""RTU devices behind a pseudo-terminal, in a thread of the test.

A PTY carries bytes without baud rate or parity: what is tested here is our thread, the
kernel's buffering and real time, not a real UART.
"""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from collections.abc import Callable
from types import TracebackType

from drivers.frames import FrameRequest, build_reply, parse_request

#: seconds until the reply, and the reply; or nothing
Answer = tuple[float, bytes] | None


def words_of(request: FrameRequest) -> tuple[int, ...]:
    """Every register holds its own address."""
    return tuple(range(request.address, request.address + request.count))


def prompt(request: FrameRequest) -> Answer:
    """A device that answers at once."""
    return 0.0, build_reply(request.unit_id, request.function, words_of(request))


class PtyDevices:
    """Devices on a line; ``path`` is what the port opens."""

    def __init__(self, answer: Callable[[FrameRequest], Answer]) -> None:
        self._answer = answer
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self.heard: list[FrameRequest] = []
        #: set by the first request
        self.was_asked = threading.Event()
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> PtyDevices:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def unplug(self) -> None:
        """Takes the line away as pulling a USB adapter does; safe to call twice."""
        if self._thread.is_alive():
            os.write(self._stop_write, b"x")
            self._thread.join()
            for fd in (self._master, self._slave, self._stop_read, self._stop_write):
                os.close(fd)

    def _run(self) -> None:
        due: list[tuple[float, bytes]] = []
        pending = b""
        while True:
            timeout = max(0.0, min(at for at, _ in due) - time.monotonic()) if due else None
            ready, _, _ = select.select([self._master, self._stop_read], [], [], timeout)
            if self._stop_read in ready:
                return
            if self._master in ready:
                pending += os.read(self._master, 4096)
                while len(pending) >= 8:
                    frame, pending = pending[:8], pending[8:]
                    request = parse_request(frame)
                    if not isinstance(request, FrameRequest):
                        continue
                    self.heard.append(request)
                    self.was_asked.set()
                    answer = self._answer(request)
                    if answer is not None:
                        due.append((time.monotonic() + answer[0], answer[1]))
            now = time.monotonic()
            for item in sorted(item for item in due if item[0] <= now):
                due.remove(item)
                os.write(self._master, item[1])
