"""The uplink on a link that the test holds in its hands, with a real spool."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.batch import Lane, Origin, Statement, decode_batch
from contracts.envelope import Type, open_envelope, seal
from contracts.keys import Signer, Verifier
from contracts.messages import Ask, Time
from contracts.receipt import Receipt
from contracts.topics import TYPES, Channel, parse, topic
from edge_agent import uplink as uplink_module
from edge_agent.clock import AnchorClock
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.seal import Sealed
from edge_agent.spool import Commit, EpochRow, Spool, StoredBatch
from edge_agent.spool_thread import SpoolThread
from edge_agent.uplink import Uplink
from edge_agent.volatile import VolatileBatches
from edge_agent.window import Window
from tests.edge_agent.chains import BOOT, SIGNER, Clock, alarm_event, new_chain, seal_data

GATEWAY = SIGNER.public.gateway_id
COLLECTOR = Signer.from_seed(b"c" * 32)
STRANGER = Signer.from_seed(b"s" * 32)


class HeldLink:
    """A link that keeps what is published; the test brings it up and down and speaks on it."""

    def __init__(self) -> None:
        self.on_up: Callable[[], None] = lambda: None
        self.on_down: Callable[[str], None] = lambda reason: None
        self.on_message: Callable[[str, bytes], None] = lambda topic, payload: None
        self.is_up = False
        self.is_full = False
        self.sent: list[tuple[Channel, bytes]] = []
        self.retained: list[bool] = []

    def start(self) -> None:
        pass

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        if not self.is_up or self.is_full:
            return False
        self.sent.append((parse(topic).channel, payload))
        self.retained.append(retain)
        return True

    async def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        self.is_up = False

    def up(self) -> None:
        self.is_up = True
        self.on_up()

    def down(self) -> None:
        self.is_up = False
        self.on_down("cut by the test")


class Bench:
    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.link = HeldLink()
        self.spool = SpoolThread(path / "spool.db")
        self.delivery = Delivery(GATEWAY)
        self.chain = new_chain(self.clock)
        self.anchor_clock = AnchorClock(monotonic=self.clock, discipline=lambda: (False, None))
        self.uplink = Uplink(
            link=self.link,
            delivery=self.delivery,
            spool=self.spool,
            signer=SIGNER,
            collector_keys={COLLECTOR.key_id: Verifier(COLLECTOR.public)},
            clock=self.anchor_clock,
            monotonic=self.clock,
            chain=lambda: self.chain,
            statement=lambda: Statement(mono_us=self.clock(), events=()),
            catalogue=lambda: (b"\xca" * 32, b"the catalogue"),
            version="test",
            backlog_share=0.5,
            memory=VolatileBatches(),
        )

    async def open(self) -> None:
        await self.spool.open()
        row = EpochRow(
            no=1,
            epoch=self.chain.epoch,
            reason="first",
            boot_id=BOOT.boot_id,
            boot_counter=BOOT.counter,
            started_us=0,
            started_uptime_s=0,
        )
        self.delivery.add_epoch(row)
        await self.spool.run(lambda spool: spool.begin_epoch(row))
        self.uplink.start()

    async def seal(self, lane: Lane = Lane.DATA) -> Sealed:
        self.clock.pass_s(2)
        if lane is Lane.DATA:
            sealed = seal_data(self.chain, self.clock)
        else:
            sealed = self.chain.seal(Lane.ALARM, sealed_us=self.clock())
        self.delivery.sealed(1, lane, self.chain.head(lane))
        await self.spool.run(lambda spool: spool.commit(Commit(epoch_no=1, batches=[sealed])))
        self.uplink.offer(1, sealed)
        return sealed

    async def settle(self) -> None:
        for _ in range(20):
            await self.spool.run(lambda spool: None)
            await asyncio.sleep(0)

    def batches(self) -> list[tuple[Lane, int]]:
        found = []
        for channel, payload in self.link.sent:
            if channel in (Channel.ALARM, Channel.DATA):
                body = open_envelope(payload, TYPES[channel], {SIGNER.key_id: Verifier(SIGNER.public)}).body
                header = decode_batch(body, TYPES[channel]).header
                found.append((header.lane, header.seq))
        return found

    def receipt(
        self, sealed: Sealed, *, serial: int = 1, digest: bytes | None = None, wanted: tuple[bytes, ...] = ()
    ) -> Receipt:
        return Receipt(
            gateway=GATEWAY,
            collector_epoch=b"collect1",
            collector_since_us=1,
            serial=serial,
            epoch=self.chain.epoch,
            lane=sealed.lane,
            contiguous=sealed.seq,
            digest=digest or sealed.digest,
            wanted=wanted,
        )

    async def hear(self, receipt: Receipt, signer: Signer = COLLECTOR) -> None:
        envelope, _ = seal(Type.RECEIPT, receipt.to_body(), signer)
        self.link.on_message(topic(GATEWAY, Channel.RECEIPT), envelope)
        await self.settle()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    await bench.open()
    yield bench
    await bench.uplink.stop()
    await bench.spool.close()


async def test_after_an_outage_alarms_come_first_then_now_then_history(bench: Bench) -> None:
    for _ in range(3):
        await bench.seal()
    await bench.seal(Lane.ALARM)
    await bench.seal()
    bench.link.up()
    await bench.settle()
    assert [channel for channel, _ in bench.link.sent][:3] == [Channel.STATUS, Channel.ASK, Channel.CATALOGUE]
    assert bench.batches() == [(Lane.ALARM, 1), (Lane.DATA, 4), (Lane.DATA, 1), (Lane.DATA, 2), (Lane.DATA, 3)]


async def test_what_is_sealed_while_the_link_is_up_goes_at_once_and_once(bench: Bench) -> None:
    bench.link.up()
    await bench.settle()
    await bench.seal()
    assert bench.batches() == [(Lane.DATA, 1)]
    await bench.settle()
    assert bench.batches() == [(Lane.DATA, 1)]


async def test_without_a_receipt_everything_is_sent_again_after_a_reconnect(bench: Bench) -> None:
    bench.link.up()
    sealed = await bench.seal()
    await bench.settle()
    bench.link.down()
    bench.link.up()
    await bench.settle()
    assert bench.batches() == [(Lane.DATA, 1), (Lane.DATA, 1)]
    await bench.hear(bench.receipt(sealed))
    bench.link.down()
    bench.link.up()
    await bench.settle()
    assert len(bench.batches()) == 2


async def test_a_receipt_with_another_digest_releases_nothing(bench: Bench) -> None:
    bench.link.up()
    first = await bench.seal()
    await bench.seal()
    await bench.hear(bench.receipt(first, digest=b"\x13" * 32))
    assert bench.delivery.backlog().data_batches == 2
    assert bench.uplink.counts["receipts_ignored"] == 1


async def test_a_receipt_by_a_stranger_releases_nothing(bench: Bench) -> None:
    bench.link.up()
    sealed = await bench.seal()
    await bench.hear(bench.receipt(sealed), STRANGER)
    assert bench.delivery.backlog().data_batches == 1
    await bench.hear(bench.receipt(sealed))
    assert bench.delivery.backlog().data_batches == 0


async def test_a_wanted_catalogue_is_sent_again(bench: Bench) -> None:
    hash = b"\x77" * 32
    await bench.spool.run(lambda spool: spool.commit(Commit(epoch_no=1, catalogue=(hash, b"an older catalogue"))))
    bench.link.up()
    sealed = await bench.seal()
    await bench.hear(bench.receipt(sealed, wanted=(hash,)))
    assert (Channel.CATALOGUE, b"an older catalogue") in bench.link.sent


async def test_history_keeps_to_its_share_and_goes_on_with_each_receipt(bench: Bench) -> None:
    sealed = [await bench.seal() for _ in range(40)]
    bench.delivery._window = Window(8 * len(sealed[0].envelope))
    bench.link.up()
    await bench.settle()
    first_round = len(bench.batches())
    assert first_round < 12
    await bench.hear(bench.receipt(sealed[3]))
    assert len(bench.batches()) > first_round


async def test_the_collectors_time_counts_only_against_the_nonce_of_the_ask(bench: Bench) -> None:
    bench.link.up()
    asked = next(payload for channel, payload in bench.link.sent if channel is Channel.ASK)
    ask = Ask.from_body(open_envelope(asked, Type.ASK, {SIGNER.key_id: Verifier(SIGNER.public)}).body)
    bench.clock.pass_s(0.05)

    def answer(nonce: bytes) -> None:
        time = Time(gateway=GATEWAY, nonce=nonce, wall_us=1_900_000_000_000_000)
        bench.link.on_message(topic(GATEWAY, Channel.TIME), seal(Type.TIME, time.to_body(), COLLECTOR)[0])

    answer(b"\x00" * 16)
    assert bench.anchor_clock.anchor().state.value != "collector"
    answer(ask.nonce)
    anchor = bench.anchor_clock.anchor()
    assert anchor.state.value == "collector"
    assert anchor.wall_us == 1_900_000_000_000_000 + 25_000
    answer(ask.nonce)
    assert bench.uplink.counts["receipts_ignored"] == 2, "a nonce answers once"


async def test_a_restored_collector_is_given_everything_again(bench: Bench) -> None:
    bench.link.up()
    sealed = [await bench.seal() for _ in range(4)]
    await bench.hear(bench.receipt(sealed[3]))
    assert bench.delivery.backlog().data_batches == 0
    restored = bench.receipt(sealed[1])
    restored = Receipt(
        gateway=GATEWAY,
        collector_epoch=b"collect2",
        collector_since_us=2,
        serial=1,
        epoch=restored.epoch,
        lane=Lane.DATA,
        contiguous=2,
        digest=sealed[1].digest,
    )
    before = len(bench.batches())
    await bench.hear(restored)
    assert bench.batches()[before:] == [(Lane.DATA, 3), (Lane.DATA, 4)]
    assert [channel for channel, _ in bench.link.sent].count(Channel.ASK) == 2


async def test_the_birth_is_retained_so_that_the_last_will_is_not_the_last_word(bench: Bench) -> None:
    bench.link.up()
    assert bench.link.sent[0][0] is Channel.STATUS
    assert bench.link.retained[0]
    assert not any(bench.link.retained[1:])


async def test_what_happens_while_a_piece_is_read_is_not_slept_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.link.up()
    await bench.settle()
    rounds = 0

    async def pump() -> bool:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            # A receipt makes room while the disk answers the last question of this round.
            bench.uplink._wake.set()
        return False

    monkeypatch.setattr(bench.uplink, "_pump_once", pump)
    bench.uplink._wake.set()
    await bench.settle()
    assert rounds == 2


async def test_a_link_that_takes_no_more_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplink_module, "_TRY_AGAIN_S", 0.01)
    bench.link.up()
    await bench.settle()
    bench.link.is_full = True
    await bench.seal()
    await bench.settle()
    assert bench.batches() == []
    bench.link.is_full = False
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if bench.batches():
            break
    assert bench.batches() == [(Lane.DATA, 1)]


async def test_a_store_that_fails_while_history_is_read_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "_TRY_AGAIN_S", 0.01)
    for _ in range(3):
        await bench.seal()
    reading = bench.spool.run

    async def fail(work: Callable[[Spool], Any]) -> Any:
        raise SpoolError("no answer")

    bench.spool.run = fail  # type: ignore[method-assign, assignment]
    bench.link.up()
    await asyncio.sleep(0.05)
    assert bench.batches() == []
    bench.spool.run = reading  # type: ignore[method-assign]
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if len(bench.batches()) == 3:
            break
    assert len(bench.batches()) == 3


async def test_a_store_that_does_not_answer_holds_up_nothing_that_memory_has(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only disk with history on it: what was sealed in memory and has no receipt was never sent again."""
    monkeypatch.setattr(uplink_module, "_TRY_AGAIN_S", 0.01)
    for lane in Lane:
        await bench.seal(lane)
    bench.chain = new_chain(bench.clock, b"volatile", Origin.VOLATILE)
    row = EpochRow(
        no=2, epoch=bench.chain.epoch, reason="volatile", boot_id=BOOT.boot_id, boot_counter=BOOT.counter,
        started_us=0, started_uptime_s=0,
    )  # fmt: skip
    bench.delivery.add_epoch(row)
    for lane in (*Lane, *Lane):
        sealed = (
            seal_data(bench.chain, bench.clock)
            if lane is Lane.DATA
            else bench.chain.seal(lane, sealed_us=bench.clock())
        )
        bench.delivery.sealed(2, lane, bench.chain.head(lane))
        bench.uplink._in_memory.add(2, sealed)

    async def fail(work: Callable[[Spool], Any]) -> Any:
        raise SpoolError("no answer")

    monkeypatch.setattr(bench.spool, "run", fail)
    bench.link.up()
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if len(bench.batches()) == 4:
            break
    assert sorted(bench.batches()) == sorted([(lane, seq) for lane in Lane for seq in (1, 2)])
    monkeypatch.undo()


async def test_a_defect_while_sending_does_not_end_sending(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uplink_module, "_TRY_AGAIN_S", 0.01)
    await bench.seal()
    to_send = bench.delivery.to_send

    def fail(lane: Lane) -> list[tuple[int, list[tuple[int, int]]]]:
        bench.delivery.to_send = to_send  # type: ignore[method-assign]
        raise TypeError("a defect")

    bench.delivery.to_send = fail  # type: ignore[method-assign]
    bench.link.up()
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if bench.batches():
            break
    assert bench.batches() == [(Lane.DATA, 1)]
    assert "a defect" in caplog.text


async def test_batches_in_memory_keep_to_the_window_too(bench: Bench) -> None:
    memory = bench.uplink._in_memory
    for _ in range(200):
        bench.clock.pass_s(2)
        sealed = seal_data(bench.chain, bench.clock)
        bench.delivery.sealed(1, Lane.DATA, bench.chain.head(Lane.DATA))
        memory.add(1, sealed)
    bench.delivery._window = Window(20 * len(sealed.envelope))
    bench.link.up()
    await bench.settle()
    sent = bench.batches()
    assert sent[0] == (Lane.DATA, 200)
    assert 5 < len(sent) < 25


async def test_what_a_receipt_covers_leaves_memory_and_is_never_looked_for_again(bench: Bench) -> None:
    memory = bench.uplink._in_memory
    for _ in range(3):
        sealed = seal_data(bench.chain, bench.clock)
        bench.delivery.sealed(1, Lane.DATA, bench.chain.head(Lane.DATA))
        memory.add(1, sealed)
    bench.link.up()
    await bench.hear(bench.receipt(sealed))
    assert not len(memory)
    assert bench.delivery.waiting(1, Lane.DATA) == []
    bench.delivery.distrust()
    assert bench.delivery.waiting(1, Lane.DATA) == [], "nobody has them any more"


async def test_a_digest_that_nobody_knows_any_more_releases_nothing(bench: Bench) -> None:
    sealed = [await bench.seal() for _ in range(6)]
    bench.link.up()
    await bench.hear(bench.receipt(sealed[3]))
    await bench.spool.run(lambda spool: spool.release(1, Lane.DATA, 1, 4))
    bench.delivery.released(1, Lane.DATA, 1, 4)
    bench.delivery.distrust()
    await bench.hear(bench.receipt(sealed[1], serial=2))
    assert list(bench.delivery.delivered(1, Lane.DATA)) == []
    await bench.hear(bench.receipt(sealed[4], serial=3))
    assert list(bench.delivery.delivered(1, Lane.DATA)) == [(1, 5)]


async def test_a_wanted_catalogue_is_sent_although_the_store_does_not_have_it(bench: Bench) -> None:
    bench.link.up()
    sealed = await bench.seal()
    before = [channel for channel, _ in bench.link.sent].count(Channel.CATALOGUE)
    await bench.hear(bench.receipt(sealed, wanted=(b"\xca" * 32,)))
    assert [channel for channel, _ in bench.link.sent].count(Channel.CATALOGUE) == before + 1


async def test_an_ask_with_too_many_alarms_states_the_gravest(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    events = tuple(alarm_event(number, text=os.urandom(60).hex()) for number in range(4000))
    bench.uplink._statement = lambda: Statement(mono_us=1, events=events)
    bench.link.up()
    asked = next(payload for channel, payload in bench.link.sent if channel is Channel.ASK)
    ask = Ask.from_body(open_envelope(asked, Type.ASK, {SIGNER.key_id: Verifier(SIGNER.public)}).body)
    assert 100 < len(ask.statement.events) < 4000
    assert ask.statement.events == events[: len(ask.statement.events)]
    assert "4000 alarms stand" in caplog.text


async def test_a_damaged_batch_is_reported_and_the_others_are_sent(bench: Bench) -> None:
    for _ in range(4):
        await bench.seal()
    await bench.spool.run(
        lambda spool: spool._open.execute("UPDATE batch SET envelope=zeroblob(length(envelope)) WHERE id & 15 = 2")
    )
    told: list[int] = []

    def damaged(epoch_no: int, batch: StoredBatch) -> None:
        told.append(batch.seq)
        bench.delivery.lost(epoch_no, batch.lane, batch.seq, batch.seq)

    bench.uplink.on_damaged = damaged
    bench.link.up()
    await bench.settle()
    assert told == [2]
    assert sorted(bench.batches()) == [(Lane.DATA, 1), (Lane.DATA, 3), (Lane.DATA, 4)]


async def test_a_batch_that_goes_at_once_and_is_never_receipted_is_sent_again(bench: Bench) -> None:
    bench.delivery._resend_after = 100_000
    bench.link.up()
    await bench.settle()
    await asyncio.sleep(0.02)  # nothing is on its way: sending sleeps without an end
    await bench.seal()
    assert bench.batches() == [(Lane.DATA, 1)]
    await bench.settle()
    bench.clock.pass_s(5)
    for _ in range(600):
        await asyncio.sleep(0.01)
        if len(bench.batches()) > 1:
            break
    assert bench.batches() == [(Lane.DATA, 1), (Lane.DATA, 1)]


@pytest.mark.parametrize("turns", range(5))
async def test_a_stop_in_the_moment_when_something_wakes_it_is_not_swallowed(bench: Bench, turns: int) -> None:
    """``asyncio.wait_for`` of Python 3.11 loses such a cancellation: the agent did not end on SIGTERM."""
    bench.link.up()
    await bench.seal()  # a batch on its way: it waits for a time, too
    await bench.settle()
    bench.uplink._wake.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await bench.uplink.stop()
