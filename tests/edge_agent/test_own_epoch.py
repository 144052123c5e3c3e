"""How an epoch begins: on a store that answers, on one that cannot, and on one that answers late."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge_agent import own_epoch
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.judge import Judge
from edge_agent.keeper import Keeper
from edge_agent.own_epoch import OwnEpoch
from edge_agent.plan import SpoolPlan
from edge_agent.spool_records import FIRST_UNASKED, Commit, Opened
from edge_agent.spool_thread import SpoolThread
from tests.edge_agent.chains import BOOT, SIGNER, Clock, anchor

KEPT = SpoolPlan(quota_bytes=10_000_000, reserve_bytes=1_000_000, retention_days=7)
#: it stands still: a second of a loaded machine is no running time
CLOCK = Clock()


@pytest.fixture(autouse=True)
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_epoch, "monotonic_us", CLOCK)


class Sealer:
    """Is given a keeper, and what to note."""

    def __init__(self) -> None:
        self.keeper: Keeper | None = None
        self.notes: list[str] = []
        self.catalogues = 0

    def note(self, kind: str, text: str) -> None:
        self.notes.append(f"{kind}: {text}")

    def keep_catalogue(self) -> None:
        self.catalogues += 1

    def store_is_new(self, sentence: str) -> None: ...


class Life:
    """One start of the agent on a folder."""

    def __init__(self, folder: Path) -> None:
        self.spool = SpoolThread(folder / "spool.db")
        self.delivery = Delivery(SIGNER.public.gateway_id)
        self.sealer = Sealer()
        self.late = 0
        self.epoch = OwnEpoch(
            gateway=SIGNER.public.gateway_id,
            signer=SIGNER,
            boot=BOOT,
            started_us=CLOCK(),
            kept=KEPT,
            spool=self.spool,
            delivery=self.delivery,
            judge=Judge(SIGNER.public.gateway_id, BOOT.boot_id, (), (), CLOCK),
            sealer=self.sealer,  # type: ignore[arg-type]
            anchor=lambda: anchor(CLOCK),
            learnt_late=self._learnt_late,
        )

    def _learnt_late(self) -> None:
        self.late += 1

    async def begin(self) -> Keeper:
        await self.epoch.begin()
        assert self.sealer.keeper is not None
        return self.sealer.keeper

    async def end(self) -> None:
        assert self.sealer.keeper is not None
        await self.sealer.keeper.drain()
        await self.spool.close()


async def test_the_first_epoch_is_number_one_and_runs_since_now(tmp_path: Path) -> None:
    life = Life(tmp_path)
    keeper = await life.begin()
    assert [(row.no, row.reason, row.started_uptime_s) for row in life.delivery.epochs()] == [(1, "first", 0)]
    assert keeper.on_first_answer is None
    assert (life.sealer.catalogues, life.sealer.notes, life.epoch.uptime_s()) == (1, [], 0)
    await life.end()


async def test_running_time_and_parent_go_on_over_the_starts(tmp_path: Path) -> None:
    life = Life(tmp_path)
    await life.begin()
    await life.spool.run(lambda spool: spool.commit(Commit(epoch_no=1, state={"uptime_s": b"77"})))
    await life.spool.close()
    again = Life(tmp_path)
    await again.begin()
    assert again.epoch.uptime_s() == again.delivery.epochs()[-1].started_uptime_s == 77
    await again.end()


async def test_a_store_that_cannot_be_opened_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> Opened:
        raise SpoolError("the spool cannot be opened: no permission")

    life = Life(tmp_path)
    monkeypatch.setattr(life.spool, "open", fail)
    await life.begin()
    (row,) = life.delivery.epochs()
    assert row.no >= FIRST_UNASKED
    assert row.reason == "store_unusable"
    assert "no permission; readings are kept in memory until it can" in caplog.text
    await life.end()


async def test_what_lay_in_a_store_that_answers_late_is_learnt_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Life(tmp_path)
    await before.begin()
    await before.spool.run(
        lambda spool: spool.commit(Commit(epoch_no=1, epochs=before.delivery.epochs(), state={"uptime_s": b"77"}))
    )
    await before.spool.close()

    async def wait() -> Opened:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    life = Life(tmp_path)
    monkeypatch.setattr(own_epoch, "_OPEN_LIMIT_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(life.spool, "open", wait)
        keeper = await life.begin()
    assert (life.epoch.uptime_s(), life.late) == (0, 0)
    assert keeper.on_first_answer is not None
    keeper.on_first_answer(await life.spool.open())
    assert (life.epoch.uptime_s(), life.late) == (77, 1)
    assert [row.no for row in life.delivery.epochs() if row.no < FIRST_UNASKED] == [1]
    await life.end()
