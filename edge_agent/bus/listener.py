"""The listener of one port: what a poller is, on a bus that somebody else owns.  It never sends.

Rows come from ``heard_block``, pairs from ``drivers.listen``.  That the owner speaks is a state of its own,
because a silent owner is a silent street:

===========  ==================================  =========================================
owner        since                               ticks without an answer
===========  ==================================  =========================================
``unheard``  the start, nothing was asked yet    ``owner_silent``
``talking``  a request was heard                 ``not_overheard``, or why it was not answered
``silent``   no request for ``OWNER_SILENT_S``   ``owner_silent``
===========  ==================================  =========================================
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import NoReturn

from contracts import quality
from contracts.batch import HealthRecord
from drivers.listen import Hear, ListenLine
from drivers.overheard import Overheard
from drivers.port import monotonic_us
from edge_agent.bus.counters import WINDOW_US, DeviceCounters
from edge_agent.bus.device_state import FAILURES, Phase
from edge_agent.bus.heard_block import HeardBlock, HeardRow
from edge_agent.bus.poller import Sink
from edge_agent.errors import ControlError
from edge_agent.logged_once import LoggedOnce
from edge_agent.plan import BlockPlan
from edge_agent.plan_ports import DevicePlan

_LOG = logging.getLogger(__name__)
#: a controller that asks nothing for so long has stopped, or its wire has (seconds; default of this project)
OWNER_SILENT_S = 10.0
_LONGEST_WAIT_S = 1.0


class Owner(Enum):
    """What is known of the bus's owner; the value is how health shows it."""

    UNHEARD = "unheard"
    TALKING = "talking"
    SILENT = "silent"


def owner_of(last_us: int | None, now_us: int) -> Owner:
    """Returns the owner's state from its last request (monotonic us; None: never heard)."""
    if last_us is None:
        return Owner.UNHEARD
    return Owner.SILENT if now_us - last_us > OWNER_SILENT_S * 1e6 else Owner.TALKING


class Listener:
    """Listens to one port until it is stopped."""

    def __init__(
        self,
        *,
        port_id: str,
        make_line: Callable[[Hear], ListenLine],
        devices: Sequence[DevicePlan],
        blocks: Mapping[int, BlockPlan],
        sink: Sink,
        clock: Callable[[], int] = monotonic_us,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Takes what it needs and starts nothing; see ``Poller`` for the arguments they share."""
        self._port_id = port_id
        self._line = make_line(self._hear)
        self._clock = clock
        self._sleep = sleep
        self._sink = sink
        self._said = LoggedOnce(_LOG)
        now_ms = clock() // 1000
        self._blocks = {
            number: HeardBlock(block, devices[block.device].unit_id, now_ms) for number, block in blocks.items()
        }
        used = sorted({block.device for block in blocks.values()})
        self._devices = {devices[place].unit_id: _Device(devices[place]) for place in used}
        self._owner = Owner.UNHEARD
        self._last_request_us: int | None = None
        self._away_because = ""
        self._faults = 0
        self._roll_at_us = clock() + WINDOW_US
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def run(self) -> None:
        """Opens the port, listens, and closes it when stopped."""
        self._task = asyncio.current_task()
        try:
            await self._line.open()
            while not self._is_stopping:
                self._tick(self._clock())
                await self._sleep(self._wait_s(self._clock()))
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
        finally:
            await self._line.close()

    def stop(self) -> None:
        """Lets ``run`` end; safe to call twice."""
        self._is_stopping = True
        if self._task is not None:
            self._task.cancel()

    async def borrow(self, *_: object, **__: object) -> NoReturn:
        """Refuses: nothing is ever sent here.

        Raises:
            ControlError: always.
        """
        raise ControlError(
            f"port {self._port_id!r} is only listened to, another controller owns its bus; nothing may be sent there"
        )

    def health(self) -> tuple[HealthRecord, ...]:
        """Returns what is known of the port and of each device on it."""
        now, counts = self._clock(), self._line.counts
        facts = (
            ("mode", "listening"),
            ("owner", owner_of(self._last_request_us, now).value),
            ("owner_last_us", self._last_request_us),
            ("away", self._away_because[:256] or None),
            ("requests_heard", counts.requests),
            ("answers_heard", counts.answers),
            ("exceptions_heard", counts.exceptions),
            ("unanswered_heard", counts.unanswered),
            ("doubtful_heard", counts.doubtful),
            ("stray_bytes", counts.stray_bytes),
            ("faults", self._faults),
        )
        port = HealthRecord(subject=f"port/{self._port_id}", mono_us=now, facts=facts)
        return (port, *(device.health(now) for device in self._devices.values()))

    def device_phases(self) -> dict[str, Phase]:
        """Returns where each device stands, by its id."""
        return {device.plan.id: device.phase for device in self._devices.values()}

    def _wait_s(self, now_us: int) -> float:
        ends_ms = min((block.ends_ms for block in self._blocks.values()), default=0)
        return min(max(ends_ms / 1000 - now_us / 1e6, 0.01), _LONGEST_WAIT_S)

    def _tick(self, now: int) -> None:
        self._note_owner(now)
        for number, block in self._blocks.items():
            self._give(number, block.until(now // 1000, self._silence))
        if now >= self._roll_at_us:
            self._roll_at_us = now + WINDOW_US
            for device in self._devices.values():
                device.counters.roll()

    @property
    def _silence(self) -> int:
        if self._away_because:
            return quality.PORT_CLOSED
        return quality.NOT_OVERHEARD if self._owner is Owner.TALKING else quality.OWNER_SILENT

    def _hear(self, found: Sequence[Overheard], away: str) -> None:
        if away != self._away_because:
            if away:
                _LOG.warning("port %s is away: %s", self._port_id, away)
            else:
                _LOG.info("port %s is back", self._port_id)
            self._away_because = away
        for one in found:
            self._last_request_us = max(one.requested_us, self._last_request_us or 0)
            device = self._devices.get(one.unit_id)
            if device is not None:
                device.hear(one)
        self._note_owner(self._clock())
        for one in found:
            for number, block in self._blocks.items():
                self._give(number, block.hear(one, self._silence))

    def _note_owner(self, now: int) -> None:
        before, self._owner = self._owner, owner_of(self._last_request_us, now)
        if self._owner is before:
            return
        if self._owner is Owner.SILENT:
            _LOG.warning("port %s: the bus's owner is silent", self._port_id)
        else:
            _LOG.info("port %s: the bus's owner asks", self._port_id)

    def _give(self, number: int, rows: Sequence[HeardRow]) -> None:
        for row in rows:
            try:
                self._sink(number, row.sampled_us, row.row, row.codes, row.replied_us)
            except Exception as error:
                self._faults += 1
                self._said.fault("serve", error, "port %s: a tick could not be served", self._port_id)


class _Device:
    """What is heard of one device."""

    __slots__ = ("counters", "failures", "phase", "plan")

    def __init__(self, plan: DevicePlan) -> None:
        self.plan = plan
        self.counters = DeviceCounters()
        self.phase = Phase.HEALTHY
        #: requests in a row without an answer
        self.failures = 0

    def hear(self, one: Overheard) -> None:
        """Counts one pair; says once in the log when the device goes away and when it is back."""
        counters, before = self.counters, self.phase
        counters.requests += 1
        if one.is_answered:
            self.failures, self.phase = 0, Phase.HEALTHY
            counters.latency.add(one.replied_us - one.requested_us)
            if one.words is not None:
                counters.good += 1
                counters.last_good_us = one.replied_us
        else:
            self.failures += 1
            self.phase = Phase.SILENT if self.failures >= FAILURES else Phase.SUSPECT
            counters.failed(quality.NO_REPLY, one.requested_us, "the owner got no answer")
        if self.phase is Phase.SILENT and before is not Phase.SILENT:
            _LOG.warning("device %s is silent", self.plan.id)
        elif before is Phase.SILENT and self.phase is Phase.HEALTHY:
            _LOG.info("device %s answers again", self.plan.id)

    def health(self, now_us: int) -> HealthRecord:
        """Returns the device's health record."""
        facts = (("state", self.phase.value), *self.counters.facts())
        return HealthRecord(subject=f"device/{self.plan.id}", mono_us=now_us, facts=facts)
