"""What the link may cost: which pace ordinary data have now, what the month has used, and who watches.

    alarms stand ─┐
    watched ──────┼─> pace ─> sealer (how often), uplink (held until thinned, or not)
    month's bytes ┘

It decides nothing by itself (``pacing.py``, ``allowance.py``, ``watched.py`` do) and never touches alarms.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from contracts.batch import Anchor, ClockState, Lane
from contracts.messages import Command
from edge_agent.allowance import Usage, UsageFile, counted, level_of, month_of, newly_reached, turned
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.held import Held
from edge_agent.logged_once import LoggedOnce
from edge_agent.modem import Modem, ModemFacts
from edge_agent.pacing import THINNED_EVERY_S, Level, Pace, Wants, pace_of
from edge_agent.plan import UplinkPlan
from edge_agent.sealer import SealPace
from edge_agent.traffic import Counters, interface_to, read_counters
from edge_agent.watched import Heard, Watched

_LOG = logging.getLogger(__name__)
Fact = float | int | str | None
#: the counters are looked at, and the pace applied, this often (s); and where nothing depends on it
_LOOK_S, _IDLE_LOOK_S = 5.0, 60.0
_MODEM_EVERY_S = 300.0
#: the last writing may take this long (s)
_LAST_S = 2.0
#: rounds of thinning at once; each takes what fits one batch
_MOST_THINNED = 20
#: health on links that cost (s)
_HEALTH_EVERY_S = {Pace.LIVE: 60.0, Pace.SPARING: 600.0, Pace.THINNED: 1800.0}
_TRUSTED = frozenset({ClockState.SYNCHRONISED, ClockState.COLLECTOR})


class Sending(Protocol):
    """What is asked of the uplink."""

    held: Held

    def wake(self) -> None: ...


class Spending:
    """Owns the pace."""

    def __init__(
        self,
        *,
        plan: UplinkPlan,
        gateway: str,
        boot_id: bytes,
        usage_file: Path,
        monotonic: Callable[[], int],
        anchor: Callable[[], Anchor],
        alarms: Callable[[], int],
        events_us: Callable[[], int | None],
        note: Callable[[str, str], None],
        modem: Modem | None = None,
        counters: Callable[[str], Counters | None] = read_counters,
        route: Callable[[str], str | None] = interface_to,
    ) -> None:
        """Takes what it needs; reads nothing.

        Args:
            usage_file: where the month's bytes are kept.
            monotonic: us.
            anchor: the best tie to the wall clock now.
            alarms: how many stand.
            events_us: when an alarm was raised or changed last, monotonic us; None: not in this run.
            note: puts a line of a kind into the next data batch.
            modem: None: nobody tells.
            counters: of an interface.
            route: interface of the way to an address.
        """
        self._plan, self._link = plan, plan.link
        self._monotonic, self._anchor = monotonic, anchor
        self._alarms, self._events_us, self._note = alarms, events_us, note
        self._modem, self._counters, self._route = modem, counters, route
        self._boot_id = boot_id.hex()
        self._file = UsageFile(usage_file)
        self._usage = self._file.read()
        self._level = level_of(self._usage.total, self._link)
        self._watched = Watched(gateway, boot_id)
        self._modem_facts = ModemFacts()
        self._pace = Pace.LIVE
        self._said = LoggedOnce(_LOG)
        self._thin_due_us = self._modem_due_us = 0
        self._keeping: asyncio.Future[None] | None = None
        #: address of the broker, None until a session was there
        self.peer: Callable[[], str | None] = lambda: None

    # -- the pace --------------------------------------------------------------------

    def pace(self) -> Pace:
        """Returns the pace at this moment."""
        if not self._plan.metered and self._level is Level.ENOUGH:
            return Pace.LIVE
        now, changed_us = self._monotonic(), self._events_us()
        wants = Wants(
            alarms_standing=self._alarms(),
            alarm_age_us=None if changed_us is None else now - changed_us,
            is_watched=self._watched.is_on(now),
        )
        return pace_of(self._level, wants, is_metered=self._plan.metered)

    def seal_pace(self) -> SealPace:
        """Returns how often to seal at this moment."""
        pace, interval_s = self.pace(), self._plan.seal_interval_s
        if self._plan.metered and pace is Pace.LIVE:
            interval_s = self._link.live_interval_s
        return SealPace(interval_s=interval_s, health_every_s=_HEALTH_EVERY_S[pace])

    def hear(self, command: Command) -> None:
        """Takes a verified command."""
        heard = self._watched.hear(command, self._monotonic())
        if heard is Heard.TAKEN:
            _LOG.info("live data are asked for by %s", command.by or "somebody")
        elif heard is not Heard.REPEATED:
            _LOG.warning("a command was not taken: %s", heard.value)

    # -- what it says ----------------------------------------------------------------

    def facts(self) -> dict[str, Fact]:
        """Returns the facts for health, flat."""
        pace, now = self.pace(), self._monotonic()
        every_s = THINNED_EVERY_S if pace is Pace.THINNED else self.seal_pace().interval_s
        facts: dict[str, Fact] = {"link_pace": pace.value, "data_every_s": every_s}
        if self._watched.is_on(now):
            facts["watched_for_s"] = (self._watched.until_us - now) // 1_000_000
        if self._usage.interface:
            facts["traffic_interface"] = self._usage.interface
            facts["traffic_since"] = self._usage.month or None
            facts["traffic_received_bytes"] = self._usage.received
            facts["traffic_sent_bytes"] = self._usage.sent
        if self._link.allowance_bytes:
            facts["allowance_bytes"] = self._link.allowance_bytes
            facts["allowance_used"] = round(self._usage.total / self._link.allowance_bytes, 4)
            facts["allowance"] = self._level.value
        return {**facts, **self._modem_facts.facts()}

    # -- the task --------------------------------------------------------------------

    async def run(self, uplink: Sending, delivery: Delivery, thin: Callable[[], Awaitable[bool]]) -> None:
        """Looks, counts, holds and lets go until it is cancelled.

        Args:
            uplink: holds data back while they are to be thinned.
            delivery: tells what waits.
            thin: replaces some data that wait by fewer samples; False where there are none to gain by.
        """
        while True:
            try:
                self.look()
                self._keep()
                await self.apply(uplink, delivery, thin)
                await self._ask_modem()
            except SpoolError as error:
                _LOG.warning("data could not be thinned and go as they are: %s", error)
                uplink.held.open()
            except Exception as error:
                # The outermost loop: a defect here must not end counting unseen.
                self._said.fault("look", error, "a look at the link's use failed; the next one comes")
            depends = self._plan.metered or self._link.allowance_bytes
            await asyncio.sleep(_LOOK_S if depends else _IDLE_LOOK_S)

    def look(self) -> None:
        """Counts what the interface has carried since the last look."""
        peer = self.peer()
        interface = self._link.interface or (self._route(peer) if peer else None) or self._usage.interface
        anchor = self._anchor()
        if anchor.state in _TRUSTED:
            self._usage = turned(self._usage, month_of(anchor.wall_us, self._link.billing_day))
        counters = self._counters(interface) if interface else None
        if counters is None and interface and (self._plan.metered or self._link.allowance_bytes):
            self._said.gone("counters", "there is no interface %s now: what the link carries is not counted", interface)
        if counters is not None:
            self._said.back("counters", "the bytes of interface %s are counted", interface)
            self._usage = counted(self._usage, counters, interface=interface, boot_id=self._boot_id)
        self._tell()

    def _tell(self) -> None:
        reached = newly_reached(self._usage, self._link)
        before, self._level = self._level, level_of(self._usage.total, self._link)
        if reached is not None:
            self._usage = _told(self._usage, reached)
            sentence = (
                f"{self._usage.total / 1e6:.1f} MB of {self._link.allowance_bytes / 1e6:.0f} MB of this month are used"
            )
            if self._level is not Level.ENOUGH:
                sentence += "; ordinary data are thinned, alarms are not"
            _LOG.warning("%s", sentence)
            self._note("allowance", sentence)
        elif before is not Level.ENOUGH and self._level is Level.ENOUGH:
            _LOG.warning("a new month of the bill has begun: ordinary data are no longer thinned")
            self._note("allowance", "a new month of the bill has begun")

    async def apply(self, uplink: Sending, delivery: Delivery, thin: Callable[[], Awaitable[bool]]) -> None:
        """Holds ordinary data while they are to be thinned, and lets them go when they are."""
        before, self._pace = self._pace, self.pace()
        now = self._monotonic()
        if self._pace is not Pace.THINNED:
            if uplink.held.is_on:
                uplink.held.open()
                uplink.wake()
            return
        if before is not Pace.THINNED or not uplink.held.is_on:
            uplink.held.hold()
            uplink.held.let_go(delivery.to_send(Lane.DATA))
            uplink.wake()
            self._thin_due_us = now + int(THINNED_EVERY_S * 1e6)
        elif now >= self._thin_due_us:
            self._thin_due_us = now + int(THINNED_EVERY_S * 1e6)
            for _ in range(_MOST_THINNED):
                if not await thin():
                    break
            uplink.held.let_go(delivery.to_send(Lane.DATA))
            uplink.wake()

    async def _ask_modem(self) -> None:
        now = self._monotonic()
        if self._modem is None or now < self._modem_due_us:
            return
        self._modem_due_us = now + int(_MODEM_EVERY_S * 1e6)
        self._modem_facts = await self._modem.read() or ModemFacts()

    def _keep(self) -> None:
        """Has the usage kept where it is time to; a disk that does not answer holds nothing up."""
        if self._keeping is None or self._keeping.done():
            loop = asyncio.get_running_loop()
            self._keeping = loop.run_in_executor(None, self._file.offer, self._usage, self._monotonic())

    async def close(self) -> None:
        """Keeps what was counted, at the end, where the disk takes it soon."""
        self.look()
        offer = partial(self._file.offer, self._usage, self._monotonic(), is_last=True)
        try:
            await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, offer), _LAST_S)
        except TimeoutError:
            _LOG.error("the disk did not take this month's bytes in time")


def _told(usage: Usage, part: float) -> Usage:
    return replace(usage, told=part)
