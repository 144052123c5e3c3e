"""A full spool thins quiet data first; every sample that goes is signed for, and a collector can prove it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collector.database import FILE_NAME, upgrade
from collector.ingest import judge_message
from collector.keys import Registry, add_gateway, load_signer
from collector.rebuild import rebuild
from collector.store import Arrival, CommitResult, Store
from collector.verify import Report, verify
from contracts.batch import Head, Lane, Note, Origin
from contracts.keys import Verifier
from contracts.topics import Channel, topic
from edge_agent.content import Content
from edge_agent.keeper import Keeper
from edge_agent.ranges import Ranges
from edge_agent.spool import Spool
from edge_agent.spool_records import EpochRow, batch_id
from edge_agent.spool_thread import connect_file
from tests.edge_agent.chains import BOOT, SIGNER, new_chain
from tests.edge_agent.quiet_site import CATALOGUE, CATALOGUE_ENVELOPE, S, Samples, content, opened, samples_of
from tests.edge_agent.test_keeper import Bench

GATEWAY = SIGNER.public.gateway_id
#: UTC of monotonic 0, as the chain's anchors say
UTC = 1_800_000_000_000_000
MINUTE = 60 * S


class Outage:
    """A gateway without a link, whose spool holds less than it seals."""

    def __init__(self, path: Path, *, room: int = 60_000) -> None:
        self.bench = Bench(path)
        self.keeper: Keeper = self.bench.keeper
        self.keeper.keep_catalogue(CATALOGUE.hash, CATALOGUE_ENVELOPE)
        self.room = room
        #: every sample that was sealed, and those of each original batch
        self.samples: Samples = {}
        self.batches: dict[int, Samples] = {}
        self.alarms: list[int] = []

    async def begin(self) -> None:
        """Learns what an empty spool takes, and sets the quota above it."""
        await self.bench.calm()
        self.keeper.room._quota = self.bench.store.used_bytes + self.room

    async def seal(self, seconds: int = 5, **more: Any) -> int:
        self.bench.clock.pass_s(seconds)
        what = replace(content(self.bench.clock(), seconds), **more)
        self.keeper.seal_data(what)
        seq = self.bench.delivery.head(1, Lane.DATA).seq
        await self.bench.calm()
        sealed = next(item for _, item in reversed(self.bench.uplink.offered) if item.seq == seq)
        self.batches[seq] = samples_of(opened(sealed.envelope))
        self.samples |= self.batches[seq]
        return seq

    async def alarm(self) -> None:
        self.alarms.append(self.bench.clock())
        self.keeper.seal_alarms([self.bench.event(len(self.alarms))])
        await self.bench.calm()

    # -- what is there ---------------------------------------------------------------

    def kept(self, lane: Lane = Lane.DATA) -> dict[int, bytes]:
        head = self.bench.delivery.head(1, lane).seq
        rows = self.bench.store.spool.read(1, lane, [(1, head)], limit_bytes=1 << 30, limit_rows=100_000)
        return {row.seq: row.envelope for row in rows}

    def origins(self) -> dict[int, Origin]:
        return {seq: opened(envelope).header.origin for seq, envelope in self.kept().items()}

    def check(self) -> None:
        """Every seq is here or signed for by a batch that is here; samples near alarms are all here."""
        kept = {seq: opened(envelope) for seq, envelope in self.kept().items()}
        signed = Ranges()
        for batch in kept.values():
            for loss in batch.losses:
                signed.add(loss.first, loss.last)
                assert (loss.cause == "thinned") == (loss.thinned_into is not None)
                if loss.thinned_into is not None:
                    assert loss.thinned_into == (b"epoch--1", batch.header.seq)
        here = Ranges((seq, seq) for seq in kept)
        head = self.bench.delivery.head(1, Lane.DATA).seq
        assert not any(seq in signed for seq in kept)
        assert list(Ranges([*signed, *here])) == [(1, head)]
        found: Samples = {}
        for batch in kept.values():
            found |= samples_of(batch)
        assert found.items() <= self.samples.items(), "nothing is made up"
        for seq, samples in self.batches.items():
            if any(abs(time - at) <= MINUTE for _, _, time in samples for at in self.alarms):
                assert seq in kept, f"batch {seq} lies near an alarm"


@pytest.fixture
async def outage(tmp_path: Path) -> Outage:
    made = Outage(tmp_path / "spool.db")
    await made.begin()
    return made


async def test_quiet_data_are_thinned_before_any_go(outage: Outage) -> None:
    for _ in range(200):
        await outage.seal()
    counts = outage.keeper.counts
    assert counts["thinned_batches"] > 50
    assert counts["lost_batches"] == counts["lost_readings"] == 0
    assert outage.bench.store.used_bytes <= outage.keeper.room._quota + 4096
    outage.check()
    origins = outage.origins()
    thinned = [seq for seq, origin in origins.items() if origin is Origin.THINNED]
    assert thinned
    assert origins[1] is Origin.LIVE, "batch 1 says where the epoch comes from"
    assert max(outage.batches) in origins, "the newest are whole"
    assert counts["readings"] == 200 * 20, "a sample is not sealed twice by being kept"
    batch = opened(outage.kept()[thinned[0]])
    assert batch.notes[-1].kind == "thinned"
    (loss,) = batch.losses
    assert loss.readings == sum(len(outage.batches[seq]) for seq in range(loss.first, loss.last + 1))
    assert batch.header.readings < loss.readings / 4


async def test_thinned_data_are_not_thinned_again_and_go_oldest_first(tmp_path: Path) -> None:
    outage = Outage(tmp_path / "spool.db", room=26_000)
    await outage.begin()
    for _ in range(700):
        await outage.seal()
    counts = outage.keeper.counts
    assert counts["thinned_batches"] > 0
    assert counts["lost_batches"] > 0
    outage.check()
    kept = {seq: opened(envelope) for seq, envelope in outage.kept().items()}
    made_by_thinning = {
        item.seq
        for _, item in outage.bench.uplink.offered
        if item.lane is Lane.DATA and opened(item.envelope).header.origin is Origin.THINNED
    }
    for batch in kept.values():
        for loss in batch.losses:
            if loss.thinned_into is not None:
                assert made_by_thinning.isdisjoint(range(loss.first, loss.last + 1)), "none is thinned twice"
    assert sum(len(batch.losses) for batch in kept.values() if not batch.blocks) < 20, (
        "records of neighbours are joined"
    )
    thinned = [batch for batch in kept.values() if batch.header.origin is Origin.THINNED]
    oldest = [min(time for _, _, time in samples_of(batch)) for batch in thinned]
    assert oldest == sorted(oldest)
    assert min(oldest) > min(time for _, _, time in outage.samples) + 5 * MINUTE, "the oldest thinned data went"


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_every_hole_is_signed_and_alarms_keep_what_is_around_them(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    outage = Outage(tmp_path / "spool.db", room=draw.choice([110_000, 130_000]))
    await outage.begin()
    for number in range(250):
        await outage.seal(draw.choice([2, 5, 10]))
        if draw.random() < 0.02:
            await outage.alarm()
        if draw.random() < 0.05:
            note = Note(mono_us=0, kind="test", text=str(number))
            outage.keeper.seal_data(Content(sealed_us=outage.bench.clock(), notes=[note]))
            await outage.bench.calm()
        if draw.random() < 0.03:
            newest = (1, Lane.DATA, max(outage.batches))
            outage.bench.delivery.launched(newest, 300, outage.bench.clock(), is_backlog=False)
        if draw.random() < 0.02:
            outage.bench.delivery.forget_flight()
    outage.check()
    assert outage.keeper.counts["thinned_batches"] > 0


async def test_an_alarm_that_comes_within_a_minute_finds_its_data_whole(outage: Outage) -> None:
    for _ in range(150):
        await outage.seal()
    await outage.alarm()
    for _ in range(150):
        await outage.seal()
    assert outage.keeper.counts["thinned_batches"] > 100
    outage.check()


async def test_a_receipted_alarm_still_tells_what_is_near_it(outage: Outage) -> None:
    for _ in range(30):
        await outage.seal()
    await outage.alarm()
    outage.bench.delivery._deliver((1, Lane.ALARM), [(1, 1)])
    for _ in range(170):
        await outage.seal()
    assert outage.keeper.counts["thinned_batches"] > 50
    outage.check()


async def test_what_is_sent_meanwhile_is_left_alone(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    find = outage.keeper.room._quiet.find

    async def and_a_receipt_comes(*args: object, **more: object) -> object:
        found = await find(*args, **more)  # type: ignore[arg-type]
        if found is not None and not outage.bench.delivery.is_delivered((1, Lane.DATA, 3)):
            outage.bench.delivery._deliver((1, Lane.DATA), [(1, 20)])
        return found

    monkeypatch.setattr(outage.keeper.room._quiet, "find", and_a_receipt_comes)
    for _ in range(200):
        await outage.seal()
    assert outage.keeper.counts["thinned_batches"] > 0
    lost = outage.bench.store.spool.inventory().lanes[1, Lane.DATA].lost
    assert not any(seq in lost for seq in range(1, 21)), "they are delivered"


async def test_an_epoch_may_begin_while_the_store_is_asked(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    room = outage.keeper.room
    ask = room._around_alarms
    for _ in range(3):
        await outage.seal()

    async def and_the_store_stalls(rows: Sequence[EpochRow]) -> Any:
        found = await ask(rows)
        delivery = outage.bench.delivery
        if not delivery.has_epoch(99):
            delivery.add_epoch(replace(delivery.epochs()[0], no=99, epoch=bytes(8), is_volatile=True))
            delivery.sealed(99, Lane.DATA, Head(seq=1, digest=b"h" * 32))
        return found

    monkeypatch.setattr(room, "_around_alarms", and_the_store_stalls)
    assert not await room.thin()


async def test_the_records_in_a_damaged_thinned_batch_are_signed_again(outage: Outage) -> None:
    for _ in range(200):
        await outage.seal()
    origins = outage.origins()
    seq = next(seq for seq, origin in origins.items() if origin is Origin.THINNED)
    (before,) = opened(outage.kept()[seq]).losses
    spool = outage.bench.store.spool
    row = batch_id(1, Lane.DATA, seq)
    spool._open.execute("UPDATE batch SET envelope=zeroblob(length(envelope)) WHERE id=?", (row,))
    outage.keeper.damaged(1, spool.read(1, Lane.DATA, [(seq, seq)], limit_bytes=1)[0])
    await asyncio.gather(*outage.keeper._signing)
    await outage.bench.calm()
    kept = outage.kept()
    losses = [loss for at, envelope in kept.items() if at > max(origins) for loss in opened(envelope).losses]
    found = {(loss.first, loss.last, loss.cause, loss.thinned_into) for loss in losses}
    assert (seq, seq, "damaged", None) in found
    assert (before.first, before.last, "damaged", None) in found, "its thinned form is lost too"
    assert seq in kept, "the damaged row stays"


@pytest.mark.parametrize("boot_id", [BOOT.boot_id, b"the boot before!"], ids=["same boot", "other boot"])
async def test_what_an_agent_of_this_boot_sealed_before_its_restart_is_thinned_too(
    outage: Outage, boot_id: bytes
) -> None:
    for _ in range(60):
        await outage.seal()
    durable = outage.keeper._durable
    row = replace(durable.row, no=2, epoch=b"epoch--2", started_us=outage.bench.clock())
    outage.bench.delivery._rows[1] = replace(durable.row, boot_id=boot_id)
    outage.bench.delivery.add_epoch(row)
    outage.keeper._durable = replace(durable, chain=new_chain(outage.bench.clock, b"epoch--2"), row=row)
    for _ in range(140):
        outage.bench.clock.pass_s(5)
        outage.keeper.seal_data(content(outage.bench.clock(), 5))
        await outage.bench.calm()
    view = outage.bench.store.spool.inventory().lanes
    assert outage.keeper.counts["thinned_batches"] > 50
    if boot_id == BOOT.boot_id:
        assert view[1, Lane.DATA].lost.total >= 50
        rows = outage.bench.store.spool.read(2, Lane.DATA, [(1, 200)], limit_bytes=1 << 30, limit_rows=1000)
        losses = [loss for row in rows for loss in opened(row.envelope).losses if loss.epoch == b"epoch--1"]
        assert Ranges((loss.first, loss.last) for loss in losses) == view[1, Lane.DATA].lost
    else:
        assert view[1, Lane.DATA].lost.total == 0, "its times are of another clock"


async def test_old_catalogues_go_when_no_batch_uses_them(outage: Outage) -> None:
    spool = outage.bench.store.spool
    outage.keeper.room._catalogues._rest_s = 0
    await outage.seal()
    outage.keeper.keep_catalogue(b"\x02" * 32, b"two")
    await outage.seal(catalogue=b"\x02" * 32)
    outage.keeper.keep_catalogue(b"\x03" * 32, b"three")
    await outage.bench.calm()
    await outage.keeper.room.tend()
    assert set(spool.catalogues()) == {CATALOGUE.hash, b"\x02" * 32, b"\x03" * 32}, "used, used, and the present one"
    outage.bench.delivery._deliver((1, Lane.DATA), [(1, 1)])
    await outage.keeper.room.tend()
    assert len(spool.catalogues()) == 3, "receipted history uses it too"
    spool.release(1, Lane.DATA, 1, 1)
    assert await outage.keeper.room._catalogues.prune() == 1
    assert set(spool.catalogues()) == {b"\x02" * 32, b"\x03" * 32}
    outage.keeper.keep_catalogue(CATALOGUE.hash, CATALOGUE_ENVELOPE)
    await outage.seal()
    assert await outage.keeper.room._catalogues.prune() == 1, "3 was never used; 2 has a user"
    assert set(spool.catalogues()) == {b"\x02" * 32, CATALOGUE.hash}


# -- into a real collector -----------------------------------------------------------


class Centre:
    """A real collector store that takes what the spool holds."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        upgrade(folder / FILE_NAME, UTC)
        self.signer = load_signer(folder, create=True)
        add_gateway(folder, SIGNER.public.line(), "test", en="Test", zh="测试")
        self.keys = {SIGNER.key_id: Verifier(SIGNER.public)}
        self.now_us = UTC + 10_000 * S
        self.store = Store(folder / FILE_NAME, lambda: self.now_us)
        self.store.open()

    def send(self, channel: Channel, envelopes: Sequence[bytes]) -> CommitResult:
        where = topic(GATEWAY, channel)
        self.now_us += S
        return self.store.commit(
            [
                Arrival(
                    verdict=judge_message(where, envelope, lambda name: self.keys),
                    arrived_us=self.now_us,
                    topic=where,
                )
                for envelope in envelopes
            ]
        )

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = self.store.run(lambda db: db.execute(sql).fetchall())
        return found

    def verify(self) -> Report:
        own = {self.signer.key_id: Verifier(self.signer.public)}
        return verify(self.folder / FILE_NAME, Registry(self.folder).keys, own)

    def rebuild(self) -> None:
        own = {self.signer.key_id: Verifier(self.signer.public)}
        self.store.close()
        rebuild(self.folder / FILE_NAME, Registry(self.folder).keys, own)
        self.store.open()


_ROLLUPS = "SELECT * FROM rollup ORDER BY point_no, minute"
_LATEST = "SELECT * FROM latest ORDER BY key"


async def test_an_outage_drains_into_a_collector_that_verifies(outage: Outage, tmp_path: Path) -> None:
    for number in range(200):
        await outage.seal()
        if number == 90:
            await outage.alarm()
    centre = Centre(tmp_path / "collector")
    centre.send(Channel.CATALOGUE, [CATALOGUE_ENVELOPE])
    centre.send(Channel.ALARM, list(outage.kept(Lane.ALARM).values()))
    kept = outage.kept()
    newest = max(kept)
    centre.send(Channel.DATA, [kept[newest]])
    for seq in sorted(kept):
        result = centre.send(Channel.DATA, [kept[seq]])
    (receipt,) = [item for item in result.receipts if item.lane is Lane.DATA]
    assert (receipt.contiguous, receipt.also) == (newest, ())
    report = centre.verify()
    assert report.is_true, (report.false_rows, report.wrong_facts, report.damaged)
    assert report.notes == [], "nothing is missing"
    assert centre.rows("SELECT forks, breaks FROM chain WHERE lane=1") == [("[]", "[]")]
    before = centre.rows(_ROLLUPS), centre.rows(_LATEST)
    centre.rebuild()
    assert (centre.rows(_ROLLUPS), centre.rows(_LATEST)) == before

    whole = sum(
        len(outage.batches[seq]) for seq, origin in outage.origins().items() if origin is Origin.LIVE and
        seq in outage.batches
    )  # fmt: skip
    assert centre.rows("SELECT sum(count+without) FROM rollup") == [(whole,)], "thinned ticks were not counted"
    lows = {
        (number, minute): (low, high, last)
        for number, minute, low, high, last in centre.rows("SELECT point_no, minute, low, high, last FROM rollup")
    }
    point_of = {(0, 0): 0, (0, 1): 1, (0, 2): 2, (1, 0): 3}
    nos = {key: no for no, key in centre.rows("SELECT no, key FROM point")}
    minutes: dict[tuple[object, int], list[tuple[int, float]]] = {}
    for (block, point, time), (value, _) in outage.samples.items():
        if value is not None:
            key = CATALOGUE.points[point_of[block, point]].key
            minutes.setdefault((nos[key], (time + UTC) // MINUTE), []).append((time, value))
    for where, items in minutes.items():
        numbers = [value for _, value in items]
        assert lows[where] == (min(numbers), max(numbers), max(items)[1])


async def test_originals_that_had_arrived_count_once_in_any_order(outage: Outage, tmp_path: Path) -> None:
    for _ in range(200):
        await outage.seal()
    originals = {
        item.seq: item.envelope
        for _, item in outage.bench.uplink.offered
        if item.lane is Lane.DATA and item.seq in outage.batches
    }
    kept = outage.kept()
    arrived = {seq: originals[seq] for seq in sorted(originals)[::3]}
    orders = (
        [*arrived.values(), *kept.values()],
        [*kept.values(), *arrived.values()],
        random.Random(1).sample([*kept.values(), *arrived.values()], len(kept) + len(arrived)),
    )
    dumps = []
    for number, order in enumerate(orders):
        centre = Centre(tmp_path / f"collector-{number}")
        centre.send(Channel.CATALOGUE, [CATALOGUE_ENVELOPE])
        for start in range(0, len(order), 17):
            centre.send(Channel.DATA, order[start : start + 17])
        report = centre.verify()
        assert report.is_true, (report.false_rows, report.wrong_facts, report.damaged)
        assert report.notes == []
        rows = "SELECT point_no, minute, count, without, low, high, last, last_us, worst FROM rollup ORDER BY 1, 2"
        dumps.append((centre.rows(rows), centre.rows(_LATEST), centre.rows("SELECT ranges FROM chain")))
        own = sum(
            len(outage.batches[seq])
            for seq in originals
            if seq in arrived or (seq in kept and opened(kept[seq]).header.origin is Origin.LIVE)
        )
        assert centre.rows("SELECT sum(count+without) FROM rollup") == [(own,)]
        centre.store.close()
    assert dumps[0] == dumps[1] == dumps[2]


# -- killed in the middle ------------------------------------------------------------

_WRITER = """
import asyncio, os, sys
from pathlib import Path
from typing import Any
from tests.edge_agent.test_thinning import Outage

async def run():
    outage = Outage(Path(sys.argv[1]), room=60_000)
    await outage.begin()
    while True:
        await outage.seal(5)
        os.write(1, b"%d %d\\n" % (max(outage.batches), outage.keeper.counts["thinned_batches"]))

asyncio.run(run())
"""


@pytest.mark.parametrize("more", [1, *(pytest.param(more, marks=pytest.mark.ci) for more in (2, 3))])
def test_killed_while_it_thins_every_batch_is_here_or_signed_for(tmp_path: Path, more: int) -> None:
    root = Path(__file__).resolve().parents[2]
    path = tmp_path / "spool.db"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_WRITER), str(path)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    last, seen = 0, 0
    while seen < more:
        line = process.stdout.readline().split()
        assert line, "it ended by itself"
        seen += int(line[1]) > last
        last = int(line[1])
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    spool = Spool(connect_file(path))
    view = spool.open().lanes[1, Lane.DATA]
    assert spool.check() == "ok"
    rows = spool.read(1, Lane.DATA, [(1, view.head.seq)], limit_bytes=1 << 30, limit_rows=100_000)
    assert all(row.is_whole for row in rows)
    signed = Ranges()
    for row in rows:
        for loss in opened(row.envelope).losses:
            assert loss.thinned_into == (b"epoch--1", row.seq)
            signed.add(loss.first, loss.last)
    assert signed == view.lost
    assert list(Ranges([*signed, *((row.seq, row.seq) for row in rows)])) == [(1, view.head.seq)]
    assert not any(row.seq in signed for row in rows)
    spool.close()
