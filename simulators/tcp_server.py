"""Modbus TCP servers: one listening address per TCP line of the plant, any number of units behind it.

Framing only (Modbus Messaging on TCP/IP V1.0b: transaction, protocol 0, length, unit); what a device
answers is ``world``'s business.  A unit that nobody simulates is answered with exception 11, as a
gateway does whose device does not respond.  Requests of one connection may overlap: a late reply does
not hold the next one back.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Mapping

from simulators.device import exception_pdu
from simulators.errors import PortInUse
from simulators.plant import TcpLine
from simulators.world import World

GATEWAY_TARGET_SILENT = 11
_HEADER = struct.Struct(">HHHB")
#: protocol data unit of at most 253 bytes, and the unit id (Messaging on TCP/IP, section 3)
_MOST = 254


class TcpServer:
    """One listening address; ``units`` maps unit id to device id."""

    def __init__(self, line: TcpLine, units: Mapping[int, str], world: World) -> None:
        self.line = line
        self._units = units
        self._world = world
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()

    @property
    def port(self) -> int:
        """The port that is really listened on; 0 before ``start``."""
        if self._server is None or not self._server.sockets:
            return 0
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listens; raises PortInUse when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._server = await listen(loop, lambda: _Connection(self), self.line.host, self.line.port, self.line.id)

    async def stop(self) -> None:
        """Closes listener and connections; safe to call twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for transport in tuple(self._open):
            transport.abort()
        if server is not None:
            await server.wait_closed()

    def respond(self, frame: bytes) -> tuple[bytes, float] | None:
        """Returns (reply, seconds to hold it back) for one request frame, or None for silence."""
        transaction, _, _, unit_id = _HEADER.unpack_from(frame)
        pdu = frame[7:]
        device_id = self._units.get(unit_id)
        if device_id is None and len(self._units) == 1 and unit_id in (0, 255):
            device_id = next(iter(self._units.values()))
        if device_id is None:
            return _frame(transaction, unit_id, exception_pdu(pdu[0], GATEWAY_TARGET_SILENT)), 0.0
        reply = self._world.reply(device_id, pdu)
        if reply is None:
            return None
        own = self._world.plant.devices[device_id].unit_id
        return _frame(transaction, unit_id if reply.unit_id == own else reply.unit_id, reply.pdu), reply.delay_s


class _Connection(asyncio.Protocol):
    def __init__(self, server: TcpServer) -> None:
        self._server = server
        self._pending = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server._open.add(transport)
        no_delay(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._server._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        pending = self._pending + data
        while len(pending) >= 8:
            _, protocol, length, _ = _HEADER.unpack_from(pending)
            if protocol != 0 or not 2 <= length <= _MOST:
                transport.abort()  # not Modbus TCP: nothing after it can be trusted
                return
            if len(pending) < 6 + length:
                break
            found = self._server.respond(pending[: 6 + length])
            pending = pending[6 + length :]
            if found is None:
                continue
            reply, delay_s = found
            if delay_s > 0:
                asyncio.get_running_loop().call_later(delay_s, transport.write, reply)
            else:
                transport.write(reply)
        self._pending = pending


def _frame(transaction: int, unit_id: int, pdu: bytes) -> bytes:
    return _HEADER.pack(transaction, 0, len(pdu) + 1, unit_id) + pdu


def no_delay(transport: asyncio.BaseTransport) -> None:
    """Sends small frames at once."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def listen(
    loop: asyncio.AbstractEventLoop, factory: type[asyncio.Protocol] | object, host: str, port: int, what: str
) -> asyncio.Server:
    """Starts a listener.

    Raises:
        PortInUse: the address belongs to another program, is not this machine's, or is not allowed.
    """
    try:
        return await loop.create_server(factory, host, port)  # type: ignore[arg-type]  # a factory of protocols
    except OSError as error:
        reason = {
            errno.EADDRINUSE: "another program listens there",
            errno.EADDRNOTAVAIL: "this machine does not have that address",
            errno.EACCES: "this user may not listen there; take a port above 1023",
        }.get(error.errno or 0, error.strerror or str(error))
        raise PortInUse(f"{what}: cannot listen on {host}:{port}: {reason}") from error
