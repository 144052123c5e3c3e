"""The keeper: durable when the store answers, volatile and loud when it does not, nothing lost in between."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.batch import AlarmEvent, Genesis, Lane, Note, Origin, decode_batch
from contracts.envelope import decode_payload, split
from edge_agent import keeper as keeper_module
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.keeper import Content, Keeper, StoreState
from edge_agent.new_file import _first_here as first_here
from edge_agent.ranges import Ranges
from edge_agent.seal import Chain, Sealed
from edge_agent.spool import Commit, EpochRow, Opened, Spool
from edge_agent.spool_records import FIRST_UNASKED
from edge_agent.spool_thread import connect_file
from tests.edge_agent.chains import BOOT, SIGNER, Clock, alarm_event, new_chain


class Store:
    """A spool on a real file whose disk a test can stall or break."""

    def __init__(self, path: Path) -> None:
        self.spool = Spool(connect_file(path))
        self.spool.open()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: SpoolError | None = None
        self.replaced: str | None = None
        self.is_full = False

    @property
    def used_bytes(self) -> int:
        return self.spool.used_bytes

    def take_replaced(self) -> str | None:
        sentence, self.replaced = self.replaced, None
        return sentence

    def take_full(self) -> bool:
        was, self.is_full = self.is_full, False
        return was

    async def hold_ballast(self) -> bool:
        return True

    def run(self, work: Callable[[Spool], Any]) -> Any:
        async def answer() -> Any:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
            return work(self.spool)

        return asyncio.get_running_loop().create_task(answer())


class Uplink:
    """Takes what is offered."""

    def __init__(self) -> None:
        self.offered: list[tuple[int, Sealed]] = []

    def offer(self, epoch_no: int, sealed: Sealed) -> None:
        self.offered.append((epoch_no, sealed))


class Bench:
    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.store = Store(path)
        self.uplink = Uplink()
        self.delivery = Delivery(SIGNER.public.gateway_id)
        row = EpochRow(
            no=1,
            epoch=b"epoch--1",
            reason="first",
            boot_id=BOOT.boot_id,
            boot_counter=BOOT.counter,
            started_us=0,
            started_uptime_s=0,
        )
        self.delivery.add_epoch(row)
        self.keeper = Keeper(
            spool=self.store,  # type: ignore[arg-type]
            delivery=self.delivery,
            chain=new_chain(self.clock),
            row=row,
            new_chain=self.chain,
            monotonic=self.clock,
            alarm_state=lambda: b"alarm state",
            uptime_s=lambda: 0,
            quota_bytes=1 << 30,
            reserve_bytes=0,
            retention_s=86_400,
        )
        self.keeper.uplink = self.uplink  # type: ignore[assignment]

    def chain(self, epoch: bytes, genesis: Genesis, origin: Origin) -> Chain:
        return new_chain(self.clock, epoch, origin, genesis)

    def event(self, number: int) -> AlarmEvent:
        return alarm_event(number)

    def seal(self) -> None:
        self.keeper.seal_data(Content(sealed_us=self.clock()))

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def calm(self) -> None:
        """Lets everything come to rest, whatever follows from what; fails where it never does."""
        for _ in range(2000):
            tasks = (self.keeper._committing, self.keeper._room_task)
            if all(task is None or task.done() for task in tasks):
                return
            await asyncio.sleep(0)
        raise AssertionError("the keeper does not come to rest")

    def events_in(self, epoch_no: int) -> int:
        return sum(1 for no, sealed in self.uplink.offered if no == epoch_no and sealed.lane is Lane.ALARM)

    def volatile(self) -> bool:
        return self.keeper.state is StoreState.VOLATILE


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "spool.db")


async def test_nothing_is_offered_before_it_is_durable(bench: Bench) -> None:
    bench.store.gate.clear()
    bench.keeper.seal_alarms([bench.event(1)])
    await bench.settle()
    assert bench.uplink.offered == []
    bench.store.gate.set()
    await bench.settle()
    assert [no for no, _ in bench.uplink.offered] == [1]
    assert bench.store.spool.digest(1, Lane.ALARM, 1) == bench.uplink.offered[0][1].digest


async def test_alarm_state_is_durable_with_the_seal(bench: Bench) -> None:
    bench.keeper.seal_alarms([bench.event(1)])
    await bench.settle()
    assert bench.store.spool.inventory().state["alarms"] == b"alarm state"


async def test_a_store_that_is_late_makes_a_volatile_epoch_and_alarms_do_not_wait(bench: Bench) -> None:
    bench.store.gate.clear()
    bench.keeper.seal_alarms([bench.event(1)])
    bench.clock.pass_s(0.25)
    bench.keeper._check_late()
    assert bench.volatile()
    number = bench.keeper.epoch_no
    assert number >= FIRST_UNASKED
    assert bench.events_in(number) == 1, "the waiting alarm went out at once in the volatile epoch"
    bench.seal()
    assert len(bench.keeper.memory) == 2


async def test_when_the_store_answers_the_old_epoch_goes_on_and_nothing_is_missing(bench: Bench) -> None:
    bench.seal()
    await bench.settle()
    bench.store.gate.clear()
    bench.seal()
    bench.clock.pass_s(0.25)
    bench.keeper._check_late()
    number = bench.keeper.epoch_no
    bench.seal()
    bench.keeper.seal_alarms([bench.event(2)])
    bench.store.gate.set()
    await bench.settle()
    assert not bench.volatile()
    assert bench.keeper.epoch_no == 1
    inventory = bench.store.spool.inventory()
    assert inventory.lanes[1, Lane.DATA].head.seq == 2
    assert inventory.lanes[number, Lane.DATA].head.seq == 1
    assert inventory.lanes[number, Lane.ALARM].head.seq == 1
    assert inventory.lanes[1, Lane.ALARM].head.seq == 1, "the event was sealed again in the durable epoch"
    assert not len(bench.keeper.memory)
    bench.seal()
    await bench.settle()
    assert bench.store.spool.inventory().lanes[1, Lane.DATA].head.seq == 3


async def test_a_failed_commit_is_made_again_byte_for_byte(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.store.error = SpoolError("the disk is full")
    bench.seal()
    await bench.settle()
    assert bench.volatile()
    assert bench.keeper.last_error == "the disk is full"
    waiting = bench.keeper._pending[0].commit.batches[0]
    bench.store.error = None
    assert bench.keeper._committing is not None
    bench.keeper._committing.cancel()  # instead of waiting for its second
    await bench.settle()
    bench.keeper._committing = asyncio.get_running_loop().create_task(bench.keeper._commit_all())
    await bench.settle()
    assert not bench.volatile()
    assert bench.store.spool.digest(1, Lane.DATA, 1) == waiting.digest


async def test_memory_is_bounded_and_what_goes_leaves_a_signed_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "_MEMORY_LIMIT", 4000)
    bench.store.gate.clear()
    bench.seal()
    bench.clock.pass_s(1)
    bench.keeper._check_late()
    for _ in range(30):
        bench.seal()
    assert bench.keeper.memory.size <= 4000 + 1000
    assert bench.keeper.counts["lost_batches"] > 0
    number = bench.keeper.epoch_no
    lost = {n for first, last in bench.delivery._lanes[number, Lane.DATA].lost for n in range(first, last + 1)}
    assert lost.isdisjoint(key[2] for key in bench.keeper.memory)


async def test_a_full_spool_lets_receipted_history_go_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "spool.db")
    for _ in range(20):
        bench.seal()
    await bench.settle()
    bench.delivery.delivered(1, Lane.DATA).add(1, 15)
    quota = bench.keeper.room._quota = bench.store.used_bytes - 10
    bench.seal()
    await bench.settle()
    assert bench.keeper.counts["lost_batches"] == 0
    assert bench.store.spool.read(1, Lane.DATA, [(1, 1)], limit_bytes=1) == []
    assert bench.store.used_bytes <= quota


async def test_a_full_spool_without_receipts_drops_the_oldest_with_a_loss_record(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "spool.db")
    for _ in range(20):
        bench.seal()
    bench.keeper.seal_alarms([bench.event(1)])
    await bench.settle()
    bench.keeper.room._quota = bench.store.used_bytes - 10
    bench.seal()
    await bench.settle()
    assert bench.keeper.counts["lost_batches"] > 0
    opened: Opened = bench.store.spool.inventory()
    first, last = next(iter(opened.lanes[1, Lane.DATA].lost))
    assert first == 1
    assert bench.store.spool.digest(1, Lane.DATA, last) is not None, "the chain goes on behind the hole"
    assert bench.store.spool.digest(1, Lane.ALARM, 1) is not None, "alarms stay"


async def _again(bench: Bench) -> None:
    """Lets the next try at the store come now instead of after its pause."""
    assert bench.keeper._committing is not None
    bench.keeper._committing.cancel()
    await bench.settle()
    bench.keeper._committing = asyncio.get_running_loop().create_task(bench.keeper._commit_all())
    await bench.settle()


async def test_alarm_state_survives_a_store_that_fails_while_it_comes_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "spool.db")
    states = [b"older", b"newest", None]
    bench.keeper._alarm_state = lambda: states.pop(0) if len(states) > 1 else None
    bench.store.error = SpoolError("no space")
    bench.seal()
    await bench.settle()
    bench.store.error = None

    def fail_second(work: Callable[[Spool], Any], original: Any = bench.store.run) -> Any:
        bench.store.error = SpoolError("no space") if bench.keeper.counts["commits"] else None
        return original(work)

    bench.store.run = fail_second  # type: ignore[method-assign]
    await _again(bench)
    assert bench.volatile(), "the durable epoch is written, the volatile one failed"
    assert bench.store.spool.inventory().state["alarms"] == b"older"
    bench.store.error = None
    bench.store.run = Store.run.__get__(bench.store)  # type: ignore[method-assign]
    await _again(bench)
    assert not bench.volatile()
    assert bench.store.spool.inventory().state["alarms"] == b"newest"


async def test_what_memory_let_go_is_in_the_store_as_a_range_afterwards(bench: Bench) -> None:
    bench.store.gate.clear()
    bench.seal()
    bench.clock.pass_s(0.25)
    bench.keeper._check_late()
    number = bench.keeper.epoch_no
    for _ in range(4):
        bench.seal()
    bench.keeper.memory.forget_delivered(lambda key: key[2] <= 2)
    bench.store.gate.set()
    await bench.settle()
    assert not bench.volatile()
    view = bench.store.spool.inventory().lanes[number, Lane.DATA]
    assert list(view.released) == [(1, 2)]
    assert view.head.seq == 4


async def test_events_that_the_durable_chain_has_are_not_sealed_a_third_time(bench: Bench) -> None:
    bench.store.gate.clear()
    bench.keeper.seal_alarms([bench.event(1)])
    bench.clock.pass_s(0.25)
    bench.keeper._check_late()
    bench.store.gate.set()
    await bench.settle()
    assert not bench.volatile()
    assert bench.store.spool.inventory().lanes[1, Lane.ALARM].head.seq == 1


async def test_a_defect_while_committing_is_reported_and_the_commit_is_made_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.store.error = TypeError("a defect")  # type: ignore[assignment]
    bench.seal()
    await bench.settle()
    assert "as no disk fails" in caplog.text
    assert bench.volatile()
    bench.store.error = None
    await _again(bench)
    assert not bench.volatile()
    assert bench.store.spool.inventory().lanes[1, Lane.DATA].head.seq == 1


async def test_what_lay_in_a_late_spool_is_learnt_before_the_first_commit_overwrites_it(bench: Bench) -> None:
    bench.store.spool.commit(Commit(epoch_no=1, state={"alarms": b"of the last run"}))
    learnt: list[Opened] = []
    bench.keeper.on_first_answer = learnt.append
    bench.seal()
    await bench.settle()
    assert [opened.state["alarms"] for opened in learnt] == [b"of the last run"]
    assert bench.store.spool.inventory().state["alarms"] == b"alarm state"


async def test_a_new_file_in_place_of_the_old_begins_an_epoch_that_names_its_parent_and_signs_for_the_hole(
    bench: Bench, tmp_path: Path
) -> None:
    said: list[str] = []
    bench.keeper.on_new_file = said.append
    for _ in range(4):
        bench.seal()
    await bench.settle()
    bench.delivery._deliver((1, Lane.DATA), [(1, 2)])
    bench.store.spool.close()
    bench.store.spool = Spool(connect_file(tmp_path / "other.db"))
    bench.store.replaced = "gone"
    bench.seal()
    await bench.settle()
    assert said == ["gone"]
    assert bench.keeper.counts["lost_batches"] == 2, "3 and 4; 1 and 2 were receipted, 5 is in the new file"
    opened = bench.store.spool.inventory()
    assert opened.lanes[1, Lane.DATA].head.seq == 5
    assert opened.lanes[1, Lane.DATA].settled.contiguous == 4
    assert bench.delivery.to_send(Lane.DATA) == [(1, [(5, 5)]), (2, [(1, 1)])]
    first = decode_batch(decode_payload(split(bench.uplink.offered[-1][1].envelope)[1]), Lane.DATA.type)
    genesis = first.header.genesis
    assert genesis is not None
    assert genesis.parent is not None
    assert (genesis.reason, genesis.parent.epoch, genesis.parent.data.seq) == ("spool_lost", opened.epochs[0].epoch, 5)
    assert [(row.no, row.reason) for row in opened.epochs] == [(1, opened.epochs[0].reason), (2, "spool_lost")]
    losses = bench.uplink.offered[-1][1].losses
    assert [(loss.first, loss.last, loss.cause) for loss in losses] == [(3, 4, "damaged")]


def _other_file(bench: Bench, path: Path) -> None:
    """Puts an empty file in the place of the spool."""
    bench.store.spool.close()
    bench.store.spool = Spool(connect_file(path))
    bench.store.replaced = "gone"


class _Meanwhile:
    """Does something, once, while the store is asked what lies in the new file."""

    def __init__(self, bench: Bench, act: Callable[[], None]) -> None:
        self._run, self._act, self._store = bench.store.run, act, bench.store
        self._is_done = False

    def __call__(self, work: Callable[[Spool], Any]) -> Any:
        answer = self._run(work)
        if self._store.replaced is None and not self._is_done and getattr(work, "func", None) is first_here:
            self._is_done = True
            answer.add_done_callback(lambda _: self._act())
        return answer


async def test_what_is_sealed_while_a_new_file_is_asked_is_not_lost(bench: Bench, tmp_path: Path) -> None:
    """What waited was looked at before the store was asked: a batch sealed meanwhile was signed for as lost."""
    for _ in range(3):
        bench.seal()
    await bench.settle()
    _other_file(bench, tmp_path / "other.db")
    bench.store.run = _Meanwhile(bench, bench.seal)  # type: ignore[method-assign]
    bench.keeper.seal_alarms([bench.event(1)])
    await bench.settle()
    assert bench.keeper.counts["lost_batches"] == 3
    assert bench.delivery.to_send(Lane.DATA) == [(1, [(4, 4)]), (2, [(1, 1)])]
    assert [(row.seq, row.is_whole) for row in bench.store.spool.read(1, Lane.DATA, [(1, 9)], limit_bytes=99999)] == [
        (4, True)
    ]


async def test_a_volatile_epoch_may_begin_while_a_new_file_is_asked(bench: Bench, tmp_path: Path) -> None:
    """It was taken for one that lay in the old file, and forgotten: the next seal into it failed."""
    for _ in range(3):
        bench.seal()
    await bench.settle()
    _other_file(bench, tmp_path / "other.db")

    def stall() -> None:
        bench.keeper._go_volatile()
        bench.seal()

    bench.store.run = _Meanwhile(bench, stall)  # type: ignore[method-assign]
    bench.seal()
    await bench.settle()
    assert not bench.volatile()
    assert bench.keeper.counts["volatile_epochs"] == 1
    assert bench.keeper.counts["lost_batches"] == 3, "1 to 3 of the first epoch"
    bench.seal()
    await bench.settle()
    volatile_no = next(row.no for row in bench.delivery.epochs() if row.is_volatile)
    assert dict(bench.delivery.to_send(Lane.DATA))[volatile_no][0][0] == 1


async def test_a_new_file_that_cannot_be_read_at_once_is_settled_when_it_can(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence was taken once: after a failure no epoch began, and what lay in the old file waited for ever."""
    monkeypatch.setattr(keeper_module, "_TRY_AGAIN_S", 0)
    said: list[str] = []
    bench.keeper.on_new_file = said.append
    for _ in range(3):
        bench.seal()
    await bench.settle()
    _other_file(bench, tmp_path / "other.db")
    run = bench.store.run

    def fail_once(work: Callable[[Spool], Any]) -> Any:
        if bench.store.replaced is None and not said and getattr(work, "func", None) is first_here:
            bench.store.run = run  # type: ignore[method-assign]
            bench.store.error = SpoolError("the disk")
        return run(work)

    bench.store.run = fail_once  # type: ignore[method-assign]
    bench.seal()
    await bench.settle()
    assert (said, bench.volatile()) == ([], True)
    bench.store.error = None
    await bench.calm()
    assert (said, bench.volatile()) == (["gone"], False)
    assert bench.keeper.counts["lost_batches"] == 3
    assert [row.reason for row in bench.delivery.epochs() if not row.is_volatile][-1] == "spool_lost"


async def test_what_a_second_new_file_finds_waiting_is_not_lost(bench: Bench, tmp_path: Path) -> None:
    """What waited of the epoch before the last was forgotten: it lay in the file and was not sent before a restart."""
    bench.seal()
    await bench.settle()
    _other_file(bench, tmp_path / "other.db")
    bench.store.gate.clear()
    bench.seal()
    bench.seal()
    bench.store.gate.set()
    for _ in range(200):
        if bench.keeper._durable.row.no != 1:
            break
        await asyncio.sleep(0)
    assert any(item.commit.batches and item.commit.epoch_no == 1 for item in bench.keeper._pending)
    _other_file(bench, tmp_path / "third.db")
    await bench.calm()
    assert dict(bench.delivery.to_send(Lane.DATA))[1] == [(3, 3)]
    assert bench.keeper._durable.row.no == 3


async def test_what_is_sent_while_room_is_made_is_not_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest batches were chosen, sent and receipted meanwhile, and then signed for as lost."""
    for _ in range(12):
        _big(bench)
    await bench.calm()
    run = bench.store.run

    def and_a_receipt_comes(work: Callable[[Spool], Any]) -> Any:
        answer = run(work)
        if getattr(work, "__name__", "") == "look" and not len(bench.delivery.delivered(1, Lane.DATA)):
            answer.add_done_callback(lambda _: bench.delivery._deliver((1, Lane.DATA), [(1, 1)]))
        return answer

    monkeypatch.setattr(bench.store, "run", and_a_receipt_comes)
    bench.keeper.room._quota = bench.store.used_bytes
    for _ in range(4):
        _big(bench)
        await bench.calm()
    lost = bench.store.spool.inventory().lanes[1, Lane.DATA].lost
    assert len(lost)
    assert 1 not in lost


async def test_a_damaged_row_is_signed_for_and_stays(bench: Bench) -> None:
    for _ in range(3):
        bench.seal()
    await bench.settle()
    bench.store.spool._open.execute("UPDATE batch SET envelope=zeroblob(length(envelope)) WHERE id & 15 = 2")
    damaged = bench.store.spool.read(1, Lane.DATA, [(2, 2)], limit_bytes=1)[0]
    assert not damaged.is_whole
    bench.keeper.damaged(1, damaged)
    bench.keeper.damaged(1, damaged)
    await bench.settle()
    assert bench.keeper.counts["lost_batches"] == 1
    assert bench.delivery.to_send(Lane.DATA) == [(1, [(1, 1), (3, 4)])]
    assert list(bench.store.spool.inventory().lanes[1, Lane.DATA].lost) == [(2, 2)]
    assert bench.store.spool.read(1, Lane.DATA, [(2, 2)], limit_bytes=1) == [damaged]


def _big(bench: Bench, passing_s: float = 0.0) -> None:
    """Seals a data batch of some 5 kB."""
    bench.clock.pass_s(passing_s)
    notes = [Note(mono_us=0, kind="test", text=os.urandom(450).hex()) for _ in range(10)]
    bench.keeper.seal_data(Content(sealed_us=bench.clock(), notes=notes))


async def test_data_around_an_alarm_go_after_all_other_data_and_alarms_last_of_all(bench: Bench) -> None:
    for _ in range(10):
        _big(bench, 10)
    bench.keeper.seal_alarms([bench.event(1)])
    for _ in range(20):
        _big(bench, 10)
    await bench.calm()
    near = range(4, 17)

    def lost() -> Ranges:
        return bench.store.spool.inventory().lanes[1, Lane.DATA].lost

    bench.keeper.room._quota = bench.store.used_bytes - 60_000
    _big(bench, 10)
    await bench.calm()
    assert all(number not in lost() for number in near), lost()
    assert next(iter(lost())) == (1, 3)
    assert 18 in lost(), "what lies behind the alarm by more than a minute goes before what is near it"
    bench.keeper.room._quota = bench.store.used_bytes - 70_000
    _big(bench, 10)
    await bench.calm()
    assert next(iter(lost()))[1] > 3, "what is near goes when nothing else is left"
    assert bench.store.spool.read(1, Lane.ALARM, [(1, 1)], limit_bytes=1), "the alarm stays to the last"


async def test_an_alarm_goes_only_when_no_data_are_left_and_with_a_record(bench: Bench) -> None:
    for number in range(40):
        bench.keeper.seal_alarms([bench.event(number)])
    await bench.calm()
    bench.keeper.room._quota = bench.store.used_bytes - 6_000
    bench.keeper.seal_alarms([bench.event(99)])
    await bench.calm()
    view = bench.store.spool.inventory().lanes[1, Lane.ALARM]
    assert next(iter(view.lost))[0] == 1
    assert 41 not in view.lost
    assert bench.keeper.counts["lost_batches"] == view.lost.total


async def test_alarms_stay_while_only_the_reserve_is_touched(bench: Bench) -> None:
    for number in range(40):
        bench.keeper.seal_alarms([bench.event(number)])
    _big(bench)
    await bench.calm()
    bench.keeper.room._quota = bench.store.used_bytes + 50_000
    bench.keeper.room._reserve = bench.keeper.room._quota
    for _ in range(10):
        _big(bench)
        await bench.calm()
    assert bench.keeper.counts["lost_batches"] > 0
    assert not len(bench.store.spool.inventory().lanes[1, Lane.ALARM].lost)


async def test_a_range_whose_records_cost_what_it_frees_is_left_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(10):
        _big(bench)
    await bench.calm()
    monkeypatch.setattr(bench.store.spool, "carried", lambda gone: [gone] * 1000)
    bench.keeper.room._quota = bench.store.used_bytes - 10_000
    _big(bench)
    await bench.calm()
    assert bench.keeper.counts["lost_batches"] == 0


async def test_a_loss_record_outlives_the_batch_that_carried_it(bench: Bench) -> None:
    for _ in range(12):
        _big(bench)
    await bench.calm()
    bench.keeper.room._quota = bench.store.used_bytes
    for _ in range(40):
        _big(bench)
        await bench.calm()
    lost = bench.store.spool.inventory().lanes[1, Lane.DATA].lost
    head = bench.delivery.head(1, Lane.DATA).seq
    kept = bench.store.spool.read(1, Lane.DATA, [(1, head)], limit_bytes=1 << 30, limit_rows=1000)
    signed = Ranges()
    offered = {sealed.seq: sealed for _, sealed in bench.uplink.offered if sealed.lane is Lane.DATA}
    for batch in kept:
        for loss in offered[batch.seq].losses:
            signed.add(loss.first, loss.last)
    assert lost.contiguous > 13, "batches that carried a record went too"
    assert signed == lost, "every hole is signed for by a batch that is still here"


async def test_finished_epochs_are_forgotten_and_the_running_one_is_not(bench: Bench) -> None:
    for no in range(2, 6):
        row = replace(bench.keeper._durable.row, no=no, epoch=b"epoch--%d" % no)
        bench.delivery.add_epoch(row)
        bench.store.spool.begin_epoch(row)
    bench.seal()
    await bench.calm()
    await bench.keeper.room.tend()
    assert [row.no for row in bench.delivery.epochs()] == [1]
    assert [row.no for row in bench.store.spool.inventory().epochs] == [1]


async def test_old_history_goes_after_the_retention_alarms_too_and_nothing_younger(bench: Bench) -> None:
    uptime = 0
    bench.keeper.room._uptime_s = lambda: uptime
    start = bench.clock()
    bench.keeper._durable = replace(
        bench.keeper._durable, row=replace(bench.keeper._durable.row, started_us=start, started_uptime_s=0)
    )
    bench.delivery.add_epoch(bench.keeper._durable.row)
    bench.keeper.seal_alarms([bench.event(1)])
    bench.seal()
    bench.clock.pass_s(86_400)
    bench.seal()
    await bench.calm()
    bench.delivery._deliver((1, Lane.DATA), [(1, 2)])
    bench.delivery._deliver((1, Lane.ALARM), [(1, 1)])
    uptime = 600
    await bench.keeper.room.tend()
    assert bench.store.spool.read(1, Lane.ALARM, [(1, 1)], limit_bytes=1), "an alarm is not old after ten minutes"
    uptime = 86_400 + 60
    await bench.keeper.room.tend()
    assert not bench.store.spool.read(1, Lane.ALARM, [(1, 1)], limit_bytes=1)
    assert [batch.seq for batch in bench.store.spool.read(1, Lane.DATA, [(1, 9)], limit_bytes=1 << 20)] == [2]


async def test_the_delivery_state_is_durable_when_the_agent_leaves(bench: Bench) -> None:
    bench.seal()
    await bench.calm()
    bench.delivery._deliver((1, Lane.DATA), [(1, 1)])
    assert await bench.keeper.drain()
    assert list(bench.store.spool.inventory().lanes[1, Lane.DATA].delivered) == [(1, 1)]


async def test_receipts_go_with_a_seal_every_five_seconds(bench: Bench) -> None:
    def kept() -> list[tuple[int, int]]:
        return list(bench.store.spool.inventory().lanes[1, Lane.DATA].delivered)

    bench.seal()
    await bench.calm()
    bench.delivery._deliver((1, Lane.DATA), [(1, 1)])
    bench.clock.pass_s(4)
    bench.seal()
    await bench.calm()
    assert kept() == []
    bench.clock.pass_s(1)
    bench.seal()
    await bench.calm()
    assert kept() == [(1, 1)]
