"""Opening the spool: what it leaves to others, what it does not believe, what it does after an error of the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from contracts.batch import Lane
from edge_agent import spool_log, spool_open
from edge_agent.errors import SpoolError
from edge_agent.spool import Commit, EpochRow, Spool
from edge_agent.spool_open import prepare, read_all
from edge_agent.spool_thread import SpoolThread, connect_file
from tests.edge_agent.chains import Clock, new_chain, seal_data

ROW = EpochRow(
    no=1, epoch=b"epoch--1", reason="first", boot_id=b"\x01" * 16, boot_counter=3, started_us=0, started_uptime_s=0
)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(connect_file(tmp_path / "spool.db"))
    made.open()
    made.begin_epoch(ROW)
    return made


def test_a_program_that_read_the_file_meanwhile_does_not_take_the_log_with_it(spool: Spool, tmp_path: Path) -> None:
    """It would, if it took itself for the last one: SQLite's lock on the file must last as long as the agent."""
    log = tmp_path / "spool.db-wal"
    before = log.stat().st_ino
    read = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
        " print(db.execute('SELECT count(*) FROM epoch').fetchone()[0]); db.close()"
    )
    said = subprocess.run(
        [sys.executable, "-c", read, str(tmp_path / "spool.db")], capture_output=True, check=True, text=True
    )
    assert said.stdout.strip() == "1"
    assert log.stat().st_ino == before


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("epoch", (1, None, "first", b"b", 1, 1, 1, 0)),
        ("epoch", (1, b"epoch--1", "first", b"b", None, 1, 1, 0)),
        ("delivered", (1, 1, 1, None)),
        ("delivered", (1, 9, 1, 1)),
        ("gone", (1, 1, 1, 2, "text", 1, "quota", None)),
        ("gone", (1, 1, 1, None, b"d", 1, "quota", None)),
        ("state", ("uptime_s", "77")),
        ("state", (None, b"77")),
    ],
)
def test_a_row_that_nobody_wrote_is_damage_and_no_surprise_later(table: str, values: tuple[object, ...]) -> None:
    schema = Path(spool_open.__file__).with_name("spool_schema.sql").read_text(encoding="utf-8")
    for word in (" STRICT", " NOT NULL", ", WITHOUT ROWID", " UNIQUE"):
        schema = schema.replace(word, "")
    db = apsw.Connection(":memory:")
    db.execute(schema)
    if table != "epoch":
        db.execute("INSERT INTO epoch VALUES (1, x'01', 'first', x'02', 1, 1, 1, 0)")
    assert read_all(db).epochs or table == "epoch"
    db.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(values))})", values)
    with pytest.raises((ValueError, TypeError)):
        read_all(db)


def _commit(spool: Spool, number: int) -> None:
    clock = Clock()
    chain = new_chain(clock)
    sealed = [seal_data(chain, clock, value) for value in range(number)]
    spool.commit(Commit(epoch_no=1, batches=sealed[-1:]))


def test_after_a_sync_that_failed_the_log_is_written_and_synced_again(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "spool.db-wal"
    _commit(spool, 1)
    synced: list[int] = []
    is_failing = True

    def fsync(file: int) -> None:
        if is_failing:
            raise OSError(5, "Input/output error")
        synced.append(os.fstat(file).st_ino)

    monkeypatch.setattr(spool_log.os, "fsync", fsync)
    spool._fail(apsw.IOError("the disk did not sync"))
    before = log.read_bytes()
    with pytest.raises(SpoolError, match="Input/output error"):
        _commit(spool, 2)
    is_failing = False
    with pytest.raises(SpoolError, match="constraint"):
        spool.commit(Commit(epoch_no=1, delivered={(1, Lane.DATA): ((1, 1), (1, 1))}))
    assert synced == [log.stat().st_ino], "once it has worked that is enough"
    assert log.read_bytes() == before
    _commit(spool, 2)
    assert len(spool.read(1, Lane.DATA, [(1, 9)], limit_bytes=1 << 20)) == 2
    assert len(synced) == 1


def test_other_errors_do_not_wear_the_card(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(spool_log.os, "fsync", synced.append)
    spool._fail(apsw.FullError("full"))
    _commit(spool, 1)
    assert synced == []


def test_a_log_that_is_not_there_needs_no_writing(tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "new.db"))
    assert spool_log.write_log_again(db) == 0
    prepare(db)
    db.close()


def test_whoever_opens_the_file_writes_again_what_the_log_holds_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spool.db"
    frame = 24 + spool_open.PAGE_BYTES
    _with_a_log(path, commits=3)
    log = path.with_name("spool.db-wal")
    before = log.read_bytes()
    written: list[int] = []
    real = spool_log.os.pwrite
    monkeypatch.setattr(spool_log.os, "pwrite", lambda *given: written.append(len(given[1])) or real(*given))
    again = Spool(connect_file(path))
    again.open()
    assert log.read_bytes() == before
    assert 32 + 3 * frame <= sum(written) < len(before)
    written.clear()
    again.close()
    again.open()
    assert written == [], "the same process knows that its syncs have worked"
    again.close()
    Spool(connect_file(path)).open()
    assert sum(written) == 32 + frame, "a log that was emptied holds the one page that empties it"


@pytest.mark.parametrize("head", [b"", b"short", bytes(32), b"\xff" * 32])
def test_a_log_without_a_head_is_written_again_as_a_whole(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.db"
    db = apsw.Connection(str(path))
    data = head + bytes(range(200)) * 700
    path.with_name("a.db-wal").write_bytes(data)
    assert spool_log.write_log_again(db) == len(data)
    assert path.with_name("a.db-wal").read_bytes() == data
    db.close()


def test_a_log_that_was_once_long_is_not_taken_into_memory(spool: Spool, tmp_path: Path) -> None:
    log = tmp_path / "spool.db-wal"
    spool.leave()
    with log.open("r+b") as file:
        file.truncate(50_000_000)
    # VmHWM begins anew with a program; getrusage's figure is that of the test before it where that was larger.
    script = (
        "import re, sys; from pathlib import Path; from edge_agent.spool import Spool;"
        "from edge_agent.spool_thread import connect_file as connect;"
        "most = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]); before = most();"
        "Spool(connect(Path(sys.argv[1]))).open(); print(most() - before)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "spool.db")]
    said = subprocess.run(command, capture_output=True, check=True, text=True)
    assert int(said.stdout) < 20_000, "kB"


def test_an_emptied_log_leaves_closing_nothing_to_wait_for(spool: Spool) -> None:
    """apsw's ``close`` holds the interpreter's lock, so nothing may be left that it would move into the file."""
    db = spool._db
    assert db is not None
    spool_log.empty_log(db)
    assert db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP) == (1, 1)


# -- the log, behind what SQLite can read of it ------------------------------------------------


def _with_a_log(path: Path, commits: int) -> list[bytes]:
    """Leaves a spool whose commits lie in the log; returns the digests."""
    made = Spool(connect_file(path))
    made.open()
    clock = Clock()
    chain = new_chain(clock)
    digests = []
    for number in range(commits):
        clock.pass_s(2)
        sealed = seal_data(chain, clock, number)
        digests.append(sealed.digest)
        made.commit(Commit(epoch_no=1, epochs=(ROW,), batches=[sealed]))
    made.leave()
    return digests


def _place_in_log(path: Path, digest: bytes) -> int:
    return path.with_name("spool.db-wal").read_bytes().index(digest)


@pytest.mark.parametrize("number", [0, 3, 7])
async def test_a_bit_in_the_middle_of_the_log_does_not_undo_what_came_after_it_unseen(
    tmp_path: Path, number: int
) -> None:
    path = tmp_path / "spool.db"
    digests = _with_a_log(path, 10)
    log = path.with_name("spool.db-wal")
    data = bytearray(log.read_bytes())
    data[_place_in_log(path, digests[number])] ^= 16
    log.write_bytes(data)
    thread = SpoolThread(path)
    opened = await thread.open()
    assert opened.put_aside is not None
    assert len(thread.aside) == 1
    await thread.close()


@pytest.mark.parametrize("at", [0, 9, 17, 25])
async def test_a_bit_in_the_beginning_of_the_log_is_damage_too(tmp_path: Path, at: int) -> None:
    path = tmp_path / "spool.db"
    _with_a_log(path, 3)
    log = path.with_name("spool.db-wal")
    data = bytearray(log.read_bytes())
    data[at] ^= 1
    log.write_bytes(data)
    thread = SpoolThread(path)
    assert (await thread.open()).put_aside is not None
    await thread.close()


def test_a_last_commit_that_is_not_whole_is_what_a_power_cut_leaves(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    digests = _with_a_log(path, 10)
    log = path.with_name("spool.db-wal")
    data = bytearray(log.read_bytes())
    data[_place_in_log(path, digests[-1])] ^= 16
    log.write_bytes(data)
    again = Spool(connect_file(path))
    assert again.open().lanes[1, Lane.DATA].head.seq == 9
    again.close()


def test_a_torn_head_of_a_frame_is_no_second_commit(tmp_path: Path) -> None:
    """The sector with its first bytes may still hold those of an older frame, which ended a commit."""
    path = tmp_path / "spool.db"
    digests = _with_a_log(path, 10)
    log = path.with_name("spool.db-wal")
    data = bytearray(log.read_bytes())
    frame = 24 + spool_open.PAGE_BYTES
    salts = bytes(data[16:24])
    frames = [at for at in range(32, len(data) - frame + 1, frame) if data[at + 8 : at + 16] == salts]
    commits = [at for at in frames if any(data[at + 4 : at + 8])]
    assert commits[-1] - commits[-2] > frame, "the last commit has more than one frame"
    data[commits[-1] - frame + 7] = 9
    log.write_bytes(data)
    again = Spool(connect_file(path))
    head = again.open().lanes[1, Lane.DATA].head
    assert (head.seq, head.digest) == (9, digests[8])
    again.close()


def test_an_empty_log_is_none(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    _with_a_log(path, 2)
    made = Spool(connect_file(path))
    made.open()
    made.close()
    path.with_name("spool.db-wal").write_bytes(b"")
    assert made.open().lanes[1, Lane.DATA].head.seq == 2
    made.close()


def test_what_was_receipted_is_believed_only_as_it_was_written(tmp_path: Path) -> None:
    """A bit there would let batches go that no collector has: rather is everything sent again."""
    path = tmp_path / "spool.db"
    _with_a_log(path, 5)
    made = Spool(connect_file(path))
    made.open()
    made.commit(Commit(epoch_no=1, delivered={(1, Lane.DATA): ((1, 2),), (1, Lane.ALARM): ((1, 1),)}))
    made.commit(Commit(epoch_no=1, delivered={(1, Lane.DATA): ((1, 3),)}))
    made.close()
    opened = made.open()
    assert list(opened.lanes[1, Lane.DATA].delivered) == [(1, 3)]
    assert opened.state == {}
    made._open.execute("UPDATE delivered SET last=5 WHERE lane=1")
    made.close()
    assert all(len(view.delivered) == 0 for view in made.open().lanes.values())
    made.commit(Commit(epoch_no=1, delivered={(1, Lane.DATA): ((1, 4),)}))
    made.close()
    assert list(made.open().lanes[1, Lane.DATA].delivered) == [(1, 4)]
    made._open.execute("DELETE FROM state")
    made.close()
    assert list(made.open().lanes[1, Lane.DATA].delivered) == [(1, 4)], "a spool of before has no sum"
    made.close()
