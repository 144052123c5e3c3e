"""The keeper on a disk that is really full."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.batch import Genesis, Lane, Note, Origin
from contracts.keys import Verifier
from edge_agent.delivery import Delivery
from edge_agent.keeper import Content, Keeper, StoreState
from edge_agent.seal import Chain
from edge_agent.spool import EpochRow
from edge_agent.spool_file import open_spool
from edge_agent.spool_thread import SpoolThread
from tests.edge_agent.chains import BOOT, SIGNER, Clock, new_chain
from tests.edge_agent.quiet_site import CATALOGUE, CATALOGUE_ENVELOPE, content


class Bench:
    def __init__(self, folder: Path, quota: int = 1 << 30) -> None:
        self.clock = Clock()
        self.path = folder / "spool.db"
        self.spool = SpoolThread(self.path)
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
            spool=self.spool,
            delivery=self.delivery,
            chain=new_chain(self.clock),
            row=row,
            new_chain=self._chain,
            monotonic=self.clock,
            alarm_state=lambda: None,
            uptime_s=lambda: 0,
            quota_bytes=quota,
            reserve_bytes=0,
            retention_s=86_400,
        )

    def _chain(self, epoch: bytes, genesis: Genesis, origin: Origin) -> Chain:
        return new_chain(self.clock, epoch, origin)

    async def seal(self, size: int = 60_000) -> None:
        """Seals one batch of about ``size`` bytes and waits for what follows from it."""
        notes = [Note(mono_us=self.clock(), kind="test", text=os.urandom(450).hex()) for _ in range(size // 450)]
        self.keeper.seal_data(Content(sealed_us=self.clock(), notes=notes))
        await self.calm()

    async def calm(self) -> None:
        for _ in range(4000):
            task = self.keeper._committing
            room = self.keeper._room_task
            if (task is None or task.done()) and (room is None or room.done()):
                return
            await asyncio.sleep(0.001)
        raise AssertionError("the keeper does not come to rest")

    def verify(self) -> tuple[int, int]:
        """Returns how many batches verify and how many are lost on record; fails on any other hole."""
        keys = {SIGNER.key_id: Verifier(SIGNER.public)}
        with open_spool(self.path) as file:
            verdicts = list(file.verify(keys, SIGNER.public.gateway_id))
        assert [problem for verdict in verdicts for problem in verdict.problems] == []
        return sum(verdict.verified for verdict in verdicts), sum(verdict.lost for verdict in verdicts)


@pytest.fixture
async def bench(small_disk: Path) -> AsyncIterator[Bench]:
    bench = Bench(small_disk)
    await bench.spool.open()
    yield bench
    await bench.keeper.drain()
    await bench.spool.close()


async def test_when_the_disk_is_smaller_than_the_quota_the_oldest_go_with_a_record(bench: Bench) -> None:
    for _ in range(600):
        await bench.seal()
    assert bench.keeper.room.is_disk_full
    assert bench.keeper.state is StoreState.NORMAL
    assert bench.keeper.counts["volatile_epochs"] == 0, "space was made before anything had to wait"
    assert await bench.keeper.drain()
    held, lost = bench.verify()
    assert held + lost == bench.keeper.chain.head(Lane.DATA).seq
    assert lost == bench.keeper.counts["lost_batches"] > 300
    assert held > 50


async def test_receipted_history_makes_room_on_a_full_disk_and_nothing_is_lost(bench: Bench) -> None:
    for number in range(400):
        await bench.seal()
        bench.delivery._deliver((1, Lane.DATA), [(1, number)])
    assert bench.keeper.room.is_disk_full
    assert bench.keeper.counts["lost_batches"] == 0
    assert bench.keeper.state is StoreState.NORMAL
    bench.verify()


@pytest.mark.ci
async def test_on_a_full_disk_quiet_data_are_thinned_and_none_go(bench: Bench, small_disk: Path) -> None:
    with (small_disk / "junk").open("wb", buffering=0) as file:
        while os.statvfs(small_disk).f_bavail > 16:
            file.write(bytes(4096))
    bench.keeper.keep_catalogue(CATALOGUE.hash, CATALOGUE_ENVELOPE)
    number = 0
    while bench.keeper.counts["thinned_batches"] < 200 and number < 6000:
        number += 1
        bench.clock.pass_s(300)
        bench.keeper.seal_data(content(bench.clock(), 300))
        await bench.calm()
    assert bench.keeper.room.is_disk_full
    assert bench.keeper.counts["thinned_batches"] >= 200
    assert bench.keeper.counts["lost_batches"] == bench.keeper.counts["volatile_epochs"] == 0
    assert await bench.keeper.drain()
    assert bench.verify()[1] == 0


async def test_when_there_is_space_again_the_quota_counts_again(bench: Bench, small_disk: Path) -> None:
    junk = small_disk / "junk"
    with junk.open("wb", buffering=0) as file:
        while os.statvfs(small_disk).f_bavail > 16:
            file.write(bytes(4096))
    for _ in range(120):
        await bench.seal()
    assert bench.keeper.room.is_disk_full
    before = bench.keeper.counts["lost_batches"]
    assert before > 0
    junk.unlink()
    await bench.keeper.room.look_at_disk()
    assert not bench.keeper.room.is_disk_full
    for _ in range(20):
        await bench.seal()
    assert bench.keeper.counts["lost_batches"] == before


def _fill(disk: Path) -> None:
    with (disk / "junk").open("ab", buffering=0) as file:
        while os.statvfs(disk).f_bavail:
            file.write(bytes(4096))


async def test_space_is_noticed_without_being_asked_for(
    bench: Bench, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It once took half a minute."""
    monkeypatch.setattr("edge_agent.room._LOOK_S", 0.01)
    _fill(small_disk)
    for _ in range(120):
        await bench.seal()
    assert bench.keeper.room.is_disk_full
    (small_disk / "junk").unlink()
    for _ in range(500):
        if not bench.keeper.room.is_disk_full:
            break
        await asyncio.sleep(0.01)
    assert not bench.keeper.room.is_disk_full


async def test_whoever_fills_the_disk_does_not_get_what_the_ballast_gave_back(bench: Bench, small_disk: Path) -> None:
    """The spool once had no page left to delete with, and everything stayed in memory until there was space."""
    while not bench.keeper.room.is_disk_full:
        _fill(small_disk)
        await bench.seal()
    lost = bench.keeper.counts["lost_batches"]
    for _ in range(150):
        _fill(small_disk)
        await bench.seal()
    assert bench.keeper.counts["lost_batches"] > lost
    assert bench.keeper.counts["volatile_epochs"] == 0
    assert bench.keeper.state is StoreState.NORMAL
    assert await bench.keeper.drain()
    bench.verify()
