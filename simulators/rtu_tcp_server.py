"""A serial server: RTU frames over TCP as they are, for every client that connects.

Framing and pace are ``rtu_stream``; what a device answers is ``world``'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from simulators.plant import RtuTcpLine
from simulators.rtu_stream import RtuConnection, RtuUnits
from simulators.tcp_server import listen
from simulators.world import World


class RtuTcpServer:
    """One listening address; ``units`` maps unit id to device id."""

    def __init__(self, line: RtuTcpLine, units: Mapping[int, str], world: World) -> None:
        self.line = line
        self.units = RtuUnits(line.settings, units, world)
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
        line = self.line
        self._server = await listen(loop, lambda: RtuConnection(self.units, self._open), line.host, line.port, line.id)

    async def stop(self) -> None:
        """Closes listener and connections; safe to call twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for transport in tuple(self._open):
            transport.abort()
        if server is not None:
            await server.wait_closed()

    def facts(self) -> dict[str, object]:
        """Returns what came over this line, for ``simulator status``."""
        counts = self.units.counts
        return {
            "port": self.port,
            "connections": counts.connections,
            "requests": counts.requests,
            "replies": counts.replies,
            "noise": counts.noise,
        }
