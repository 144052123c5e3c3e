"""One request: ask the port, count what it took, and tell device and port what became of it.

Whom to ask when is not known here (``poller.py``), nor what a tick without an answer means for its row.
Every read of a poller goes through here, whole blocks and parts alike.  On the hot path (a good reply)
nothing is made beyond the result and the decoded row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from contracts import quality
from drivers.errors import DecodeError
from drivers.plan import BlockDecoder, Decoded
from drivers.port import BusPort, ReadRequest, ReadResult
from edge_agent.bus.counters import WINDOW_US, PortCounters
from edge_agent.bus.device_state import HEALTHY, Event, Phase, event_of, gateway_rest_us
from edge_agent.bus.handover import Estate
from edge_agent.bus.polled import PolledBlock, PolledDevice
from edge_agent.bus.probes import ProbeAccount
from edge_agent.logged_once import LoggedOnce

_LOG = logging.getLogger(__name__)


class Asking:
    """Asks one port, and knows how it fares."""

    def __init__(
        self,
        *,
        port_id: str,
        port: BusPort,
        devices: Mapping[int, PolledDevice],
        blocks: Sequence[PolledBlock],
        counters: PortCounters,
        probes: ProbeAccount,
        held: dict[int, int],
        said: LoggedOnce,
        clock: Callable[[], int],
    ) -> None:
        """Takes what it needs.

        Args:
            held: device -> until when it may not be asked, monotonic ms; shared with whoever asks.
            clock: monotonic us.
        """
        self._port_id, self._port = port_id, port
        self._devices, self._blocks = devices, blocks
        self._counters, self._probes = counters, probes
        self._held, self._said = held, said
        self._roll_at_us = clock() + WINDOW_US
        #: why the port is away; empty while it is there
        self.away_because = ""
        self.gateway_failures = 0
        #: a gateway without a path is asked again from here on, monotonic us
        self.gateway_from_us = 0

    def inherit(self, estate: Estate) -> None:
        """Goes on where the poller before stood."""
        self.away_because = estate.away_because
        self.gateway_failures, self.gateway_from_us = estate.gateway_failures, estate.gateway_from_us

    async def ask(self, device: PolledDevice, request: ReadRequest, wire_us: int) -> ReadResult:
        """Makes one read.

        Args:
            wire_us: of both frames, which is not the device's own time.
        """
        result = await self._port.read(request)
        replied, counters = result.replied_us, device.counters
        took = replied - result.requested_us
        self._counters.busy_us += took
        if device.gap_us:
            self.hold(device, replied + device.gap_us)
        counters.requests += 1
        if result.code == quality.PORT_CLOSED or self.away_because:
            self._tell_port(result)
        if result.code == quality.GOOD:
            counters.good += 1
            counters.last_good_us = replied
            if counters.latency.add(took - wire_us if took > wire_us else 0):
                device.find_timeout()
            if device.state is not HEALTHY:
                device.hear(Event.ANSWERED, replied)
            if self.gateway_failures:
                self.gateway_failures = self.gateway_from_us = 0
        else:
            self.note_failure(device, result, took)
        if replied >= self._roll_at_us:
            self._roll(replied)
        return result

    def note_failure(self, device: PolledDevice, result: ReadResult, took_us: int) -> None:
        """Takes note of a request without values."""
        device.counters.failed(result.code, result.replied_us, result.detail)
        event = event_of(result.code)
        if device.state.phase is Phase.PROBING and event is not Event.ANSWERED:
            self._probes.charge(took_us)
        device.hear(event, result.replied_us)
        if result.code == quality.GATEWAY_PATH:
            self.gateway_failures += 1
            self.gateway_from_us = gateway_rest_us(self.gateway_failures, result.replied_us)
        elif event is not Event.UNKNOWN:
            self.gateway_failures = self.gateway_from_us = 0

    def hold(self, device: PolledDevice, until_us: int) -> None:
        """Has a device not asked before ``until_us`` (monotonic)."""
        device.free_us = until_us
        self._held[device.place] = -(-until_us // 1000)

    def decode(self, decode: BlockDecoder, words: Sequence[int], width: int) -> Decoded:
        """Returns the row of a reply; one that does not fit its request is bad, and a fault of ours."""
        try:
            return decode(words)
        except DecodeError as error:
            self._counters.faults += 1
            self._said.gone(f"fit {error}", "port %s: a reply does not fit its request: %s", self._port_id, error)
            return (None,) * width, (quality.INVALID,) * width

    def _tell_port(self, result: ReadResult) -> None:
        """Says once in the log why the port is away, and once that it is back."""
        if result.code == quality.PORT_CLOSED:
            if result.detail != self.away_because:
                _LOG.warning("port %s is away: %s", self._port_id, result.detail or "closed")
            self.away_because = result.detail or "closed"
        elif result.code != quality.NOT_ASKED:
            _LOG.info("port %s is back", self._port_id)
            self.away_because = ""

    def _roll(self, now_us: int) -> None:
        self._roll_at_us = now_us + WINDOW_US
        self._counters.roll(now_us)
        for device in self._devices.values():
            device.roll()
        for block in self._blocks:
            block.worst.roll()
