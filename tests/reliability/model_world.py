"""The world of the model: one gateway, one broker, one collector, and everything that may happen to them.

Every method is a step that makes sense at any moment, so that any order of them is a history.  What was
sampled, sealed, promised and receipted is written down beside them, where no fault reaches; ``look``
says what must hold after every step, ``heal`` lets everything work again and drain, and what must hold then
is in ``model_checks.py``.  Nothing here is random and nothing is Hypothesis: a history can be written
down as plain calls (``cases/``).
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import apsw

from contracts.batch import Lane
from contracts.envelope import Type, seal
from contracts.keys import Signer, Verifier
from contracts.quality import BAD_FRAME, FAULT, GOOD, NO_REPLY, OVER_RANGE
from contracts.receipt import Receipt
from contracts.topics import Channel, parse, topic
from edge_agent.keeper import StoreState
from edge_agent.seal import Boot
from tests.reliability.model_record import Record
from tests.reliability.oracle import value_mark
from tests.reliability.virtual_agent import (
    FAST,
    INTERVALS_S,
    KEYS,
    SLOW,
    Defects,
    Outside,
    S,
    VirtualAgent,
    make_plan,
)
from tests.reliability.virtual_broker import Broker
from tests.reliability.virtual_collector import SIGNER as COLLECTOR
from tests.reliability.virtual_collector import VirtualCollector
from tests.reliability.virtual_disk import Disk
from tests.reliability.virtual_time import Clock

GATEWAY = Signer.from_seed(b"the gateway's own signing key 01")
STRANGER = Signer.from_seed(b"a key that nobody has registered")
ID = GATEWAY.public.gateway_id
#: UTC us of the beginning (2026-11-01 00:00:00)
BEGIN_US = 1_793_491_200_000_000
#: how long the first boot has run then
_FIRST_MONO_US = 100 * S
#: a reply comes so long after its tick; its sample's time is the middle
_REPLY_US = 80_000
CODES = {"good": GOOD, "silent": NO_REPLY, "garbled": BAD_FRAME, "fault": FAULT, "over": OVER_RANGE}


class World(Record):
    """One history.  Mutants are subclasses, or patches of the real code around one."""

    agent_class = VirtualAgent
    collector_class = VirtualCollector

    def __init__(self, folder: Path, *, quota_bytes: int = 120_000, seed: int = 0) -> None:
        """Makes a gateway that was just switched on and a collector that knows it.

        Args:
            quota_bytes: of the spool; a third of it is the alarms' reserve.
        """
        self.folder = folder
        self.clock = Clock(BEGIN_US)
        self.disk, self.broker, self.defects = Disk(), Broker(), Defects()
        self.plan = make_plan(COLLECTOR, quota_bytes=quota_bytes, reserve_bytes=quota_bytes // 3, retention_days=1)
        super().__init__()
        self._count = 0
        self._backup: Path | None = None
        self.wrong_us = 0
        self.boots: list[tuple[Boot, int]] = []
        self.agent: VirtualAgent | None = None

        self._logger = logging.getLogger("edge_agent")
        self._was = (self._logger.level, self._logger.propagate)
        self._logger.addHandler(self.defects)
        self._logger.setLevel(logging.ERROR)
        self._logger.propagate = False
        # A crash leaves futures that nobody ever looks at.
        logging.getLogger("asyncio").disabled = True
        self.outside = Outside(self.note_seal)
        self.outside.enter(seed)
        folder.mkdir(exist_ok=True)
        keys = {ID: {GATEWAY.key_id: Verifier(GATEWAY.public)}}
        self.collector = self.collector_class(folder, self.clock, self.broker, keys)
        self.broker.on_publish = self.note_publish
        self.collector.on_receipts = self.note_receipts
        self._boot(_FIRST_MONO_US)
        self.start()

    def close(self) -> None:
        """Gives the process back what was changed in it; safe to call twice."""
        if self.agent is not None:
            self.agent.crash()
            self.agent = None
        self.collector.crash()
        self.outside.leave()
        self._logger.removeHandler(self.defects)
        self._logger.setLevel(self._was[0])
        self._logger.propagate = self._was[1]
        logging.getLogger("asyncio").disabled = False

    # -- the gateway ---------------------------------------------------------------------

    def _boot(self, mono_us: int) -> None:
        number = len(self.boots) + 1
        self.boots.append((Boot(boot_id=b"boot %011d" % number, counter=number), self.clock.now_us - mono_us))

    def start(self) -> None:
        """Starts the agent where it does not run."""
        if self.agent is not None:
            return
        boot, boot_us = self.boots[-1]
        self.agent = self.agent_class(
            outside=self.outside,
            folder=self.folder,
            plan=self.plan,
            signer=GATEWAY,
            boot=boot,
            time=self.clock,
            boot_us=boot_us,
            broker=self.broker,
            disk=self.disk,
            watch=self,
        )
        self.agent.wrong_us = self.wrong_us
        self.agent.start()

    def crash(self, *, power: bool = False, away_s: float = 1.0) -> None:
        """Kills the agent; with the power a new boot follows, its monotonic clock begins anew."""
        if self.agent is not None:
            keeper = self.agent.agent.keeper
            assert keeper is not None
            if keeper.state is StoreState.VOLATILE or keeper.on_first_answer is not None:
                self.is_alarm_state_torn = True
            self.agent.crash()
            self.agent = None
            self._heard_since_us = 0
        self.clock.now_us += round(away_s * S)
        if power:
            self._boot(5 * S)

    def finish(self) -> None:
        """Stops the agent as its service manager does."""
        if self.agent is not None:
            self.agent.finish()
            self.agent.crash()
            self.agent = None
            self._heard_since_us = 0
        self.clock.now_us += S

    def wait(self, seconds: float) -> None:
        """Lets time pass in which nothing is sampled."""
        if self.agent is not None:
            self.agent.pass_time(seconds)
        else:
            self.clock.now_us += round(seconds * S)

    def sample(self, ticks: int = 1, level: int = 50, quality: str = "good") -> None:
        """Polls for some seconds.

        Args:
            level: of the first point, in tenths of kPa; its limits are 10 and 20 kPa.
            quality: of the first point's readings; the others are good.
        """
        for _ in range(ticks):
            if self.agent is None:
                self.clock.now_us += S
                continue
            agent = self.agent
            tick_us = (agent.now_us() // S + 1) * S
            blocks = (FAST, SLOW) if tick_us % (INTERVALS_S[SLOW] * S) == 0 else (FAST,)
            agent.after(
                (tick_us + _REPLY_US - agent.now_us()) / 1e6,
                lambda agent=agent, tick_us=tick_us, blocks=blocks: [  # type: ignore[misc]
                    self._row(agent, block, tick_us, level, CODES[quality]) for block in blocks
                ],
            )

    def _row(self, agent: VirtualAgent, block: int, tick_us: int, level: int, code: int) -> None:
        self._count += 1
        # Every value is another one, so that none can stand for another.
        values: list[int | float | None] = (
            [level, self._count, self._count / 2] if block == FAST else [self._count % 90]
        )
        codes = [code, GOOD, GOOD] if block == FAST else [GOOD]
        if codes[0] != GOOD:
            values[0] = None
        time_us = tick_us + _REPLY_US // 2
        for point, value, one in zip(KEYS[block], values, codes, strict=True):
            self.samples[agent.boot.boot_id, point, time_us] = value_mark(value, one)
        found = codes if any(codes) else None
        agent.agent.rows.take(block, time_us, values, found, tick_us + _REPLY_US)

    def seal(self) -> None:
        """Looks for silence and seals what waits, as the sealing loop does when its interval is over."""
        if self.agent is None:
            return
        agent = self.agent

        def work() -> None:
            events = agent.agent.judge.check_silence(agent.now_us())
            if events:
                agent.agent.sealer.take_events(events)
            agent.agent.sealer.seal_data()

        agent.do(work)

    def produce(self, seals: int, ticks: int = 2, level: int = 50) -> None:
        """Samples and seals for a while."""
        for _ in range(seals):
            self.sample(ticks, level)
            self.seal()

    def tend(self) -> None:
        """Lets go what is older than the retention, and forgets what is done with."""
        if self.agent is not None:
            room = self.agent.agent.keeper.room  # type: ignore[union-attr]
            self._work(room.look_at_disk(), room.tend())

    def _work(self, *works: Any) -> None:
        async def all_of() -> None:
            for work in works:
                await work

        assert self.agent is not None
        agent, tasks = self.agent, []
        agent.do(lambda: tasks.append(asyncio.get_running_loop().create_task(all_of())))
        for _ in range(100):
            if tasks[0].done():
                break
            agent.pass_time(0.1)
        if tasks[0].done():
            tasks[0].result()

    def step_clock(self, seconds: float) -> None:
        """Sets the system's wall clock wrong by so much more."""
        self.wrong_us = max(-self.clock.now_us, self.wrong_us + round(seconds * S))
        if self.agent is not None:
            self.agent.wrong_us = self.wrong_us

    # -- its disk ------------------------------------------------------------------------

    def damage_row(self, place: int) -> None:
        """Flips a bit in the bytes of one batch in the spool."""
        db = self._database()
        if db is None:
            return
        try:
            ids = [id for (id,) in db.execute("SELECT id FROM batch ORDER BY id")]
            # The newest of each lane is looked at when the file is opened: that is ``damage_file``.
            if len(ids) > 4:
                id = ids[place % (len(ids) - 4)]
                envelope = bytearray(db.execute("SELECT envelope FROM batch WHERE id=?", (id,)).get)
                envelope[len(envelope) // 2] ^= 1
                db.execute("UPDATE batch SET envelope=? WHERE id=?", (bytes(envelope), id))
        except apsw.Error:
            pass  # a full disk
        finally:
            if self.agent is None:
                db.close(True)

    def _database(self) -> apsw.Connection | None:
        if self.agent is not None:
            return self.agent.agent.spool._spool._db
        path = self.folder / "spool.db"
        return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE) if path.exists() else None

    def damage_file(self, how: str) -> None:
        """Damages the file of an agent that does not run: ``head``, ``half``, ``empty``, ``log`` or ``gone``."""
        path = self.folder / "spool.db"
        log = path.with_name("spool.db-wal")
        if self.agent is not None or not path.exists():
            return
        match how:
            case "head":
                path.write_bytes(b"\xff" * 4096 + path.read_bytes()[4096:])
            case "half":
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
                log.unlink(missing_ok=True)
            case "empty":
                path.write_bytes(b"")
            case "log":
                log.unlink(missing_ok=True)
            case _:
                path.unlink()
        self.lose_file()

    # -- the link ------------------------------------------------------------------------

    def connect(self) -> None:
        """Brings the link up."""
        if self.agent is not None and not self.agent.link.is_up:
            link = self.agent.link
            link.is_up = True
            self.agent.do(link.on_up)

    def disconnect(self) -> None:
        """Cuts the link; what the broker has of the gateway stays there."""
        if self.agent is not None and self.agent.link.is_up:
            link = self.agent.link
            link.is_up = False
            self.agent.do(lambda: link.on_down("cut by the test"))

    def throttle(self, messages: int) -> None:
        """Lets the link take so many more messages and then none until the next delivery."""
        if self.agent is not None:
            self.agent.link.room = messages

    def deliver_up(self, messages: int = 1 << 30, *, works: bool = True) -> None:
        """Brings messages to the collector; ``works``: it commits and answers what it has."""
        for _ in range(min(messages, len(self.broker.up))):
            self.collector.take(*self.broker.take(self.broker.up))
        if self.agent is not None:
            self.agent.link.room = 1 << 30
        if works and self.collector.is_up:
            self.collector.work()

    def deliver_down(self, messages: int = 1 << 30) -> None:
        """Brings messages to the gateway; lost while the link is down."""
        for _ in range(min(messages, len(self.broker.down))):
            self._hand(*self.broker.take(self.broker.down))

    def _hand(self, topic_text: str, payload: bytes) -> None:
        if self.agent is not None and self.agent.link.is_up:
            link = self.agent.link
            self.agent.do(lambda: link.on_message(topic_text, payload))
            self._heard_since_us = max(self._heard_since_us, self.agent.agent.delivery.collector[0])

    def exchange(self, rounds: int = 20) -> None:
        """Lets messages go to and fro until none is on its way."""
        for _ in range(rounds):
            if not (self.broker.up or self.broker.down):
                break
            self.deliver_up()
            self.deliver_down()
            self.wait(0.02)

    def bring_again(self, place: int, *, up: bool) -> None:
        """Lets the broker bring something once more that it brought long ago."""
        old = self.broker.old_up if up else self.broker.old_down
        if old:
            (self.broker.up if up else self.broker.down).append(old[place % len(old)])

    def lose_catalogues(self) -> None:
        """Loses every catalogue that is on its way."""
        kept = [item for item in self.broker.up if parse(item[0]).channel is not Channel.CATALOGUE]
        self.broker.up.clear()
        self.broker.up.extend(kept)

    def lie(self, *, has_key: bool) -> None:
        """Brings a receipt for everything that the gateway ever sealed, with digests that are not those.

        Args:
            has_key: signed with the collector's own key, which only a defect there could do.
        """
        if self.agent is None:
            return
        chain = self.agent.agent.keeper.chain  # type: ignore[union-attr]
        for lane in [lane for lane in Lane if chain.head(lane).seq]:
            receipt = Receipt(
                gateway=ID,
                collector_epoch=self.collector.epoch,
                collector_since_us=self.collector.since_us,
                serial=self.collector.serial + 1,
                epoch=chain.epoch,
                lane=lane,
                contiguous=chain.head(lane).seq,
                digest=b"\x5a" * 32,
            )
            signer = COLLECTOR if has_key else STRANGER
            self._hand(topic(ID, Channel.RECEIPT), seal(Type.RECEIPT, receipt.to_body(), signer)[0])

    # -- the collector -------------------------------------------------------------------

    def crash_collector(self, dies: str = "") -> None:
        """Kills it: at rest, ``before`` a commit has returned, or ``after`` it and before anybody is told."""
        if self.collector.is_up:
            self.collector.work(dies=dies)
            self.collector.crash()

    def start_collector(self) -> None:
        """Starts it where it does not run."""
        self.collector.start()

    def back_up(self) -> None:
        """Copies the collector's database."""
        self._backup = self.collector.backup()

    def restore(self) -> None:
        """Goes on from the newest copy, if there is one."""
        if self._backup is None:
            return
        before = self.collector.keys()
        self.collector.restore(self._backup)
        held = self.collector.keys()
        self.lacking |= before - held
        self.lacking -= held
        self._latest.clear()
        for key in self.lacking:
            if key in self.released or key in self.file_lost or key not in self.promised:
                self.excused.setdefault(key, "only the collector had it, and it was restored")
                self.is_alarm_state_torn = self.is_alarm_state_torn or key[1] is Lane.ALARM

    # -- everything works again ----------------------------------------------------------

    def heal(self, *, limit_s: float = 4000.0) -> None:
        """Repairs everything, and lets it drain.

        Raises:
            AssertionError: it does not come to rest.
        """
        self.disk.free()
        self.disk.delay_us = 0
        self.disk.faults.clear()
        self.collector.refuses = 0
        self.collector.start()
        self.collector.work()
        if self.agent is None:
            self.start()
        assert self.agent is not None
        self.agent.link.room = 1 << 30
        self.wait(3.0)
        self.connect()
        self.sample(2)
        self.seal()
        end_us = self.clock.now_us + round(limit_s * S)
        calm = 0
        while calm < 2:
            assert self.clock.now_us < end_us, f"it does not come to rest: {self.what_waits()}"
            self.exchange()
            calm = calm + 1 if not self.what_waits() else 0
            self.wait(0.1 if calm else 5.0)
        self.look()

    def what_waits(self) -> str:
        """Returns what is not done yet, in words; empty when nothing is."""
        assert self.agent is not None
        keeper, delivery = self.agent.agent.keeper, self.agent.agent.delivery
        assert keeper is not None
        backlog = delivery.backlog()
        found = []
        if backlog.alarm_batches or backlog.data_batches:
            found.append(str(backlog))
        if keeper.state is StoreState.VOLATILE or keeper._pending or len(keeper.memory):
            found.append(f"{keeper.state}, {len(keeper._pending)} commits wait, {len(keeper.memory)} in memory")
        if self.broker.up or self.broker.down:
            found.append(f"{len(self.broker.up)} and {len(self.broker.down)} messages")
        if self.collector.rows("SELECT 1 FROM waiting LIMIT 1"):
            found.append("batches wait for their catalogue")
        return "; ".join(found)
