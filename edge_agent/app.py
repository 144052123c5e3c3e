"""Wires the agent together, starts it and stops it; nothing else knows everything.

    ports -> pollers -> judge -> sealer -> keeper (seal, spool) -> uplink
                     -> columns ^

Losing the uplink, filling the disk or reloading never stops polling or alarms: the pollers
know nothing of either, and nothing here waits for a disk or a link on their way.  A long-running
task that ends by itself ends the agent, loudly, so that the service manager starts it again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.batch import Genesis, HealthRecord, Origin
from contracts.envelope import Type, seal
from contracts.errors import ContractError
from contracts.keys import Signer, Verifier, load_or_create, parse_key_line
from contracts.topics import Channel, topic
from edge_agent import __version__
from edge_agent.boot import count_boot, read_boot_id
from edge_agent.bus.poller import Codes, Row
from edge_agent.bus_ops import bus_operations
from edge_agent.clock import AnchorClock, monotonic_us
from edge_agent.collect import Collector
from edge_agent.control import ControlServer
from edge_agent.delivery import Delivery
from edge_agent.errors import ConfigError, EdgeError, PlanError, SpoolError, StateDirError
from edge_agent.health import gateway_facts
from edge_agent.judge import Judge, ResetResult
from edge_agent.keeper import Keeper
from edge_agent.mqtt_link import MqttLink
from edge_agent.open_store import Learnt, learn, learn_late
from edge_agent.plan import Plan
from edge_agent.plan_catalogue import catalogue
from edge_agent.plan_file import load_or_compile, load_plan, state_dir_of
from edge_agent.ports_running import RunningPorts, unchanged_ports
from edge_agent.readings import Tick
from edge_agent.sd_notify import Notifier
from edge_agent.seal import Boot, Chain
from edge_agent.sealer import Sealer
from edge_agent.spool_care import SpoolCare
from edge_agent.spool_records import EpochRow, Opened, unasked_epoch_no
from edge_agent.spool_thread import SpoolThread
from edge_agent.state_dir import CONTROL, KEY, PLAN, SPOOL, StateDir
from edge_agent.status import operations
from edge_agent.uplink import Uplink

if TYPE_CHECKING:
    from edge_agent.vibration.bursts import Bursts

_LOG = logging.getLogger(__name__)
_RETENTION_EVERY_S = 600.0
#: how often a full disk is looked at
_DISK_EVERY_S = 5.0
_BOOT_FILE = "boot.json"
#: alarms wait no longer than this for a spool that does not open
_OPEN_LIMIT_S = 2.0


class Agent:
    """One gateway's agent."""

    def __init__(self, *, config_path: Path, state_dir: Path, plan: Plan, signer: Signer, boot: Boot) -> None:
        """Remembers what it needs; opens no file, starts no thread.

        Raises:
            ConfigError: the plan's catalogue is larger than the wire carries.
        """
        self._config_path = config_path
        self._state_dir = state_dir
        self.plan = plan
        self.signer = signer
        self.gateway = signer.public.gateway_id
        self.boot = boot
        self.clock = AnchorClock()
        self.spool = SpoolThread(
            state_dir / SPOOL, quota_bytes=plan.spool.quota_bytes, reserve_bytes=plan.spool.reserve_bytes
        )
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
        self.ports = RunningPorts(self._take_row)
        self._bursts: Bursts | None = None
        self._catalogue = self._make_catalogue(plan)
        self.sealer = Sealer(
            judge=self.judge,
            columns=self.columns,
            plan=lambda: self.plan,
            catalogue=lambda: self._catalogue,
            health=self.health,
        )
        self._control: ControlServer | None = None
        self._notify = Notifier()
        self._uptime_before = 0
        self._stopping = asyncio.Event()
        self._ended: str | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._reloading: set[asyncio.Task[None]] = set()
        self._reload_lock = asyncio.Lock()
        self.care = SpoolCare(
            state_dir,
            spool=self.spool,
            delivery=self.delivery,
            keeper=lambda: self.keeper,
            uptime_s=self.uptime_s,
            has_polled=lambda: self.first_row_us is not None,
            taken=self._take_recovered,
        )
        self._rows_seen = 0
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
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hangup)
        try:
            await self._listen()
            self.ports.start(self.plan)
            self._start_bursts()
            await self._open_store()
            self._start_uplink()
            self._notify.ready()
            self._watch_over("sealing", self.sealer.run())
            self._watch_over("tending the spool", self._tend_forever())
            self._watch_over("the watchdog", self._feed_watchdog())
            self._watch_over("checking the spool", self.care.run())
            await self._stopping.wait()
        finally:
            self._notify.stopping()
            _LOG.info("stopping")
            await self._leave()
        if self._ended is not None:
            raise EdgeError(f"{self._ended} ended by itself; the log has the details")

    def stop(self) -> None:
        """Lets :meth:`run` end."""
        self._stopping.set()

    async def _listen(self) -> None:
        control = ControlServer(
            self._state_dir / CONTROL, {**operations(self), **bus_operations(self), **self.care.operations()}
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
        for task in (*self._tasks, *self._reloading):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._reloading, return_exceptions=True)
        await self._stop_bursts()
        await self.ports.stop_all()
        if self.keeper is not None:
            try:
                self.sealer.seal_data()
            except Exception:
                _LOG.exception("the last readings could not be sealed")
            if not await self.keeper.drain():
                _LOG.error("the store did not answer before the end: the last readings are not kept")
        if self.uplink is not None:
            await self._wait_for_receipts()
            await self.uplink.stop()
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

    # -- the store -------------------------------------------------------------------

    async def _open_store(self) -> None:
        opened: Opened | None = None
        try:
            opened = await asyncio.wait_for(asyncio.shield(self.spool.open()), _OPEN_LIMIT_S)
        except SpoolError as error:
            _LOG.error("%s; readings are kept in memory until it can", error)
        except TimeoutError:
            _LOG.error("the spool did not open within %.0f s; readings are kept in memory until it does", _OPEN_LIMIT_S)
        if opened is not None:
            learnt = learn(opened, delivery=self.delivery, judge=self.judge, boot=self.boot)
            self._uptime_before = learnt.uptime_s
            for sentence in filter(None, (opened.put_aside, opened.remark)):
                self.sealer.note("spool", sentence)
        else:
            learnt = Learnt(number=unasked_epoch_no(), parent=None, reason="store_unusable", uptime_s=0)
            self.judge.begin()
        self.sealer.keeper = keeper = self._make_keeper(learnt)
        keeper.on_new_file = self.sealer.store_is_new
        if opened is None:
            keeper.on_first_answer = self._learn_late
        self.sealer.keep_catalogue()

    def _make_keeper(self, learnt: Learnt) -> Keeper:
        genesis = Genesis(version=__version__, reason=learnt.reason, parent=learnt.parent)
        chain = self._new_chain(os.urandom(8), genesis, Origin.LIVE)
        row = EpochRow(
            no=learnt.number,
            epoch=chain.epoch,
            reason=learnt.reason,
            boot_id=self.boot.boot_id,
            boot_counter=self.boot.counter,
            started_us=self.started_us,
            started_uptime_s=self.uptime_s(),
        )
        self.delivery.add_epoch(row)
        kept = self.plan.spool
        return Keeper(
            spool=self.spool,
            delivery=self.delivery,
            chain=chain,
            row=row,
            new_chain=self._new_chain,
            monotonic=monotonic_us,
            alarm_state=self.judge.state_bytes,
            uptime_s=self.uptime_s,
            quota_bytes=kept.quota_bytes,
            reserve_bytes=kept.reserve_bytes,
            retention_s=kept.retention_days * 86_400,
        )

    def _learn_late(self, opened: Opened) -> None:
        self._uptime_before = learn_late(opened, delivery=self.delivery, judge=self.judge, boot=self.boot)
        if self.uplink is not None and self.uplink.is_up:
            self.uplink.ask()

    def _new_chain(self, epoch: bytes, genesis: Genesis, origin: Origin) -> Chain:
        return Chain(
            gateway=self.gateway,
            signer=self.signer,
            boot=self.boot,
            epoch=epoch,
            genesis=genesis,
            anchor=self.clock.anchor,
            origin=origin,
        )

    def uptime_s(self) -> int:
        """Returns how long this gateway's agent has run over all its starts."""
        return self._uptime_before + (monotonic_us() - self.started_us) // 1_000_000

    def _make_catalogue(self, plan: Plan) -> tuple[bytes, bytes]:
        document = catalogue(plan, self.gateway)
        try:
            return document.hash, seal(Type.CATALOGUE, document.body, self.signer, level=6)[0]
        except ContractError as error:
            raise ConfigError([f"{self._config_path}: {len(plan.points)} points are too many: {error}"]) from error

    async def _tend_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + _RETENTION_EVERY_S
        while True:
            await asyncio.sleep(_DISK_EVERY_S if self.keeper and self.keeper.room.is_disk_full else _DISK_EVERY_S * 6)
            if self.keeper is None:
                continue
            try:
                await self.keeper.room.look_at_disk()
                if loop.time() >= due_s:
                    due_s = loop.time() + _RETENTION_EVERY_S
                    await self.keeper.room.tend()
            except SpoolError as error:
                _LOG.error("the spool could not be tended: %s", error)

    def _take_recovered(self, sentence: str) -> None:
        self.sealer.note("spool", sentence)
        if self.uplink is not None and self.uplink.is_up:
            self.uplink.ask()

    # -- the uplink ------------------------------------------------------------------

    def _start_uplink(self) -> None:
        wanted, keeper = self.plan.uplink, self.keeper
        assert keeper is not None
        if not wanted.host or not wanted.collector_keys:
            _LOG.warning("no collector is configured: everything stays in the spool")
            return
        keys: dict[bytes, Verifier] = {}
        for line in wanted.collector_keys:
            key = parse_key_line(line, "uplink.collector_key")
            keys[key.key_id] = Verifier(key)
        link = MqttLink(
            client_id=self.gateway,
            host=wanted.host,
            port=wanted.port,
            subscribe=topic(self.gateway, Channel.RECEIPT).rsplit("/", 1)[0] + "/+",
            will=(topic(self.gateway, Channel.STATUS), lambda: self.uplink.will() if self.uplink else b""),
            username=wanted.username,
            password=_password(wanted.password_file),
            tls_ca=wanted.tls_ca,
            is_clock_set=lambda: self.clock.anchor().state.value != "unset",
        )
        self.uplink = Uplink(
            link=link,
            delivery=self.delivery,
            spool=self.spool,
            signer=self.signer,
            collector_keys=keys,
            clock=self.clock,
            monotonic=monotonic_us,
            chain=lambda: keeper.chain,
            statement=lambda: self.judge.statement(monotonic_us()),
            catalogue=lambda: self._catalogue,
            version=__version__,
            backlog_share=wanted.backlog_share,
            memory=keeper.memory,
        )
        self.uplink.on_damaged = keeper.damaged
        keeper.uplink = self.uplink
        self.uplink.start()

    # -- rows ------------------------------------------------------------------------

    def _take_row(self, block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
        self._rows_seen += 1
        try:
            events = self.judge.judge_row(block, sampled_us, row, codes, replied_us)
            if events:
                self.sealer.take_events(events)
                if self._bursts is not None:
                    self._bursts.take_events(events)
        finally:
            # Whatever becomes of the judgement, the reading is kept.
            self.columns.add(block, sampled_us, row, codes)
        if self.first_row_us is None:
            self.first_row_us = monotonic_us()
            _LOG.info("first poll %.0f ms after the start", (self.first_row_us - self.started_us) / 1000)

    def _start_bursts(self) -> None:
        if not self.plan.bursts:
            return
        # Imported late: most gateways have none.
        from edge_agent.vibration.bursts import Bursts
        from edge_agent.vibration.slots import Slots

        self._bursts = Bursts(
            gateway=self.gateway,
            boot_id=self.boot.boot_id,
            read=Slots(self.ports.borrow, monotonic_us).read,
            take=self._take_row,
            keep=self.sealer.take_waveforms,
            clock=monotonic_us,
        )
        self._bursts.start(self.plan)

    async def _stop_bursts(self) -> None:
        bursts, self._bursts = self._bursts, None
        if bursts is not None:
            await bursts.stop()

    def latest(self) -> list[Tick]:
        """Returns the newest row of every block that has one."""
        found = [(number, self.columns.latest(number)) for number in range(len(self.plan.row_blocks))]
        return [(number, *tick) for number, tick in found if tick is not None]

    def reset_alarm(self, point: str, rule: str, by: str) -> ResetResult:
        """Resets a latched alarm in a person's name."""
        result = self.judge.reset(point, rule, by, monotonic_us())
        if not result.refused:
            self.sealer.note("alarm-reset", f"{point} {rule} by {by}")
            self.sealer.take_events(result.events)
        return result

    def note(self, kind: str, text: str) -> None:
        """Seals a line with the next batch."""
        self.sealer.note(kind, text)

    def health(self) -> tuple[HealthRecord, ...]:
        """Returns all that is known of ports, devices, spool, link and machine."""
        own = HealthRecord(subject="agent", mono_us=monotonic_us(), facts=tuple(self.facts().items()))
        bursts = () if self._bursts is None else self._bursts.health()
        return (*self.ports.health(), *bursts, own)

    def facts(self) -> dict[str, float | int | str | None]:
        """Returns the agent's own facts, flat."""
        keeper, uplink = self.keeper, self.uplink
        backlog = self.delivery.backlog()
        now = monotonic_us()
        facts: dict[str, float | int | str | None] = {
            "version": __version__,
            "boot_counter": self.boot.counter,
            "uptime_s": (now - self.started_us) // 1_000_000,
            "clock": self.clock.anchor().state.value,
            "link": "up" if uplink is not None and uplink.is_up else "down",
            "spool_bytes": self.spool.used_bytes,
            **self.care.facts(),
            "backlog_alarm_batches": backlog.alarm_batches,
            "backlog_data_batches": backlog.data_batches,
            "backlog_epochs": backlog.epochs,
            "readings_lost": self.sealer.readings_lost + self.columns.lost_readings,
            "port_restarts": self.ports.restarts,
        }
        if keeper is not None:
            facts["store"] = keeper.state.value
            facts["spool_disk_full"] = int(keeper.room.is_disk_full)
            facts.update({f"sealed_{key}": value for key, value in keeper.counts.items()})
        if uplink is not None:
            facts["receipt_age_s"] = None if uplink.receipt_us is None else (now - uplink.receipt_us) // 1_000_000
            facts.update({f"link_{key}": value for key, value in uplink.counts.items()})
        facts.update(gateway_facts(self._state_dir))
        return facts

    async def _feed_watchdog(self) -> None:
        """Feeds the service manager's watchdog while polling moves."""
        interval = self._notify.watchdog_interval_s
        if interval is None:
            await asyncio.Event().wait()
            return
        while True:
            await asyncio.sleep(interval)
            longest = max((block.interval_ms for block in self.plan.blocks), default=0) / 1000
            if self._rows_seen != self._rows_at_watchdog or longest > interval or not len(self.ports):
                self._rows_at_watchdog = self._rows_seen
                self._notify.alive()

    # -- reload ----------------------------------------------------------------------

    def _hangup(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload_and_log())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload_and_log(self) -> None:
        try:
            await self.reload()
        except EdgeError as error:
            _LOG.error("the configuration is refused, the last good one goes on: %s", error)
        except Exception:
            _LOG.exception("the reload failed")

    async def reload(self) -> dict[str, Any]:
        """Compiles, compares and touches only the ports that changed.

        Raises:
            EdgeError: the new configuration is refused; the running plan goes on.
        """
        if self.keeper is None:
            raise EdgeError("the agent is still asking its store; try again in a few seconds")
        async with self._reload_lock:
            loop = asyncio.get_running_loop()
            new = await loop.run_in_executor(None, load_or_compile, self._config_path, self._state_dir / PLAN)
            if new.hash == self.plan.hash:
                return {"changed": False, "ports": []}
            if (new.uplink, new.spool) != (self.plan.uplink, self.plan.spool):
                _LOG.warning("changes of [uplink] and [spool] take effect at the next start")
                new = replace(new, uplink=self.plan.uplink, spool=self.plan.spool)
            return {"changed": True, "ports": await self._switch(new)}

    async def _switch(self, new: Plan) -> list[str]:
        # Made first: a plan whose catalogue cannot be sealed is refused before any port is touched.
        made = self._make_catalogue(new)
        same = unchanged_ports(self.plan, new)
        touched = [port.id for port in self.plan.ports if port.id not in same and port.id in self.ports]
        await self._stop_bursts()
        await self.ports.stop(touched)
        # From here to the end nothing waits, so no row comes under two plans.
        # What was sampled under the old plan is sealed under the old catalogue.
        self.sealer.seal_data()
        self.plan = new
        self._catalogue = made
        self.sealer.keep_catalogue()
        if self.uplink is not None:
            self.uplink.catalogue_changed()
        self.columns.replace_plan(new.row_blocks, new.points)
        events = self.judge.replace_plan(new.points, new.row_blocks)
        self.ports.renumber(same)
        touched += self.ports.start(new)
        self._start_bursts()
        if events:
            self.sealer.take_events(events)
        changed = sorted(set(touched))
        self.sealer.note("reload", f"plan {new.hash.hex()[:12]}; ports changed: {', '.join(changed) or 'none'}")
        return changed


def _password(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError([f"uplink.password_file: {path}: {reason}"]) from error


def run(config_path: Path) -> int:
    """Runs the agent of one site file until it is stopped; returns the exit status.

    Raises:
        EdgeError: a sentence for the person who started it.
    """
    state_dir = state_dir_of(config_path)
    holder = StateDir(state_dir)
    holder.acquire()
    try:
        try:
            plan = load_or_compile(config_path, state_dir / PLAN)
        except EdgeError as error:
            plan = _last_good(state_dir / PLAN, error)
        try:
            signer = load_or_create(state_dir / KEY)
        except OSError as error:
            raise EdgeError(f"{error.filename or state_dir}: {error.strerror}") from error
        except ContractError as error:
            raise EdgeError(str(error)) from error
        boot = count_boot(state_dir / _BOOT_FILE, read_boot_id())
        asyncio.run(_main(config_path, state_dir, plan, signer, boot))
    finally:
        holder.release()
    return 0


async def _main(config_path: Path, state_dir: Path, plan: Plan, signer: Signer, boot: Boot) -> None:
    await Agent(config_path=config_path, state_dir=state_dir, plan=plan, signer=signer, boot=boot).run()


def _last_good(plan_path: Path, error: EdgeError) -> Plan:
    """Starts with the last good plan where there is one: monitoring goes on, loudly."""
    try:
        plan = load_plan(plan_path)
    except PlanError:
        raise error from None
    _LOG.error("the configuration cannot be used and the last good plan runs instead:\n%s", error)
    return plan
