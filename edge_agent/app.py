"""Wires the agent together, starts it and stops it; nothing else knows everything.

    ports -> pollers -> judge -> sealer -> keeper (seal, spool) -> uplink
                     -> columns ^

Losing the uplink, filling the disk or reloading never stops polling or alarms: the pollers
know nothing of either, and nothing here waits for a disk or a link on their way.  A long-running
task that ends by itself ends the agent, loudly, so that the service manager starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from contracts.batch import HealthRecord
from contracts.envelope import Type, seal
from contracts.errors import ContractError
from contracts.keys import Signer, load_or_create
from edge_agent import __version__
from edge_agent.alarm_requests import AlarmRequests
from edge_agent.allowance import FILE_NAME as TRAFFIC
from edge_agent.annunciator_ops import annunciator_operations
from edge_agent.boot import count_boot, read_boot_id
from edge_agent.bus_ops import bus_operations
from edge_agent.clock import AnchorClock, monotonic_us
from edge_agent.collect import Collector
from edge_agent.commissioning import commissioning
from edge_agent.control import ControlServer
from edge_agent.delivery import Delivery
from edge_agent.errors import ConfigError, EdgeError, SpoolError, StateDirError
from edge_agent.judge import Judge
from edge_agent.keeper import Keeper
from edge_agent.last_good_time import FILE_NAME as LAST_GOOD_TIME
from edge_agent.last_good_time import LastGoodTime
from edge_agent.last_reboot import RunMarker
from edge_agent.logged_once import LoggedOnce
from edge_agent.modem import MmcliModem
from edge_agent.optional_parts import OptionalParts
from edge_agent.own_epoch import OwnEpoch
from edge_agent.own_health import OwnHealth, known
from edge_agent.plan import Plan
from edge_agent.plan_catalogue import catalogue
from edge_agent.plan_file import state_dir_of
from edge_agent.plan_store import Choice, PlanStore
from edge_agent.ports_running import RunningPorts
from edge_agent.readings import Tick
from edge_agent.reload import Reloader
from edge_agent.reload_trial import Trial
from edge_agent.row_path import RowPath
from edge_agent.sd_notify import Notifier
from edge_agent.seal import Boot
from edge_agent.sealer import Sealer
from edge_agent.spending import Spending
from edge_agent.spool_care import SpoolCare
from edge_agent.spool_thread import SpoolThread
from edge_agent.state_dir import CONTROL, KEY, SPOOL, StateDir
from edge_agent.status import operations
from edge_agent.upkeep import UpkeepBook
from edge_agent.uplink import Uplink
from edge_agent.uplink_wiring import collector_keys, make_link
from edge_agent.visit_ops import VisitDesk

_LOG = logging.getLogger(__name__)
_RETENTION_EVERY_S = 600.0
#: how often a full disk is looked at
_DISK_EVERY_S = 5.0
_BOOT_FILE = "boot.json"
#: the end waits no longer than this for a disk that does not take the due dates
_KEEP_LIMIT_S = 2.0


class Agent:
    """One gateway's agent."""

    def __init__(
        self,
        *,
        config_path: Path,
        state_dir: Path,
        plan: Plan,
        signer: Signer,
        boot: Boot,
        trial: Trial | None = None,
        marker: RunMarker | None = None,
    ) -> None:
        """Remembers what it needs; starts no thread.

        Args:
            trial: of the newest reload, where there was one.
            marker: of this life of the agent; None: one is made.

        Raises:
            ConfigError: the plan's catalogue is larger than the wire carries.
        """
        self._config_path = config_path
        self._state_dir = state_dir
        self.plan = plan
        self.signer = signer
        self.gateway = signer.public.gateway_id
        self.boot = boot
        self.last_good_time = LastGoodTime(state_dir / LAST_GOOD_TIME)
        self.clock = AnchorClock(last_good_us=self.last_good_time.us)
        self.spool = SpoolThread(state_dir / SPOOL)
        self.delivery = Delivery(self.gateway)
        self.judge = Judge(
            gateway_id=self.gateway,
            boot_id=boot.boot_id,
            points=plan.points,
            blocks=plan.row_blocks,
            clock=monotonic_us,
        )
        self.columns = Collector(plan.row_blocks, plan.points)
        self.started_us = monotonic_us()
        self.first_row_us: int | None = None
        self.uplink: Uplink | None = None
        self._catalogue = self.make_catalogue(plan)
        self.spending = Spending(
            plan=plan.uplink,
            gateway=self.gateway,
            boot_id=boot.boot_id,
            usage_file=state_dir / TRAFFIC,
            monotonic=monotonic_us,
            anchor=self.clock.anchor,
            alarms=lambda: len(self.judge.statement(monotonic_us()).events),
            events_us=lambda: self.sealer.events_us,
            note=self.note,
            modem=MmcliModem() if plan.uplink.metered else None,
        )
        self.sealer = Sealer(
            judge=self.judge,
            columns=self.columns,
            plan=lambda: self.plan,
            catalogue=lambda: self._catalogue,
            health=lambda: known(self.health()),
            pace=self.spending.seal_pace,
        )
        self.own_epoch = OwnEpoch(
            gateway=self.gateway,
            signer=signer,
            boot=boot,
            started_us=self.started_us,
            kept=plan.spool,
            spool=self.spool,
            delivery=self.delivery,
            judge=self.judge,
            sealer=self.sealer,
            anchor=self.clock.anchor,
            learnt_late=self._ask,
        )
        self.visits = VisitDesk(self, state_dir, monotonic_us)
        self.requests = AlarmRequests(
            judge=self.judge, sealer=self.sealer, refusal=self.visits.refusal, clock=monotonic_us
        )
        self.upkeep = UpkeepBook(
            state_dir,
            boot_id=boot.boot_id,
            anchor=self.clock.anchor,
            earliest_us=lambda: self.clock.bounds().earliest_us,
            note=self.note,
        )
        self.upkeep.take_plan(plan)
        self.sealer.upkeep_due = self.upkeep.due
        self.visits.on_ended = self.upkeep.take_visit
        self._control: ControlServer | None = None
        self._notify = Notifier()
        self._stopping = asyncio.Event()
        self._ended: str | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.reloads = Reloader(self, PlanStore(config_path, state_dir), trial or Trial(), monotonic_us)
        self.rows = RowPath(
            judge=self.judge,
            columns=self.columns,
            sealer=self.sealer,
            upkeep=self.upkeep,
            visits=self.visits,
            reloads=self.reloads,
            first=self._first_polled,
        )
        self.ports = RunningPorts(self.rows.take)
        self.parts = OptionalParts(
            gateway=self.gateway,
            boot_id=boot.boot_id,
            ports=self.ports,
            rows=self.rows,
            judge=self.judge,
            sealer=self.sealer,
            health=self.health,
            watch_over=self._watch_over,
        )
        self.care = SpoolCare(
            state_dir,
            spool=self.spool,
            delivery=self.delivery,
            keeper=lambda: self.keeper,
            uptime_s=self.own_epoch.uptime_s,
            has_polled=lambda: self.first_row_us is not None,
            taken=self._take_recovered,
        )
        self._marker = marker or RunMarker(state_dir, boot.boot_id)
        self._own_health = OwnHealth(self, state_dir, self._marker)
        self._rows_at_watchdog = -1

    @property
    def keeper(self) -> Keeper | None:
        """There as soon as the store was asked."""
        return self.sealer.keeper

    # -- life ------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs until it is told to stop.

        Raises:
            EdgeError: it could not start, or a task of it ended by itself.
        """
        is_orderly = False
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self.reloads.hangup)
        try:
            await self._listen()
            self.ports.start(self.plan)
            self.parts.start_bursts(self.plan)
            self.parts.start_annunciator(self.plan)
            await self.own_epoch.begin()
            self.visits.resume()
            self._start_uplink()
            self._notify.ready()
            self._watch_over("sealing", self.sealer.run())
            if self.uplink is not None and self.keeper is not None:
                spending = self.spending.run(self.uplink, self.delivery, self.keeper.room.thin)
                self._watch_over("counting what the link carries", spending)
            self._watch_over("tending the spool", self._tend_forever())
            self._watch_over("the trials of reloads", self.reloads.run())
            self._watch_over("health", self._own_health.run())
            self._watch_over("due dates", self.upkeep.run())
            await self.parts.serve_metrics(self.plan.own)
            self._watch_over("the watchdog", self._feed_watchdog())
            self._watch_over("checking the spool", self.care.run())
            await self._stopping.wait()
            is_orderly = self._ended is None
        finally:
            self._notify.stopping()
            _LOG.info("stopping")
            await self._leave()
            self._marker.end(is_clean=is_orderly)
        if self._ended is not None:
            raise EdgeError(f"{self._ended} ended by itself; the log has the details")

    def stop(self) -> None:
        """Lets :meth:`run` end."""
        self._stopping.set()

    async def _listen(self) -> None:
        control = ControlServer(
            self._state_dir / CONTROL,
            {
                **operations(self),
                **bus_operations(self),
                **self.care.operations(),
                **self.visits.operations(),
                **commissioning(self, monotonic_us),
                **annunciator_operations(self.parts),
            },
        )
        try:
            await control.start()
            self._control = control
        except StateDirError as error:
            # A full or read-only disk: monitoring goes on, only commands cannot reach it.
            _LOG.error("no command can reach this agent: %s", error)

    def _watch_over(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except Exception:
                _LOG.exception("%s failed", name)
            self._ended = self._ended or name
            self._stopping.set()

        self._tasks.append(asyncio.get_running_loop().create_task(run()))

    async def _leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.reloads.stop()
        await self.parts.stop()
        await self.ports.stop_all()
        await self.visits.close()
        if self.keeper is not None:
            try:
                self.sealer.seal_data()
            except Exception:
                _LOG.exception("the last readings could not be sealed")
            if not await self.keeper.drain():
                _LOG.error("the store did not answer before the end: the last readings are not kept")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.upkeep.keep(), _KEEP_LIMIT_S)
        if self.uplink is not None:
            await self._wait_for_receipts()
            await self.uplink.stop()
            await self.spending.close()
            if self.keeper is not None:
                await self.keeper.drain()
        if self._control is not None:
            await self._control.close()
        await self.spool.close()

    async def _wait_for_receipts(self) -> None:
        """Gives what was sealed last a moment to be receipted; what is not stays in the spool."""
        for _ in range(20):
            backlog = self.delivery.backlog()
            if self.uplink is None or not self.uplink.is_up or not backlog.alarm_batches + backlog.data_batches:
                return
            await asyncio.sleep(0.05)

    # -- catalogue and store ---------------------------------------------------------

    def make_catalogue(self, plan: Plan) -> tuple[bytes, bytes]:
        """Returns hash and envelope of a plan's catalogue.

        Raises:
            ConfigError: it is larger than the wire carries.
        """
        document = catalogue(plan, self.gateway)
        try:
            return document.hash, seal(Type.CATALOGUE, document.body, self.signer, level=6)[0]
        except ContractError as error:
            raise ConfigError([f"{self._config_path}: {len(plan.points)} points are too many: {error}"]) from error

    def take_catalogue(self, made: tuple[bytes, bytes]) -> None:
        """Keeps and sends the catalogue of the plan that runs from now on."""
        self._catalogue = made
        self.upkeep.take_plan(self.plan)
        self.sealer.keep_catalogue()
        if self.uplink is not None:
            self.uplink.catalogue_changed()

    async def _tend_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + _RETENTION_EVERY_S
        said = LoggedOnce(_LOG)
        while True:
            await asyncio.sleep(_DISK_EVERY_S if self.keeper and self.keeper.room.is_disk_full else _DISK_EVERY_S * 6)
            await loop.run_in_executor(None, self.last_good_time.offer, self.clock.anchor())
            if self.uplink is not None and self.uplink.is_up and self.clock.wants_time():
                self.uplink.ask()
            if self.keeper is None:
                continue
            try:
                await self.keeper.room.look_at_disk()
                if loop.time() >= due_s:
                    due_s = loop.time() + _RETENTION_EVERY_S
                    await self.keeper.room.tend()
                said.back("tend", "the spool is tended again")
            except SpoolError as error:
                said.gone("tend", "the spool could not be tended: %s", error)

    def _take_recovered(self, sentence: str) -> None:
        self.sealer.note("spool", sentence)
        self._ask()

    def _ask(self) -> None:
        """Asks the collector now, where there is a link: for what it lacks, and for the time."""
        if self.uplink is not None and self.uplink.is_up:
            self.uplink.ask()

    # -- the uplink ------------------------------------------------------------------

    def _start_uplink(self) -> None:
        wanted, keeper = self.plan.uplink, self.keeper
        assert keeper is not None
        if not wanted.host or not wanted.collector_keys:
            _LOG.warning("no collector is configured: everything stays in the spool")
            return
        link = make_link(
            wanted,
            gateway=self.gateway,
            clock=self.clock,
            will=lambda: self.uplink.will() if self.uplink else b"",
            is_urgent=lambda: self.delivery.backlog().alarm_batches > 0,
        )
        self.uplink = Uplink(
            link=link,
            delivery=self.delivery,
            spool=self.spool,
            signer=self.signer,
            collector_keys=collector_keys(wanted),
            clock=self.clock,
            monotonic=monotonic_us,
            chain=lambda: keeper.chain,
            statement=lambda: self.judge.statement(monotonic_us()),
            catalogue=lambda: self._catalogue,
            version=__version__,
            backlog_share=wanted.backlog_share,
            memory=keeper.memory,
            max_bytes_per_s=wanted.link.max_bytes_per_s,
            is_metered=wanted.metered,
        )
        self.uplink.on_command = self.spending.hear
        if wanted.seal_interval_s > wanted.link.live_interval_s:
            # What waits for a seal that is far off would not be there soon after a reconnect.
            self.uplink.on_connected = lambda: asyncio.get_running_loop().call_soon(self.sealer.seal_now)
        self.spending.peer = lambda: link.peer
        self.uplink.on_damaged = keeper.damaged
        keeper.uplink = self.uplink
        self.uplink.start()

    # -- what is asked of it ---------------------------------------------------------

    def _first_polled(self) -> None:
        self.first_row_us = monotonic_us()
        _LOG.info("first poll %.0f ms after the start", (self.first_row_us - self.started_us) / 1000)

    def latest(self) -> list[Tick]:
        """Returns the newest row of every block that has one."""
        found = [(number, self.columns.latest(number)) for number in range(len(self.plan.row_blocks))]
        return [(number, *tick) for number, tick in found if tick is not None]

    def note(self, kind: str, text: str) -> None:
        """Seals a line with the next batch."""
        self.sealer.note(kind, text)

    def health(self) -> tuple[HealthRecord, ...]:
        """Returns all that is known of ports, devices, spool, link and machine."""
        own = HealthRecord(subject="agent", mono_us=monotonic_us(), facts=tuple(self.facts().items()))
        return (*self.ports.health(), *self.parts.health(), own)

    def facts(self) -> dict[str, float | int | str | None]:
        """Returns the agent's own facts, flat."""
        return self._own_health.facts()

    async def _feed_watchdog(self) -> None:
        """Feeds the service manager's watchdog while polling moves."""
        interval = self._notify.watchdog_interval_s
        if interval is None:
            await asyncio.Event().wait()
            return
        while True:
            await asyncio.sleep(interval)
            longest = max((block.interval_ms for block in self.plan.blocks), default=0) / 1000
            if self.rows.count != self._rows_at_watchdog or longest > interval or not len(self.ports):
                self._rows_at_watchdog = self.rows.count
                self._notify.alive()


def run(config_path: Path) -> int:
    """Runs the agent of one site file until it is stopped; returns the exit status.

    Raises:
        EdgeError: a sentence for the person who started it.
    """
    state_dir = state_dir_of(config_path)
    holder = StateDir(state_dir)
    holder.acquire()
    try:
        choice = PlanStore(config_path, state_dir).choose(monotonic_us())
        try:
            signer = load_or_create(state_dir / KEY)
        except OSError as error:
            raise EdgeError(f"{error.filename or state_dir}: {error.strerror}") from error
        except ContractError as error:
            raise EdgeError(str(error)) from error
        boot = count_boot(state_dir / _BOOT_FILE, read_boot_id())
        agent = partial(Agent, config_path=config_path, state_dir=state_dir, signer=signer, boot=boot)
        asyncio.run(_main(agent, choice))
    finally:
        holder.release()
    return 0


async def _main(agent: Callable[..., Agent], choice: Choice) -> None:
    await agent(plan=choice.plan, trial=choice.trial).run()
