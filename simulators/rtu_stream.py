"""RTU devices behind a TCP connection: what a serial server and a DTU pass on, and nothing of their own.

Frames come with CRC and without a header, in any segments.  Replies take the time that the line behind
would take for request and reply.  What is no frame is noise to the devices and is dropped with what
came with it, because a stream has no silence that would end it.  Broadcasts (unit 0) are carried out and
never answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.frames import crc_fits, with_crc
from simulators.plant import LineSettings
from simulators.rtu_server import request_length
from simulators.tcp_server import no_delay
from simulators.world import World

_LONGEST_FRAME = 256


@dataclass(slots=True)
class StreamCounts:
    """What came over all connections of one line."""

    connections: int = 0
    requests: int = 0
    replies: int = 0
    #: bytes that were no frame
    noise: int = 0


class RtuUnits:
    """The devices of one line; ``units`` maps unit id to device id."""

    def __init__(self, settings: LineSettings, units: Mapping[int, str], world: World) -> None:
        self.counts = StreamCounts()
        self._settings = settings
        self._units = units
        self._world = world

    def split(self, pending: bytes) -> tuple[list[bytes], bytes]:
        """Returns the whole request frames at the start of a stream, and what is left of it."""
        frames = []
        while (length := request_length(pending)) is not None and len(pending) >= length:
            if not crc_fits(pending[:length]):
                break
            frames.append(pending[:length])
            pending = pending[length:]
        is_noise = len(pending) > _LONGEST_FRAME or (length is not None and len(pending) >= length)
        if is_noise or (length is None and len(pending) >= 7):
            self.counts.noise += len(pending)
            pending = b""
        return frames, pending

    def answer(self, frame: bytes) -> tuple[bytes, float] | None:
        """Returns (reply frame, seconds until it is out) to one request, or None for silence."""
        self.counts.requests += 1
        unit_id, pdu = frame[0], frame[1:-2]
        if unit_id == 0:
            for device_id in self._units.values():
                self._world.reply(device_id, pdu)
            return None
        addressed = self._units.get(unit_id)
        reply = None if addressed is None else self._world.reply(addressed, pdu)
        if reply is None:
            return None
        sent = with_crc(bytes((reply.unit_id,)) + reply.pdu)
        if reply.is_crc_wrong:
            sent = sent[:-2] + bytes(byte ^ 0x5A for byte in sent[-2:])
        self.counts.replies += 1
        return sent, (len(frame) + len(sent)) * self._settings.character_s + reply.delay_s


class RtuConnection(asyncio.Protocol):
    """One connection to the devices."""

    def __init__(self, units: RtuUnits, open_now: set[asyncio.Transport], greeting: bytes = b"") -> None:
        """Args: the devices, where to note the open transport, and what is sent first."""
        self._units = units
        self._open_now = open_now
        self._greeting = greeting
        self._pending = b""
        self._transport: asyncio.Transport | None = None
        #: done when the connection has ended
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open_now.add(transport)
        self._units.counts.connections += 1
        no_delay(transport)
        if self._greeting:
            transport.write(self._greeting)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._open_now.discard(self._transport)
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        frames, self._pending = self._units.split(self._pending + data)
        for frame in frames:
            found = self._units.answer(frame)
            if found is not None:
                reply, delay_s = found
                asyncio.get_running_loop().call_later(delay_s, self.send, reply)

    def send(self, data: bytes) -> None:
        """Sends bytes unless the connection has ended."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
