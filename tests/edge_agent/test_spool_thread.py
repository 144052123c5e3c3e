"""The spool's thread: files that go bad, go away or come back while the agent runs."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from contracts.batch import Lane
from edge_agent.ballast import Ballast
from edge_agent.errors import SpoolError
from edge_agent.spool import Commit, EpochRow, Spool
from edge_agent.spool_thread import SpoolThread

ROW = EpochRow(
    no=1, epoch=b"epoch--1", reason="first", boot_id=b"b" * 16, boot_counter=1, started_us=0, started_uptime_s=0
)


@pytest.fixture
async def thread(tmp_path: Path) -> AsyncIterator[SpoolThread]:
    thread = SpoolThread(tmp_path / "spool.db", quota_bytes=1 << 30, reserve_bytes=0)
    await thread.open()
    await thread.run(lambda spool: spool.commit(Commit(epoch_no=1, epochs=(ROW,), state={"uptime_s": b"7"})))
    yield thread
    await thread.close()


def _epochs(spool: Spool) -> int:
    return len(spool.inventory().epochs)


async def test_a_removed_file_is_noticed_with_the_next_call_and_told_once(thread: SpoolThread) -> None:
    thread.path.unlink()
    assert await thread.run(_epochs) == 0
    assert thread.take_replaced() == "the spool was removed while the agent ran"
    assert thread.take_replaced() is None
    assert thread.path.exists()


async def test_a_file_that_comes_back_is_the_same_spool(thread: SpoolThread, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for path in tmp_path.glob("spool.db*"):
        shutil.move(path, folder / path.name)
    (tmp_path / "spool.db").mkdir()
    with pytest.raises(SpoolError):
        await thread.run(_epochs)
    (tmp_path / "spool.db").rmdir()
    for path in folder.iterdir():
        shutil.move(path, tmp_path / path.name)
    assert await thread.run(_epochs) == 1
    assert thread.take_replaced() is None


async def test_a_file_that_sqlite_calls_damaged_again_and_again_is_put_aside(thread: SpoolThread) -> None:
    def fail(spool: Spool) -> None:
        spool.close()
        raise SpoolError("damaged") from apsw.CorruptError("malformed")

    for _ in range(3):
        with pytest.raises(SpoolError):
            await thread.run(fail)
    assert thread.take_replaced() == "the spool was damaged and is kept as spool.db.damaged-1"
    assert await thread.run(_epochs) == 0
    assert thread.path.with_name("spool.db.damaged-1").exists()


async def test_one_damage_is_not_enough(thread: SpoolThread) -> None:
    def fail(spool: Spool) -> None:
        spool.close()
        raise SpoolError("damaged") from apsw.CorruptError("malformed")

    for _ in range(5):
        with pytest.raises(SpoolError):
            await thread.run(fail)
        assert await thread.run(_epochs) == 1
    assert thread.take_replaced() is None


async def test_rubbish_in_an_open_file_is_put_aside_when_the_file_is_opened_again(thread: SpoolThread) -> None:
    await thread.run(lambda spool: spool.close())
    for name in ("spool.db", "spool.db-wal"):
        thread.path.with_name(name).write_bytes(b"rubbish" * 1000)

    def fail(spool: Spool) -> None:
        raise SpoolError("no answer")

    with pytest.raises(SpoolError):
        await thread.run(fail)
    assert await thread.run(_epochs) == 0
    assert thread.take_replaced() is not None


async def test_a_full_disk_is_told_and_the_call_is_made_again(thread: SpoolThread) -> None:
    tries = 0

    def work(spool: Spool) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            spool.close()
            raise SpoolError("full") from apsw.FullError("full")
        return _epochs(spool)

    ballast = Ballast(thread.path.with_name("spool.db.ballast"))
    assert ballast.is_there
    assert await thread.run(work) == 1
    assert not ballast.is_there
    assert thread.take_full()
    assert not thread.take_full()
    assert await thread.hold_ballast()
    assert ballast.is_there


def test_ballast_is_not_taken_from_a_disk_that_has_little(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", size=1 << 62)
    assert not ballast.hold()
    assert not (tmp_path / "ballast").exists()
    assert not Ballast(tmp_path / "missing" / "ballast").hold()


async def test_the_heads_of_a_large_spool_are_found_without_reading_it(thread: SpoolThread) -> None:
    """The size was once summed up over all batches, so that a start took longer the more was kept."""

    def steps(spool: Spool) -> int:
        db = spool._open
        db.execute(
            "INSERT INTO batch WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i+1 FROM n WHERE i<20000)"
            " SELECT (1<<34)+(1<<33)+i, zeroblob(32), 1, 0, 0, 0, zeroblob(500) FROM n"
        )
        counted = 0

        def progress() -> bool:
            nonlocal counted
            counted += 1
            return False

        db.set_progress_handler(progress, 1)
        spool.inventory()
        db.set_progress_handler(None)
        return counted

    assert await thread.run(steps) < 1000
    assert (await thread.run(Spool.inventory)).lanes[1, Lane.DATA].head.seq == 20000
