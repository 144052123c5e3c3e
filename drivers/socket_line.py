"""RTU ports behind TCP: a serial server that we connect to, and a DTU that dials in.

Both are a ``SerialLine`` whose wire is a connection, so frames, the late-reply rule and the
thread are those of a serial line.  What a network adds to a reply's way is added to both of
its times: to the time-out, and to the bound after which the reply can no longer come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from drivers.dial_in import DtuForm, HeartbeatFilter
from drivers.dial_in_listener import Address, DialIns, DialInSource, Member
from drivers.line import SerialLine
from drivers.port import ReadRequest, ReadResult, WriteRequest, WriteResult, monotonic_us
from drivers.serial_wire import Wire
from drivers.socket_wire import Dialler, SocketSettings, SocketWire

#: a network that does not even acknowledge for this long beyond its delay stalls (seconds)
_STALL_S = 1.0


class SocketLine(SerialLine):
    """A ``RawPort`` over RTU in a TCP connection."""

    def __init__(
        self,
        settings: SocketSettings,
        wire: Wire,
        *,
        network_delay_s: float,
        clock_us: Callable[[], int] = monotonic_us,
    ) -> None:
        super().__init__(settings, wire=wire, clock_us=clock_us)
        self._network_delay_s = network_delay_s

    async def read(self, request: ReadRequest) -> ReadResult:
        """Asks once; ``timeout_s`` and ``max_reply_s`` are the device's, the network's delay is added.

        Raises:
            RequestError: Modbus cannot carry the request.
        """
        delay_s = self._network_delay_s
        timeout_s, max_reply_s = request.timeout_s + delay_s, request.max_reply_s + delay_s
        return await super().read(replace(request, timeout_s=timeout_s, max_reply_s=max_reply_s))

    async def write(self, request: WriteRequest) -> WriteResult:
        """Writes once; times as in ``read``.

        Raises:
            RequestError: Modbus cannot carry the request.
        """
        delay_s = self._network_delay_s
        timeout_s, max_reply_s = request.timeout_s + delay_s, request.max_reply_s + delay_s
        return await super().write(replace(request, timeout_s=timeout_s, max_reply_s=max_reply_s))


def dialling_line(
    host: str, port: int, *, baud: int, gap_s: float = 0.0, network_delay_s: float = 0.3, connect_timeout_s: float = 3.0
) -> SocketLine:
    """Returns the port of a serial server that passes RTU frames, closed.

    Args:
        host: name or address.
        port: 1..65535.
        baud: of the line behind it.
        gap_s: silence before each request.
        network_delay_s: what the network adds to a reply's way, there and back.
        connect_timeout_s: for one attempt to connect.
    """
    name = f"{host}:{port}"
    source = Dialler(host, port, timeout_s=connect_timeout_s)
    wire = SocketWire(source, name, stall_s=_STALL_S + network_delay_s)
    return SocketLine(SocketSettings(path=name, baud=baud, gap_s=gap_s), wire, network_delay_s=network_delay_s)


class DialInLine(SocketLine):
    """A ``RawPort`` over the connection of one DTU."""

    def __init__(
        self,
        port_id: str,
        address: Address,
        form: DtuForm,
        dial_ins: DialIns,
        *,
        baud: int,
        gap_s: float = 0.0,
        network_delay_s: float = 2.0,
        registration_timeout_s: float = 10.0,
    ) -> None:
        """Takes how the DTU is known and where it is listened for; opens nothing.

        Args:
            port_id: names the port among those of its address.
            address: where to listen, shared with other ports.
            form: registration and heartbeat.
            dial_ins: the listening addresses of the process.
            baud: of the line behind the DTU.
            gap_s: silence before each request.
            network_delay_s: what the network adds to a reply's way, there and back.
            registration_timeout_s: how long the DTU may take to say who it is.
        """
        source = DialInSource(f"DTU {port_id}")
        settings = SocketSettings(path=f"DTU {port_id}", baud=baud, gap_s=gap_s)
        filter_ = HeartbeatFilter(form.heartbeat, form.registration)
        wire = SocketWire(source, settings.path, stall_s=_STALL_S + network_delay_s, heartbeats=filter_)
        super().__init__(settings, wire, network_delay_s=network_delay_s)
        self._address = address
        self._dial_ins = dial_ins
        self._source = source
        self._member = Member(
            name=port_id,
            form=form,
            registration_timeout_s=registration_timeout_s,
            source=source,
            arrived=self._arrive,
        )
        self._arrived = asyncio.Event()

    async def open(self) -> None:
        """Begins to listen and starts the thread; until the DTU has dialled in, reads say so."""
        await self._dial_ins.join(self._address, self._member)
        await super().open()

    async def dialled_in(self, within_s: float) -> bool:
        """Waits until the DTU has dialled in since the port was made; returns whether it has."""
        try:
            async with asyncio.timeout(within_s):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Ends the connection, and the listening with the last port of the address."""
        self._dial_ins.leave(self._address, self._member)
        await super().close()
        self._source.clear()

    def _arrive(self) -> None:
        self._arrived.set()
        self.retry_now()
