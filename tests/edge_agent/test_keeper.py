"""The keeper: durable when the store answers, volatile and loud when it does not, nothing lost in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.batch import AlarmEvent, Genesis, Lane, Origin, event_id
from edge_agent import keeper as keeper_module
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.keeper import Content, Keeper, StoreState
from edge_agent.seal import Chain, Sealed
from edge_agent.spool import EpochRow, Opened, Spool
from edge_agent.spool_records import FIRST_UNASKED
from edge_agent.spool_thread import connect_file
from tests.edge_agent.chains import BOOT, SIGNER, Clock, new_chain


class Store:
    """A spool on a real file whose disk a test can stall or break."""

    def __init__(self, path: Path) -> None:
        self.spool = Spool(connect_file(path), quota_bytes=1 << 30, reserve_bytes=0)
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
        return new_chain(self.clock, epoch, origin)

    def event(self, number: int) -> AlarmEvent:
        id = event_id(SIGNER.public.gateway_id, BOOT.boot_id, "well-1/ch4", b"rulehash", "active", number)
        return AlarmEvent(
            id=id,
            raised_by=id,
            boot_id=BOOT.boot_id,
            point="well-1/ch4",
            quantity="ch4",
            unit="%{LEL}",
            en="well",
            zh="井",
            rule_id="gas/L2",
            rule_hash=b"rulehash",
            rule_en="L2",
            rule_zh="二级",
            severity="red",
            scheme="gas",
            state="active",
            cause="limit",
            limit=50.0,
            value=60.0,
            code=0,
            sampled_us=number,
            judged_us=number,
        )

    def seal(self) -> None:
        self.keeper.seal_data(Content(sealed_us=self.clock()))

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

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
