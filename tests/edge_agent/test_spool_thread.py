"""The spool's thread: files that go bad, go away or come back while the agent runs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from contracts.batch import Lane
from edge_agent.ballast import Ballast
from edge_agent.errors import SpoolError
from edge_agent.put_aside import kept_aside
from edge_agent.spool import Commit, EpochRow, Spool
from edge_agent.spool_thread import SpoolThread, connect_file

ROW = EpochRow(
    no=1, epoch=b"epoch--1", reason="first", boot_id=b"b" * 16, boot_counter=1, started_us=0, started_uptime_s=0
)


@pytest.fixture
async def thread(tmp_path: Path) -> AsyncIterator[SpoolThread]:
    thread = SpoolThread(tmp_path / "spool.db")
    await thread.open()
    await thread.run(lambda spool: spool.commit(Commit(epoch_no=1, epochs=(ROW,), state={"uptime_s": b"7"})))
    yield thread
    await thread.close()


def _epochs(spool: Spool) -> int:
    return len(spool.inventory().epochs)


async def test_a_removed_file_is_noticed_with_the_next_call_and_told_once(thread: SpoolThread) -> None:
    thread.path.unlink()
    assert await thread.run(_epochs) == 0
    (aside,) = kept_aside(thread.path)
    said = f"the spool was removed while the agent ran; its log is kept as {aside.path.name}-wal"
    assert thread.take_replaced() == said
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
    (aside,) = kept_aside(thread.path)
    assert thread.take_replaced() == f"the spool was damaged and is kept as {aside.path.name}"
    assert await thread.run(_epochs) == 0
    assert aside.path.exists()


async def test_three_damages_are_enough_where_they_lie_close_together(tmp_path: Path) -> None:
    """What succeeded between them once made them forgotten: history behind a damaged page waited for ever."""
    now = 0.0
    thread = SpoolThread(tmp_path / "spool.db", seconds=lambda: now)
    await thread.open()
    await thread.run(lambda spool: spool.commit(Commit(epoch_no=1, epochs=(ROW,))))

    def fail(spool: Spool) -> None:
        spool.close()
        raise SpoolError("damaged") from apsw.CorruptError("malformed")

    for _ in range(5):
        with pytest.raises(SpoolError):
            await thread.run(fail)
        assert await thread.run(_epochs) == 1
        now += 31
    assert thread.take_replaced() is None
    for _ in range(2):
        with pytest.raises(SpoolError):
            await thread.run(fail)
    assert await thread.run(_epochs) == 0
    assert thread.take_replaced() is not None
    await thread.close()


async def test_a_log_that_is_removed_while_the_agent_runs_costs_nothing(thread: SpoolThread) -> None:
    thread.path.with_name("spool.db-wal").unlink()
    await thread.run(lambda spool: spool.commit(Commit(epoch_no=1, state={"uptime_s": b"8"})))
    assert (await thread.run(Spool.inventory)).state["uptime_s"] == b"8"
    assert thread.path.with_name("spool.db-wal").exists()
    for name in ("copy.db", "copy.db-wal"):
        shutil.copy(thread.path.with_name(name.replace("copy", "spool")), thread.path.with_name(name))
    again = Spool(connect_file(thread.path.with_name("copy.db")))
    assert again.open().state["uptime_s"] == b"8"
    again.close()


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


async def test_what_somebody_else_writes_to_the_file_is_noticed_with_the_next_call(thread: SpoolThread) -> None:
    assert thread.doubts == 0
    await thread.run(Spool.checkpoint)
    await thread.run(_epochs)
    assert thread.doubts == 0, "its own writing is none"
    os.utime(thread.path, ns=(1, 1))
    assert await thread.run(_epochs) == 1
    assert thread.doubts == 1
    assert await thread.run(_epochs) == 1
    assert thread.doubts == 1
    os.truncate(thread.path, 3 * 1024)
    with contextlib.suppress(SpoolError):
        await thread.run(_epochs)
    await thread.run(_epochs)
    assert thread.doubts == 2


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE batch",
        "ALTER TABLE gone RENAME COLUMN digest TO other",
        "INSERT INTO delivered VALUES (1, 7, 1, 1)",
        "INSERT INTO batch VALUES ((1<<34)+1, x'00', 1, 0, 0, 5, x'00')",
    ],
)
async def test_tables_that_no_version_of_this_program_wrote_are_put_aside(
    thread: SpoolThread, tmp_path: Path, statement: str
) -> None:
    await thread.run(Spool.checkpoint)
    path = tmp_path / "other" / "spool.db"
    path.parent.mkdir()
    for name in ("spool.db", "spool.db-wal"):
        shutil.copy(tmp_path / name, path.with_name(name))
    db = apsw.Connection(str(path))
    db.execute(statement)
    db.close()
    other = SpoolThread(path)
    opened = await other.open()
    assert opened.epochs == ()
    assert opened.put_aside is not None
    assert len(kept_aside(path)) == 1
    assert await other.run(_epochs) == 0
    await other.close()


async def test_a_call_fills_no_table_of_names(thread: SpoolThread, monkeypatch: pytest.MonkeyPatch) -> None:
    # Path interns each part of what it parses, and a table of those that came and went grew by half a megabyte.
    interned: list[str] = []
    monkeypatch.setattr("sys.intern", lambda name: interned.append(name) or name)
    assert await thread.run(_epochs) == 1
    assert interned == []
