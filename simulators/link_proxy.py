"""The link between gateway and broker: a TCP proxy that can be cut, stalled and slowed.

It stands where a modem would, and knows nothing of MQTT.

======  =====================================================================
up      bytes pass at once, in both directions
cut     open connections are reset, new ones are refused (nobody listens)
stall   connections stay open and are accepted, and nothing passes: a black hole
slow    at most so many bytes each second, in each direction of each connection
======  =====================================================================

Beside its state it can be late by so many seconds (``delay_s``), and break once after so many bytes
(``break_after``): the peer has exactly those, and then a reset.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from simulators.errors import SimulatorError
from simulators.scenario import LINK_STATES, LinkState
from simulators.tcp_server import listen, no_delay

#: what is read at once; small, so that a stall or a cut takes hold soon
_CHUNK = 16_384
#: a slow link passes its bytes in portions of this many seconds
_PORTION_S = 0.1


@dataclass(slots=True)
class LinkCounts:
    """What has passed since the start."""

    bytes_up: int = 0
    bytes_down: int = 0
    connections: int = 0
    refused: int = 0
    #: connections broken by ``break_after``
    breaks: int = 0


class LinkProxy:
    """Listens on one address and passes everything on to another."""

    def __init__(
        self, host: str, port: int, target_host: str, target_port: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.host = host
        self.port = port
        self.target_host = target_host
        self.target_port = target_port
        self.link = LinkState()
        self.counts = LinkCounts()
        #: every byte is late by this (s), in each direction
        self.delay_s = 0.0
        #: bytes until the break, up and down; None: there is none
        self._left: dict[bool, int | None] = {True: None, False: None}
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._moving = asyncio.Event()
        self._moving.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens; raises PortInUse when the address cannot be had."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()

        def factory() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=_CHUNK), self._accept, loop=loop)

        self._server = await listen(loop, factory, self.host, self.port, "link")
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Closes everything; safe to call twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def set(self, link: LinkState) -> None:
        """Puts the link into a state.

        Raises:
            SimulatorError: an unknown state, or slow without a rate.
            PortInUse: the address was taken by another program while the link was cut.
        """
        if link.state not in LINK_STATES:
            raise SimulatorError(f"link state {link.state!r} is not known; known are {', '.join(LINK_STATES)}")
        if link.state == "slow" and link.bytes_per_s < 1:
            raise SimulatorError("a slow link needs its bytes per second, 1 or more")
        self.link = link
        if link.state == "stall":
            self._moving.clear()
        else:
            self._moving.set()
        if link.state == "cut":
            await self.stop()
        else:
            await self.start()

    def break_after(self, *, up: int | None = None, down: int | None = None) -> None:
        """Breaks a connection, once, after so many more bytes to the broker, or from it.

        Args:
            up: 1 or more; None: not in this direction.
            down: likewise.

        Raises:
            SimulatorError: less than 1.
        """
        if (up is not None and up < 1) or (down is not None and down < 1):
            raise SimulatorError("a link breaks after 1 byte or more")
        self._left = {True: up, False: down}

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        no_delay(writer.transport)
        far: asyncio.StreamWriter | None = None
        try:
            far_reader, far = await asyncio.open_connection(self.target_host, self.target_port, limit=_CHUNK)
            no_delay(far.transport)
            await self._both(reader, writer, far_reader, far)
        except OSError:
            self.counts.refused += 1  # the broker is not there: the client sees its connection closed
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far: asyncio.StreamWriter,
    ) -> None:
        """Passes bytes both ways until either side ends."""
        pumps = [
            asyncio.ensure_future(self._pump(reader, far, is_up=True)),
            asyncio.ensure_future(self._pump(far_reader, writer, is_up=False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_up: bool) -> None:
        free_at = self._clock()
        while True:
            await self._moving.wait()
            slow = self.link.bytes_per_s if self.link.state == "slow" else 0
            data = await source.read(max(1, int(slow * _PORTION_S)) if slow else _CHUNK)
            if not data:
                return
            await self._moving.wait()
            slow = self.link.bytes_per_s if self.link.state == "slow" else 0
            if slow:
                free_at = max(free_at, self._clock()) + len(data) / slow
                await asyncio.sleep(free_at - self._clock())
            passing, is_break = self._cut_off(data, is_up=is_up)
            if self.delay_s:
                # One call after the other at the same distance: the order stays.
                asyncio.get_running_loop().call_later(self.delay_s, self._late, sink, passing)
            else:
                sink.write(passing)
                await sink.drain()
            if is_up:
                self.counts.bytes_up += len(passing)
            else:
                self.counts.bytes_down += len(passing)
            if is_break:
                await self._let_out(sink)
                return

    def _cut_off(self, data: bytes, *, is_up: bool) -> tuple[bytes, bool]:
        """Returns what of this still passes, and whether the connection breaks behind it."""
        left = self._left[is_up]
        if left is None:
            return data, False
        if len(data) < left:
            self._left[is_up] = left - len(data)
            return data, False
        self._left = {True: None, False: None}
        self.counts.breaks += 1
        return data[:left], True

    @staticmethod
    def _late(sink: asyncio.StreamWriter, data: bytes) -> None:
        if not sink.transport.is_closing():
            sink.write(data)

    async def _let_out(self, sink: asyncio.StreamWriter) -> None:
        """Waits until the last bytes before a break have left: a reset would take them back."""
        await asyncio.sleep(self.delay_s)
        if not sink.transport.is_closing():
            sink.transport.set_write_buffer_limits(high=0)
            await sink.drain()
