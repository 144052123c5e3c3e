"""A dial-in DTU: connects to whoever polls it, says who it is, and passes RTU frames of the devices behind it.

It sends its registration first, heartbeats in between, and dials again a while after a connection ended;
nobody listening is no failure.  Real ones do the same from behind a cellular network, where nobody could
connect to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from simulators.plant import DtuLine
from simulators.rtu_stream import RtuConnection, RtuUnits
from simulators.world import World

HEARTBEAT_S = 5.0
DIAL_AGAIN_S = 1.0
_CONNECT_TIMEOUT_S = 5.0
#: where to dial when the listener takes every address
_OWN = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class DtuClient:
    """One DTU; ``units`` maps unit id to device id."""

    def __init__(
        self,
        line: DtuLine,
        units: Mapping[int, str],
        world: World,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        dial_again_s: float = DIAL_AGAIN_S,
    ) -> None:
        self.line = line
        self.units = RtuUnits(line.settings, units, world)
        self._heartbeat_s = heartbeat_s
        self._dial_again_s = dial_again_s
        self._open: set[asyncio.Transport] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands."""
        return bool(self._open)

    async def start(self) -> None:
        """Begins to dial."""
        if self._task is None:
            self._task = asyncio.create_task(self._dial())

    async def stop(self) -> None:
        """Hangs up and dials no more; safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.hang_up()

    def hang_up(self) -> None:
        """Ends the connection; it dials again."""
        for transport in tuple(self._open):
            transport.abort()

    def facts(self) -> dict[str, object]:
        """Returns what came over this line, for ``simulator status``."""
        counts = self.units.counts
        return {
            "connected": self.is_connected,
            "connections": counts.connections,
            "requests": counts.requests,
            "replies": counts.replies,
            "noise": counts.noise,
        }

    async def _dial(self) -> None:
        line, loop = self.line, asyncio.get_running_loop()
        host = _OWN.get(line.host, line.host)
        while True:
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    _, connection = await loop.create_connection(
                        lambda: RtuConnection(self.units, self._open, line.registration), host, line.port
                    )
            except (OSError, TimeoutError):
                pass  # nobody listens now
            else:
                await self._stay(connection)
            await asyncio.sleep(self._dial_again_s)

    async def _stay(self, connection: RtuConnection) -> None:
        while True:
            done, _ = await asyncio.wait((connection.ended,), timeout=self._heartbeat_s)
            if done:
                return
            if self.line.heartbeat:
                connection.send(self.line.heartbeat)
