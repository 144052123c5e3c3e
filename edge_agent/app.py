"""Wires the agent together, starts it and stops it; nothing else knows everything.

    ports -> pollers -> judge -> keeper (seal, spool) -> uplink
                     -> columns ^

Losing the uplink, filling the disk or reloading never stops polling or alarms: the pollers
know nothing of either, and nothing here waits for a disk or a link on their way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from contracts.batch import AlarmEvent, Genesis, HealthRecord, Lane, Note, Origin, Parent
from contracts.envelope import Type, seal
from contracts.errors import ContractError
from contracts.keys import Signer, Verifier, load_or_create, parse_key_line
from contracts.topics import Channel, topic
from edge_agent import __version__
from edge_agent.boot import count_boot, read_boot_id
from edge_agent.bus.poller import Codes, Poller, Row, blocks_of_port
from edge_agent.clock import AnchorClock, monotonic_us
from edge_agent.collect import Collector
from edge_agent.control import ControlServer
from edge_agent.delivery import Delivery
from edge_agent.errors import ConfigError, EdgeError, PlanError, SpoolError
from edge_agent.health import gateway_facts
from edge_agent.judge import Judge, ResetResult
from edge_agent.keeper import FIRST_UNASKED, Content, Keeper, unasked_epoch_no
from edge_agent.mqtt_link import MqttLink
from edge_agent.plan import Plan, PortPlan, catalogue
from edge_agent.plan_file import load_or_compile, load_plan, state_dir_of
from edge_agent.ports import make_port
from edge_agent.readings import Tick
from edge_agent.sd_notify import Notifier
from edge_agent.seal import Boot, Chain
from edge_agent.spool import EpochRow, Opened
from edge_agent.spool_thread import SpoolThread
from edge_agent.state_dir import CONTROL, KEY, PLAN, SPOOL, StateDir
from edge_agent.status import operations
from edge_agent.uplink import Uplink

_LOG = logging.getLogger(__name__)
#: health and the statement of active alarms travel this often (seconds)
_HEALTH_EVERY_S = 60.0
#: events of one tick share a seal; no more than 50 alarm seals a second
_ALARM_SEAL_GAP_S = 0.02
_RETENTION_EVERY_S = 600.0
_BOOT_FILE = "boot.json"
#: readings in one batch; at eight bytes each it stays under the envelope's limit
_BATCH_LIMIT = 20_000
#: alarms wait no longer than this for a spool that does not open
_OPEN_LIMIT_S = 2.0


@dataclass(slots=True)
class _Port:
    plan: PortPlan
    poller: Poller
    task: asyncio.Task[None]
    #: block number in the poller -> number in the plan that runs now
    numbers: dict[int, int]


class Agent:
    """One gateway's agent."""

    def __init__(self, *, config_path: Path, state_dir: Path, plan: Plan, signer: Signer, boot: Boot) -> None:
        """Remembers what it needs; opens no file, starts no thread."""
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
            blocks=plan.blocks,
            clock=monotonic_us,
        )
        self.columns = Collector(plan.blocks, plan.points)
        self._readings_lost = 0
        self.started_us = monotonic_us()
        self.first_row_us: int | None = None
        self.keeper: Keeper | None = None
        self.uplink: Uplink | None = None
        self._ports: dict[str, _Port] = {}
        self._catalogue = self._make_catalogue(plan)
        self._kept_catalogue = b""
        self._control: ControlServer | None = None
        self._notify = Notifier()
        self._uptime_before = 0
        self._events: list[AlarmEvent] = []
        self._notes: list[Note] = []
        self._is_alarm_seal_due = False
        self._last_alarm_seal = 0.0
        self._health_due_s = 0.0
        self._retention_due_s = _RETENTION_EVERY_S
        self._stopping = asyncio.Event()
        self._reload_lock = asyncio.Lock()
        self._rows_seen = 0
        self._rows_at_watchdog = -1

    # -- life ------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs until it is told to stop.

        Raises:
            EdgeError: the control socket cannot be made.
        """
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hangup)
        self._control = ControlServer(self._state_dir / CONTROL, operations(self))
        await self._control.start()
        for number, port in enumerate(self.plan.ports):
            self._start_port(self.plan, number, port)
        await self._open_store()
        self._notify.ready()
        sealing = loop.create_task(self._seal_forever())
        watching = loop.create_task(self._watch_forever())
        await self._stopping.wait()
        self._notify.stopping()
        _LOG.info("stopping")
        for task in (sealing, watching):
            task.cancel()
        await asyncio.gather(sealing, watching, return_exceptions=True)
        await self._leave()

    def stop(self) -> None:
        """Lets :meth:`run` end."""
        self._stopping.set()

    async def _leave(self) -> None:
        for name in list(self._ports):
            await self._stop_port(name)
        assert self.keeper is not None
        self._seal_alarms()
        self._seal_data()
        if not await self.keeper.drain():
            _LOG.error("the store did not answer before the end: the last readings are not kept")
        if self.uplink is not None:
            await self._wait_for_receipts()
            await self.uplink.stop()
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
        reason = "restart"
        try:
            opened = await asyncio.wait_for(asyncio.shield(self.spool.open()), _OPEN_LIMIT_S)
        except SpoolError as error:
            _LOG.error("%s; readings are kept in memory until it can", error)
            reason = "store_unusable"
        except TimeoutError:
            _LOG.error("the spool did not open within %.0f s; readings are kept in memory until it does", _OPEN_LIMIT_S)
            reason = "store_unusable"
        parent: Parent | None = None
        number = unasked_epoch_no()
        if opened is not None:
            number, parent, reason = self._learn(opened)
        else:
            self.judge.begin()
        genesis = Genesis(version=__version__, reason=reason, parent=parent)
        chain = self._new_chain(os.urandom(8), genesis, Origin.LIVE)
        row = EpochRow(
            no=number,
            epoch=chain.epoch,
            reason=reason,
            boot_id=self.boot.boot_id,
            boot_counter=self.boot.counter,
            started_us=self.started_us,
            started_uptime_s=self.uptime_s(),
        )
        self.delivery.add_epoch(row)
        plan = self.plan
        self.keeper = Keeper(
            spool=self.spool,
            delivery=self.delivery,
            chain=chain,
            epoch_no=number,
            row=row,
            new_chain=self._new_chain,
            monotonic=monotonic_us,
            alarm_state=self.judge.state_bytes,
            uptime_s=self.uptime_s,
            quota_bytes=plan.spool.quota_bytes,
            reserve_bytes=plan.spool.reserve_bytes,
            retention_s=plan.spool.retention_days * 86_400,
        )
        if opened is None:
            self.keeper.on_first_answer = self._learn_late
        else:
            self.keeper.know(opened.epochs)
            if opened.put_aside is not None:
                self.note("spool", opened.put_aside)
        self._keep_catalogue()
        self._start_uplink()

    def _learn(self, opened: Opened) -> tuple[int, Parent | None, str]:
        """Takes what the spool held; returns the new epoch's number, parent and reason."""
        for row in opened.epochs:
            self.delivery.add_epoch(row, {lane: opened.lanes[row.no, lane] for lane in Lane})
        self._uptime_before = int(opened.state.get("uptime_s", b"0"))
        collector = opened.state.get("collector")
        if collector is not None:
            since, epoch = msgpack.unpackb(collector)
            self.delivery.collector = (since, epoch)
        durable = [row for row in opened.epochs if not row.is_volatile and row.no < FIRST_UNASKED]
        newest = durable[-1] if durable else None
        alarms = opened.state.get("alarms")
        if alarms is not None:
            is_same_boot = newest is not None and newest.boot_id == self.boot.boot_id
            self.judge.restore(alarms, same_boot=is_same_boot)
        else:
            self.judge.begin()
        if newest is None:
            return 1, None, "spool_damaged" if opened.put_aside else "first"
        heads = {lane: opened.lanes[newest.no, lane].head for lane in Lane}
        parent = Parent(epoch=newest.epoch, alarm=heads[Lane.ALARM], data=heads[Lane.DATA])
        return newest.no + 1, parent, "restart"

    def _learn_late(self, opened: Opened) -> None:
        """Takes what lies in a spool that could not be opened at the start: it is sent as history."""
        for row in opened.epochs:
            if self.delivery.number(row.epoch) is None:
                self.delivery.add_epoch(row, {lane: opened.lanes[row.no, lane] for lane in Lane})
        if self.keeper is not None:
            self.keeper.know(opened.epochs)
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
        return document.hash, seal(Type.CATALOGUE, document.body, self.signer, level=6)[0]

    def _keep_catalogue(self) -> None:
        assert self.keeper is not None
        hash, envelope = self._catalogue
        self.keeper.keep_catalogue(hash, envelope)
        self._kept_catalogue = hash

    # -- the uplink ------------------------------------------------------------------

    def _start_uplink(self) -> None:
        wanted = self.plan.uplink
        keeper = self.keeper
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
        keeper.uplink = self.uplink
        self.uplink.start()

    # -- ports -----------------------------------------------------------------------

    def _start_port(self, plan: Plan, number: int, port: PortPlan) -> None:
        blocks = blocks_of_port(plan, number)
        if not blocks:
            return
        numbers = {block: block for block in blocks}
        poller = Poller(
            port_id=port.id,
            port=make_port(port),
            devices=plan.devices,
            blocks=blocks,
            sink=self._sink(numbers),
        )
        task = asyncio.get_running_loop().create_task(poller.run())
        self._ports[port.id] = _Port(port, poller, task, numbers)

    async def _stop_port(self, name: str) -> None:
        port = self._ports.pop(name)
        port.poller.stop()
        try:
            await asyncio.wait_for(asyncio.gather(port.task, return_exceptions=True), 5.0)
        except TimeoutError:
            _LOG.error("port %s did not end in time", name)

    def _sink(self, numbers: dict[int, int]) -> Callable[[int, int, Row, Codes, int], None]:
        def take(block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
            self._rows_seen += 1
            number = numbers[block]
            events = self.judge.judge_row(number, sampled_us, row, codes, replied_us)
            if events:
                self._raise(events)
            self.columns.add(number, sampled_us, row, codes)
            if self.first_row_us is None:
                self.first_row_us = monotonic_us()
                _LOG.info("first poll %.0f ms after the start", (self.first_row_us - self.started_us) / 1000)

        return take

    # -- sealing ---------------------------------------------------------------------

    def _raise(self, events: Sequence[AlarmEvent]) -> None:
        self._events.extend(events)
        if self._is_alarm_seal_due or self.keeper is None:
            return
        self._is_alarm_seal_due = True
        loop = asyncio.get_running_loop()
        wait = self._last_alarm_seal + _ALARM_SEAL_GAP_S - loop.time()
        if wait <= 0:
            loop.call_soon(self._seal_alarms)
        else:
            loop.call_later(wait, self._seal_alarms)

    def _seal_alarms(self) -> None:
        self._is_alarm_seal_due = False
        if not self._events or self.keeper is None:
            return
        events, self._events = self._events, []
        self._last_alarm_seal = asyncio.get_running_loop().time()
        self.keeper.seal_alarms(events)

    async def _seal_forever(self) -> None:
        loop = asyncio.get_running_loop()
        if self._events:
            self._seal_alarms()
        next_s = loop.time()
        while True:
            interval = self.plan.uplink.seal_interval_s
            next_s = max(next_s + interval, loop.time())
            await asyncio.sleep(next_s - loop.time())
            try:
                await self._seal_step()
            except Exception:
                # The outermost loop of sealing: a defect in one step must not end it unseen.
                _LOG.exception("a step of sealing failed; the next one is due in %.1f s", interval)

    async def _seal_step(self) -> None:
        events = self.judge.check_silence(monotonic_us())
        if events:
            self._raise(events)
        self._seal_data()
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._retention_due_s and self.keeper is not None:
            self._retention_due_s = now_s + _RETENTION_EVERY_S
            await self.keeper.release_old()

    def _seal_data(self) -> None:
        assert self.keeper is not None
        # A data batch carries the alarm state too: no event may be left behind by the state it made.
        self._seal_alarms()
        if self._kept_catalogue != self._catalogue[0]:
            self._keep_catalogue()
        loop = asyncio.get_running_loop()
        health: tuple[HealthRecord, ...] = ()
        statement = None
        if loop.time() >= self._health_due_s:
            self._health_due_s = loop.time() + _HEALTH_EVERY_S
            health = self.health()
            statement = self.judge.statement(monotonic_us())
        is_due = bool(health) or bool(self._notes)
        while self.columns.readings or is_due:
            sealed_us = monotonic_us()
            part = self.columns.take(sealed_us, limit=_BATCH_LIMIT)
            notes, self._notes = tuple(self._notes), []
            try:
                self.keeper.seal_data(
                    Content(
                        sealed_us=sealed_us,
                        catalogue=self._catalogue[0],
                        blocks=part.blocks,
                        readings=part.readings,
                        first_us=part.first_us,
                        last_us=part.last_us,
                        statement=statement,
                        health=health,
                        notes=notes,
                    )
                )
            except ContractError:
                self._readings_lost += part.readings
                _LOG.exception("%d readings could not be sealed", part.readings)
            health, statement, is_due = (), None, False

    def latest(self) -> list[Tick]:
        """Returns the newest row of every block that has one."""
        found = [(number, self.columns.latest(number)) for number in range(len(self.plan.blocks))]
        return [(number, *tick) for number, tick in found if tick is not None]

    def reset_alarm(self, point: str, rule: str, by: str) -> ResetResult:
        """Resets a latched alarm in a person's name."""
        result = self.judge.reset(point, rule, by, monotonic_us())
        if not result.refused:
            self.note("alarm-reset", f"{point} {rule} by {by}")
            self._raise(result.events)
        return result

    def note(self, kind: str, text: str) -> None:
        """Puts a line into the next data batch."""
        self._notes.append(Note(mono_us=monotonic_us(), kind=kind, text=text.encode()[:1000].decode(errors="ignore")))

    def health(self) -> tuple[HealthRecord, ...]:
        """Returns all that is known of ports, devices, spool, link and machine."""
        records = [record for port in self._ports.values() for record in port.poller.health()]
        return (*records, HealthRecord(subject="agent", mono_us=monotonic_us(), facts=tuple(self.facts().items())))

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
            "backlog_alarm_batches": backlog.alarm_batches,
            "backlog_data_batches": backlog.data_batches,
            "readings_lost": self._readings_lost + self.columns.lost_readings,
        }
        if keeper is not None:
            facts["store"] = keeper.state.value
            facts.update({f"sealed_{key}": value for key, value in keeper.counts.items()})
        if uplink is not None:
            facts["receipt_age_s"] = None if uplink.receipt_us is None else (now - uplink.receipt_us) // 1_000_000
            facts.update({f"link_{key}": value for key, value in uplink.counts.items()})
        facts.update(gateway_facts(self._state_dir))
        return facts

    # -- watching --------------------------------------------------------------------

    async def _watch_forever(self) -> None:
        """Feeds the service manager's watchdog while polling moves."""
        interval = self._notify.watchdog_interval_s
        if interval is None:
            return
        while True:
            await asyncio.sleep(interval)
            longest = max((block.interval_ms for block in self.plan.blocks), default=0) / 1000
            if self._rows_seen != self._rows_at_watchdog or longest > interval:
                self._rows_at_watchdog = self._rows_seen
                self._notify.alive()

    # -- reload ----------------------------------------------------------------------

    def _hangup(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload_and_log())
        task.add_done_callback(lambda done: None)

    async def _reload_and_log(self) -> None:
        try:
            await self.reload()
        except EdgeError as error:
            _LOG.error("the configuration is refused, the last good one goes on: %s", error)

    async def reload(self) -> dict[str, Any]:
        """Compiles, compares and touches only the ports that changed.

        Raises:
            EdgeError: the new configuration is refused; the running plan goes on.
        """
        async with self._reload_lock:
            loop = asyncio.get_running_loop()
            new = await loop.run_in_executor(None, load_or_compile, self._config_path, self._state_dir / PLAN)
            if new.hash == self.plan.hash:
                return {"changed": False, "ports": []}
            if (new.uplink, new.spool) != (self.plan.uplink, self.plan.spool):
                old_fixed = (self.plan.uplink, self.plan.spool)
                _LOG.warning("changes of [uplink] and [spool] take effect at the next start")
                new = _with_fixed(new, *old_fixed)
            return {"changed": True, "ports": await self._switch(new)}

    async def _switch(self, new: Plan) -> list[str]:
        old = self.plan
        same = {port.id: _same_port(old, new, port.id) for port in old.ports}
        touched = []
        for name in [port.id for port in old.ports if same[port.id] is None and port.id in self._ports]:
            await self._stop_port(name)
            touched.append(name)
        # What was sampled under the old plan is sealed under the old catalogue.
        self._seal_alarms()
        self._seal_data()
        self.plan = new
        self._catalogue = self._make_catalogue(new)
        self._keep_catalogue()
        if self.uplink is not None:
            self.uplink.catalogue_changed()
        self.columns.replace_plan(new.blocks, new.points)
        events = self.judge.replace_plan(new.points, new.blocks)
        for name, port in self._ports.items():
            mapping = same[name]
            assert mapping is not None
            port.numbers.update({block: mapping[number] for block, number in port.numbers.items()})
        for number, plan in enumerate(new.ports):
            if plan.id not in self._ports:
                self._start_port(new, number, plan)
                touched.append(plan.id)
        if events:
            self._raise(events)
        self.note("reload", f"plan {new.hash.hex()[:12]}; ports changed: {', '.join(sorted(set(touched))) or 'none'}")
        return sorted(set(touched))


def _same_port(old: Plan, new: Plan, name: str) -> dict[int, int] | None:
    """Returns old block number -> new block number where a port reads the same; None where it differs."""
    before = next(i for i, port in enumerate(old.ports) if port.id == name)
    after = next((i for i, port in enumerate(new.ports) if port.id == name), None)
    if after is None or old.ports[before] != new.ports[after]:
        return None
    old_blocks, new_blocks = blocks_of_port(old, before), blocks_of_port(new, after)
    if len(old_blocks) != len(new_blocks):
        return None
    mapping = {}
    for (number, block), (new_number, new_block) in zip(old_blocks.items(), new_blocks.items(), strict=True):
        is_same = (
            old.devices[block.device] == new.devices[new_block.device]
            and block.read == new_block.read
            and (block.interval_ms, block.phase_ms) == (new_block.interval_ms, new_block.phase_ms)
            and [old.points[n].key for n in block.points] == [new.points[n].key for n in new_block.points]
        )
        if not is_same:
            return None
        mapping[number] = new_number
    return mapping


def _with_fixed(plan: Plan, uplink: Any, spool: Any) -> Plan:
    return Plan(
        en=plan.en,
        zh=plan.zh,
        ports=plan.ports,
        devices=plan.devices,
        blocks=plan.blocks,
        points=plan.points,
        uplink=uplink,
        spool=spool,
        inputs=plan.inputs,
        version=plan.version,
    )


def _password(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ConfigError([f"uplink.password_file: {path}: {error.strerror}"]) from error


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
        except ConfigError as error:
            plan = _last_good(state_dir / PLAN, error)
        try:
            signer = load_or_create(state_dir / KEY)
            boot = count_boot(state_dir / _BOOT_FILE, read_boot_id())
        except OSError as error:
            raise EdgeError(f"{error.filename or state_dir}: {error.strerror}") from error
        except ContractError as error:
            raise EdgeError(str(error)) from error
        asyncio.run(_main(config_path, state_dir, plan, signer, boot))
    finally:
        holder.release()
    return 0


async def _main(config_path: Path, state_dir: Path, plan: Plan, signer: Signer, boot: Boot) -> None:
    await Agent(config_path=config_path, state_dir=state_dir, plan=plan, signer=signer, boot=boot).run()


def _last_good(plan_path: Path, error: ConfigError) -> Plan:
    """Starts with the last good plan where there is one: monitoring goes on, loudly."""
    try:
        plan = load_plan(plan_path)
    except PlanError:
        raise error from None
    _LOG.error("the configuration is refused and the last good plan runs instead:\n%s", error)
    return plan
