"""The two ends of a link for its tests: a gateway without a bus, and a collector without pages.

What keeps, sends, verifies and receipts is the real thing on real files (keeper, spool, delivery,
uplink; judge of messages, writer, store); only the readings are made up here, one tick at a time,
and every one of them is written down where no fault of the link can reach it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collector.data_dir import database, prepare, wall_us
from collector.evidence import PROJECTED, REFUSED, read_batch
from collector.ingest import decode_columns, judge_message
from collector.keys import Registry, add_gateway
from collector.store import Arrival, Store
from collector.verify import Report, verify
from collector.writer import Writer
from contracts.batch import Genesis, Lane, Origin, Statement
from contracts.catalogue import Catalogue
from contracts.columns import encode_block
from contracts.envelope import Type, decode_payload, seal, split
from contracts.keys import PublicKey, Verifier
from contracts.receipt import Receipt
from edge_agent.clock import AnchorClock, monotonic_us
from edge_agent.content import Content
from edge_agent.delivery import Delivery
from edge_agent.keeper import Keeper
from edge_agent.link import Link
from edge_agent.seal import Boot, Chain, Sealed
from edge_agent.spool_records import Commit, EpochRow
from edge_agent.spool_thread import SpoolThread
from edge_agent.uplink import Uplink
from tests.collector.gateways import Gateway
from tests.reliability.checker import Verdict, check
from tests.reliability.oracle import Fact, Kind, batch_series, reading_series, value_mark

#: (epoch, lane, seq)
Place = tuple[bytes, Lane, int]
#: (point key, monotonic us)
Moment = tuple[str, int]

RESEND_US = 300_000


@dataclass
class Written:
    """What one gateway meant to be kept; nothing that breaks reaches it."""

    readings: dict[Moment, object] = field(default_factory=dict)
    #: event id -> when it was judged (monotonic us)
    events: dict[bytes, int] = field(default_factory=dict)
    #: how many readings, also where they are not written down one by one
    count: int = 0
    #: batches that were durable here, with their digests
    stored: dict[Place, bytes] = field(default_factory=dict)


class Edge:
    """A gateway from the seal to the link."""

    uplink_class: type[Uplink] = Uplink
    #: whether every reading is written down; a test of millions counts them
    keeps_readings = True

    def __init__(
        self,
        folder: Path,
        link: Link,
        collector: PublicKey,
        *,
        seed: int = 1,
        points: int = 4,
        resend_us: int = RESEND_US,
        backlog_share: float = 0.5,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.boot = Boot(boot_id=os.urandom(16), counter=1)
        self.model = Gateway(seed=seed, points=points, boot_id=self.boot.boot_id)
        self.id, self.signer, self.catalogue = self.model.id, self.model.signer, self.model.catalogue
        self.written = Written()
        self.clock = AnchorClock()
        self.delivery = Delivery(self.id, resend_after_us=resend_us)
        self.spool = SpoolThread(folder / "spool.sqlite3")
        self._chain = self._new_chain(os.urandom(8), Genesis(version="test", reason="first", parent=None), Origin.LIVE)
        self._row = EpochRow(
            no=1, epoch=self._chain.epoch, reason="first", boot_id=self.boot.boot_id, boot_counter=1,
            started_us=monotonic_us(), started_uptime_s=0,
        )  # fmt: skip
        self.delivery.add_epoch(self._row)
        self.keeper = Keeper(
            spool=self.spool,
            delivery=self.delivery,
            chain=self._chain,
            row=self._row,
            new_chain=self._new_chain,
            monotonic=monotonic_us,
            alarm_state=lambda: None,
            uptime_s=lambda: 0,
            quota_bytes=1 << 32,
            reserve_bytes=0,
            retention_s=7 * 86_400,
        )
        document = (self.catalogue.hash, seal(Type.CATALOGUE, self.catalogue.body, self.signer)[0])
        self._document = document
        self.link = link
        self.uplink = self.uplink_class(
            link=link,
            delivery=self.delivery,
            spool=self.spool,
            signer=self.signer,
            collector_keys={collector.key_id: Verifier(collector)},
            clock=self.clock,
            monotonic=monotonic_us,
            chain=lambda: self.keeper.chain,
            statement=lambda: Statement(mono_us=monotonic_us(), events=()),
            catalogue=lambda: document,
            version="test",
            backlog_share=backlog_share,
            memory=self.keeper.memory,
        )
        self.keeper.uplink = self  # type: ignore[assignment]  # it stands between the two and takes note
        self._count = 0
        self._last_us = 0

    def _new_chain(self, epoch: bytes, genesis: Genesis, origin: Origin) -> Chain:
        return Chain(
            gateway=self.id, signer=self.signer, boot=self.boot, epoch=epoch, genesis=genesis,
            anchor=self.clock.anchor, origin=origin,
        )  # fmt: skip

    async def start(self) -> None:
        await self.spool.open()
        self.keeper.keep_catalogue(*self._document)
        self.uplink.start()

    async def stop(self) -> None:
        await self.keeper.drain()
        await self.uplink.stop()
        await self.spool.close()

    def offer(self, epoch_no: int, sealed: Sealed) -> None:
        """Is told of every batch once it is durable, as the uplink is."""
        self.written.stored[sealed.epoch, sealed.lane, sealed.seq] = sealed.digest
        self.uplink.offer(epoch_no, sealed)

    # -- what happens here -----------------------------------------------------------

    def sample(self, ticks: int = 1, *, spread_us: int = 1, at_us: int | None = None) -> Content:
        """Samples every point ``ticks`` times, the last time now, and writes it down."""
        kinds = self.catalogue.kinds[0]
        now = max(at_us or monotonic_us(), self._last_us + 1 + (ticks - 1) * spread_us)
        self._last_us = now
        times = [now - (ticks - 1 - n) * spread_us for n in range(ticks)]
        rows: list[list[int | float]] = []
        for at in times:
            self._count += 1
            # Not what compresses well: bytes on a link are to be as many as they look.
            row: list[int | float] = [
                self._count * 48_271 * (n + 1) % 1009 if kind == "int" else (self._count % 1000) / 8
                for n, kind in enumerate(kinds)
            ]
            rows.append(row)
            self.written.count += len(row)
            if self.keeps_readings:
                for point, value in zip(self.catalogue.points, row, strict=True):
                    self.written.readings[point.key, at] = value
        return Content(
            sealed_us=now,
            catalogue=self.catalogue.hash,
            blocks=[encode_block(0, kinds, now, times, rows, [None] * ticks)],
            readings=ticks * len(kinds),
            first_us=times[0],
            last_us=times[-1],
        )

    def tick(self, ticks: int = 1, *, spread_us: int = 1) -> None:
        """Samples and seals."""
        self.keeper.seal_data(self.sample(ticks, spread_us=spread_us))

    async def preload(self, batches: int, *, ticks: int = 1) -> None:
        """Puts so many data batches into the spool as an outage leaves them."""
        chain, group = self._chain, 500
        begin_us = monotonic_us() - batches * ticks
        for first in range(0, batches, group):
            sealed = []
            for n in range(first, min(batches, first + group)):
                content = self.sample(ticks, at_us=begin_us + (n + 1) * ticks)
                sealed.append(
                    chain.seal(
                        Lane.DATA,
                        sealed_us=content.sealed_us,
                        catalogue=content.catalogue,
                        blocks=content.blocks,
                        readings=content.readings,
                        first_us=content.first_us,
                        last_us=content.last_us,
                    )
                )
            await self.spool.run(
                lambda spool, sealed=sealed: spool.commit(Commit(epoch_no=1, epochs=(self._row,), batches=sealed))
            )  # type: ignore[misc]
            for item in sealed:
                self.written.stored[item.epoch, item.lane, item.seq] = item.digest
        self.delivery.sealed(1, Lane.DATA, chain.head(Lane.DATA))

    def alarm(self) -> bytes:
        """Seals one alarm event at once; returns its id."""
        at_us = self._last_us = max(monotonic_us(), self._last_us + 1)
        event = self.model.event("active", at_us)
        self.written.events[event.id] = at_us
        self.keeper.seal_alarms([event])
        return event.id

    # -- what it believes ------------------------------------------------------------

    def believed(self) -> set[Place]:
        """Returns the batches that a receipt was believed for."""
        found = set()
        for row in self.delivery.epochs():
            for lane in Lane:
                for first, last in self.delivery.delivered(row.no, lane):
                    found.update((row.epoch, lane, seq) for seq in range(first, last + 1))
        return found

    @property
    def waiting(self) -> int:
        backlog = self.delivery.backlog()
        return backlog.alarm_batches + backlog.data_batches

    async def until_receipted(self, within_s: float = 60.0) -> None:
        """Waits until every batch has its receipt."""
        await self.keeper.drain()
        await until(lambda: not self.waiting, "receipts for everything", within_s)

    async def held(self) -> set[Place]:
        """Returns the batches whose bytes lie in the spool."""
        found = set()
        for row in self.delivery.epochs():
            for lane in Lane:
                last = self.delivery.head(row.no, lane).seq
                seq = 1
                while seq <= last:
                    batches = await self.spool.run(
                        lambda spool, no=row.no, lane=lane, seq=seq, last=last: spool.read(  # type: ignore[misc]
                            no, lane, [(seq, last)], limit_bytes=1 << 24, limit_rows=4096
                        )
                    )
                    if not batches:
                        break
                    found.update((row.epoch, lane, batch.seq) for batch in batches if batch.is_whole)
                    seq = batches[-1].seq + 1
        return found


async def until(condition: Callable[[], Any], what: str, within_s: float = 30.0) -> Any:
    """Waits for what happens, not for a time."""
    end = time.monotonic() + within_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {within_s:g} s"
        await asyncio.sleep(0.01)


class Centre:
    """A collector from the message to the receipt."""

    def __init__(self, folder: Path) -> None:
        self.data = folder
        self.signer = prepare(folder)
        self.registry = Registry(folder)
        self.store = Store(database(folder), wall_us)
        self.store.open()
        self.publish: Callable[[str, bytes], object] = lambda topic, payload: None
        #: (monotonic s, receipt) in the order of signing
        self.receipts: list[tuple[float, Receipt]] = []
        self.verdicts: dict[str, int] = {}
        self._lock = threading.Lock()
        self.writer = Writer(self.store, self.signer, publish=self._send, on_change=lambda change: None, now_us=wall_us)

    def register(self, *gateways: PublicKey) -> None:
        for key in gateways:
            add_gateway(self.data, key.line(), "test", en="Test", zh="测试")
        self.registry.load()

    def start(self) -> None:
        self.writer.start()

    def stop(self) -> None:
        self.writer.stop()
        self.store.close()

    def take(self, topic: str, payload: bytes) -> None:
        """Judges one message and queues it, as the collector does on its link's thread."""
        verdict = judge_message(topic, payload, self.registry.keys)
        name = getattr(verdict, "code", type(verdict).__name__)
        with self._lock:
            self.verdicts[name] = self.verdicts.get(name, 0) + 1
        self.writer.put(Arrival(verdict=verdict, arrived_us=wall_us(), topic=topic))

    def _send(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/receipt"):
            self.receipts.append((time.monotonic(), Receipt.from_body(decode_payload(split(payload)[1]))))
        self.publish(topic, payload)

    # -- what it holds ---------------------------------------------------------------

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(f"file:{database(self.data)}?mode=ro", uri=True)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def committed(self, gateway: str) -> set[Place]:
        """Returns the batches whose bytes are here."""
        found = self._evidence(gateway, "n.epoch, e.lane, e.seq")
        return {(bytes(epoch), Lane(lane), seq) for epoch, lane, seq in found}

    def _evidence(self, gateway: str, what: str) -> list[tuple[Any, ...]]:
        return self.rows(
            f"SELECT {what} FROM evidence e JOIN epoch_name n ON n.no=e.epoch_no JOIN gateway g ON g.no=e.gateway_no"
            " WHERE g.id=? ORDER BY e.id",
            gateway,
        )

    def read(self, gateway: str, catalogue: Catalogue, *, is_whole: bool = True) -> Read:
        """Returns everything that is kept of a gateway, decoded from its evidence; without readings if not whole."""
        read = Read()
        for epoch, lane, seq, digest, state, envelope in self._evidence(
            gateway, "n.epoch, e.lane, e.seq, e.digest, e.state, e.envelope"
        ):
            read.batches.append(((bytes(epoch), Lane(lane), seq), bytes(digest)))
            if state == REFUSED:
                read.refused.append((bytes(epoch), Lane(lane), seq))
                continue
            if state != PROJECTED or not is_whole:
                continue
            batch = read_batch(envelope, lane)
            for block in decode_columns(batch, catalogue):
                for number, values in zip(catalogue.blocks[block.number].points, block.values, strict=True):
                    key = catalogue.points[number].key
                    read.readings += [((key, at), value) for at, value in zip(block.times, values, strict=True)]
        read.events = [bytes(id) for (id,) in self.rows(_EVENTS, gateway)]
        return read

    def verified(self) -> Report:
        """Runs what ``collector verify`` runs."""
        own = self.signer.public
        return verify(database(self.data), self.registry.keys, {own.key_id: Verifier(own)})


_EVENTS = "SELECT a.id FROM alarm_event a JOIN gateway g ON g.no=a.gateway_no WHERE g.id=?"


@dataclass
class Read:
    """What the collector holds, as a reader finds it."""

    batches: list[tuple[Place, bytes]] = field(default_factory=list)
    readings: list[tuple[Moment, object]] = field(default_factory=list)
    #: as the projection has them: an event that came in two batches is one
    events: list[bytes] = field(default_factory=list)
    refused: list[Place] = field(default_factory=list)


def judge(edge: Edge, read: Read) -> Verdict:
    """Returns the checker's five numbers for one gateway; everything that it sealed counts as promised."""
    return check(_facts(edge, read))


def _facts(edge: Edge, read: Read) -> Iterator[Fact]:
    for (epoch, lane, seq), digest in edge.written.stored.items():
        chain = batch_series(edge.id, epoch, lane)
        yield Fact(Kind.ATTEMPT, chain, seq, seq, digest.hex())
        yield Fact(Kind.STORED, chain, seq, seq, digest.hex())
    for epoch, lane, seq in edge.believed():
        yield Fact(Kind.ACKED, batch_series(edge.id, epoch, lane), seq, seq)
    for (point, at_us), value in edge.written.readings.items():
        series = reading_series(edge.id, edge.boot.boot_id, point)
        yield Fact(Kind.ATTEMPT, series, at_us, at_us, value_mark(value, 0))
        yield Fact(Kind.EXPECT, series, at_us, at_us)
    for id in edge.written.events:
        yield _event(Kind.ATTEMPT, edge, id)
        yield _event(Kind.STORED, edge, id)
    yield Fact(Kind.READING, "", 0, 0)
    for (epoch, lane, seq), digest in read.batches:
        yield Fact(Kind.READ, batch_series(edge.id, epoch, lane), seq, seq, digest.hex())
    for (point, at_us), value in read.readings:
        yield Fact(Kind.READ, reading_series(edge.id, edge.boot.boot_id, point), at_us, at_us, value_mark(value, 0))
    for id in read.events:
        yield _event(Kind.READ, edge, id)


def _event(kind: Kind, edge: Edge, id: bytes) -> Fact:
    number = int.from_bytes(id[:8], "big")
    return Fact(kind, f"event/{edge.id}", number, number, id.hex())
