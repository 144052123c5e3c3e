"""The spool keeps its promise on a real file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import apsw
import pytest

from contracts.batch import Lane, LossRecord
from contracts.envelope import Type, open_envelope
from contracts.keys import Verifier
from edge_agent import spool_open
from edge_agent.errors import SpoolError
from edge_agent.put_aside import kept_aside, put_aside
from edge_agent.seal import Sealed
from edge_agent.spool import Candidate, Commit, EpochRow, Spool, batch_id, split_id
from edge_agent.spool_room import oldest
from edge_agent.spool_thread import SpoolThread, connect_file
from tests.edge_agent.chains import SIGNER, Clock, new_chain, seal_data
from tests.reliability.crash_vfs import Does, Recording, RecordingVfs


def _row(no: int = 1, epoch: bytes = b"epoch--1") -> EpochRow:
    return EpochRow(
        no=no, epoch=epoch, reason="first", boot_id=b"\x01" * 16, boot_counter=3, started_us=0, started_uptime_s=0
    )


def _open(path: Path) -> Spool:
    spool = Spool(connect_file(path))
    spool.open()
    return spool


def _filled(path: Path, count: int) -> tuple[Spool, list[Sealed]]:
    clock = Clock()
    chain = new_chain(clock)
    spool = _open(path)
    spool.begin_epoch(_row())
    batches = []
    for number in range(count):
        clock.pass_s(2)
        sealed = seal_data(chain, clock, number)
        batches.append(sealed)
        spool.commit(Commit(epoch_no=1, batches=[sealed], state={"alarms": b"%d" % number}))
    return spool, batches


def test_ids_hold_epoch_lane_and_seq() -> None:
    for parts in [(1, Lane.ALARM, 1), (7, Lane.DATA, (1 << 32) - 1), ((1 << 28) | 5, Lane.DATA, 12)]:
        assert split_id(batch_id(*parts)) == parts
    assert batch_id(1, Lane.DATA, 5) > batch_id(1, Lane.ALARM, 10**9)


def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    spool, batches = _filled(tmp_path / "spool.db", 5)
    spool.close()
    again = Spool(connect_file(tmp_path / "spool.db"))
    opened = again.open()
    assert [row.epoch for row in opened.epochs] == [b"epoch--1"]
    assert opened.lanes[1, Lane.DATA].head.seq == 5
    assert opened.lanes[1, Lane.DATA].head.digest == batches[-1].digest
    assert opened.state == {"alarms": b"4"}
    read = again.read(1, Lane.DATA, [(1, 5)], limit_bytes=1 << 20)
    assert [item.envelope for item in read] == [item.envelope for item in batches]
    for item in read:
        open_envelope(item.envelope, Type.DATA_BATCH, {SIGNER.key_id: Verifier(SIGNER.public)})


def test_pragmas_are_those_of_the_promise(tmp_path: Path) -> None:
    spool = _open(tmp_path / "spool.db")
    db = spool._open
    assert db.execute("PRAGMA journal_mode").get == "wal"
    assert db.execute("PRAGMA synchronous").get == 2
    assert db.execute("PRAGMA mmap_size").get == 0


def test_a_commit_is_all_or_nothing(tmp_path: Path) -> None:
    spool, _ = _filled(tmp_path / "spool.db", 1)
    broken = Commit(epoch_no=1, state={"alarms": b"new"}, delivered={(1, Lane.DATA): ((1, 1), (1, 1))})
    with pytest.raises(SpoolError, match="could not be written"):
        spool.commit(broken)
    assert spool._open.execute("SELECT value FROM state WHERE key='alarms'").get == b"0"


def test_the_same_commit_twice_is_harmless(tmp_path: Path) -> None:
    spool, batches = _filled(tmp_path / "spool.db", 2)
    spool.commit(Commit(epoch_no=1, batches=[batches[1]]))
    assert len(spool.read(1, Lane.DATA, [(1, 9)], limit_bytes=1 << 20)) == 2


def test_released_history_stays_provable(tmp_path: Path) -> None:
    spool, batches = _filled(tmp_path / "spool.db", 6)
    assert spool.release(1, Lane.DATA, 1, 2) == 2
    assert spool.release(1, Lane.DATA, 3, 4) == 2
    assert spool.digest(1, Lane.DATA, 4) == batches[3].digest
    assert spool.read(1, Lane.DATA, [(1, 4)], limit_bytes=1 << 20) == []
    assert spool._open.execute("SELECT first, last, readings FROM gone").fetchall() == [(1, 4, 8)]


def test_a_lane_whose_newest_batches_are_gone_keeps_its_head(tmp_path: Path) -> None:
    spool, batches = _filled(tmp_path / "spool.db", 3)
    spool.release(1, Lane.DATA, 1, 3)
    spool.close()
    opened = Spool(connect_file(tmp_path / "spool.db")).open()
    assert opened.lanes[1, Lane.DATA].head.seq == 3
    assert opened.lanes[1, Lane.DATA].head.digest == batches[2].digest


def test_dropping_needs_a_loss_record_and_is_remembered(tmp_path: Path) -> None:
    spool, batches = _filled(tmp_path / "spool.db", 4)
    every = Candidate(epoch_no=1, lane=Lane.DATA, ranges=[(1, 4)])
    found = oldest(spool, [every], want_bytes=len(batches[0].envelope) + 1)
    assert found is not None
    assert (found.first, found.last, found.digest, found.readings) == (1, 2, batches[1].digest, 4)
    loss = LossRecord(
        epoch=b"epoch--1", lane=Lane.DATA, first=1, last=2, digest=batches[1].digest, readings=4, cause="quota"
    )
    spool.commit(Commit(epoch_no=1, drop=[(1, loss)]))
    spool.close()
    opened = Spool(connect_file(tmp_path / "spool.db")).open()
    assert list(opened.lanes[1, Lane.DATA].lost) == [(1, 2)]


def test_another_version_is_refused_with_a_sentence(tmp_path: Path) -> None:
    spool = _open(tmp_path / "spool.db")
    spool._open.execute("PRAGMA user_version=99")
    spool.close()
    with pytest.raises(SpoolError, match="version 99"):
        _open(tmp_path / "spool.db")


async def test_a_damaged_file_is_put_aside_and_service_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    path.write_bytes(b"this was a spool once" * 400)
    thread = SpoolThread(path)
    opened = await thread.open()
    assert opened.put_aside is not None
    assert opened.epochs == ()
    (aside,) = kept_aside(path)
    assert aside.path.read_bytes().startswith(b"this was a spool")
    assert opened.put_aside == f"the spool was damaged and is kept as {aside.path.name}"
    assert thread.aside == (aside,)
    await thread.close()


def test_putting_aside_ends_somewhere(tmp_path: Path) -> None:
    for number in range(1, 21):
        (tmp_path / f"spool.db.damaged-{number}").touch()
    (tmp_path / "spool.db").touch()
    with pytest.raises(SpoolError, match="look at them"):
        put_aside(tmp_path / "spool.db")
    assert (tmp_path / "spool.db").exists()


async def test_a_directory_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    thread = SpoolThread(tmp_path / "missing" / "spool.db")
    with pytest.raises(SpoolError, match="cannot be opened"):
        await thread.open()
    await thread.close()


def test_after_a_failed_write_the_next_one_uses_a_new_connection(tmp_path: Path) -> None:
    made: list[apsw.Connection] = []

    def connect() -> apsw.Connection:
        made.append(apsw.Connection(str(tmp_path / "spool.db")))
        return made[-1]

    spool = Spool(connect)
    spool.open()
    with pytest.raises(SpoolError):
        spool.commit(Commit(epoch_no=1, delivered={(1, Lane.DATA): ((1, 1), (1, 1))}))
    spool.begin_epoch(_row())
    assert len(made) == 2


@pytest.mark.parametrize("failing", ["spool.db", "spool.db-wal"])
def test_a_disk_that_fails_while_the_log_is_moved_is_not_trusted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    monkeypatch.setattr(spool_open, "_LOG_PAGES", 20)
    disk = Recording()
    vfs = RecordingVfs(disk)
    made: list[apsw.Connection] = []
    synced: list[str] = []

    def connect() -> apsw.Connection:
        made.append(vfs.connect(tmp_path / "spool.db")())
        return made[-1]

    def fails(name: str) -> bool:
        synced.append(name)
        # The log is synced by the commit, and once more before it is moved.
        return name == failing and (failing == "spool.db" or synced[-2:-1] == [failing])

    spool = Spool(connect)
    spool.open()
    spool.begin_epoch(_row())
    clock = Clock()
    chain = new_chain(clock)
    disk.fails = fails
    seqs = 0
    while len(made) == 1:
        assert seqs < 50
        synced.clear()
        spool.commit(Commit(epoch_no=1, batches=[seal_data(chain, clock, seqs)], state={}))
        seqs += 1
        if not spool.is_open:
            disk.fails = lambda name: False
            assert spool.digest(1, Lane.DATA, seqs) is not None
    assert "could not be moved into its file" in caplog.text
    assert spool.inventory().lanes[1, Lane.DATA].head.seq == seqs
    spool.close()


def test_a_disk_that_never_takes_the_log_is_asked_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool_open, "_LOG_PAGES", 20)
    disk = Recording()
    vfs = RecordingVfs(disk)
    spool = Spool(vfs.connect(tmp_path / "spool.db"))
    spool.open()

    def commit() -> None:
        spool.commit(Commit(epoch_no=1, state={"a": os.urandom(2000)}))
        disk.ops.clear()

    disk.fails = lambda name: name == "spool.db"
    for _ in range(100):
        commit()
    most = len(caplog.records)
    assert 3 <= most <= 6, "each time it is opened anew, and its whole log written again"
    disk.fails = lambda name: False
    long = spool._log_pages
    for _ in range(100):
        commit()
    assert len(caplog.records) == most
    assert spool._log_pages < long
    spool.close()


def test_a_file_with_larger_pages_has_no_longer_log(tmp_path: Path) -> None:
    longest = {}
    for page in (512, 1024):
        folder = tmp_path / str(page)
        folder.mkdir()
        db = apsw.Connection(str(folder / "spool.db"))
        db.execute(f"PRAGMA page_size={page}")
        db.execute("PRAGMA journal_mode=WAL")
        db.close()
        spool = Spool(connect_file(folder / "spool.db"))
        spool.open()
        pages = []
        for _ in range(60):
            spool.commit(Commit(epoch_no=1, state={"a": os.urandom(60_000)}))
            pages.append(spool._log_pages)
        longest[page] = max(pages) * page
        spool.close()
    assert longest[1024] == pytest.approx(longest[512], rel=0.1)


@pytest.mark.parametrize("failing", ["spool.db", "spool.db-wal"])
def test_a_disk_that_fails_while_the_spool_is_closed_is_asked_once(tmp_path: Path, failing: str) -> None:
    disk = Recording()
    vfs = RecordingVfs(disk)
    spool = Spool(vfs.connect(tmp_path / "spool.db"))
    spool.open()
    spool.begin_epoch(_row())
    disk.fails = lambda name: name == failing
    done = len(disk.ops)
    spool.close()
    syncs = [op for op in disk.ops[done:] if op.does in {Does.SYNC, Does.FAILED_SYNC} and op.name == failing]
    assert [op.does for op in syncs] == [Does.FAILED_SYNC]
    disk.fails = lambda name: False
    assert [row.no for row in spool.open().epochs] == [1]
    spool.close()


_WRITER = """
import sys, os
from pathlib import Path
from tests.edge_agent.chains import Clock, new_chain, seal_data
from edge_agent.spool import Candidate, Commit, EpochRow, Spool
from edge_agent.spool_thread import connect_file
clock, path = Clock(), Path(sys.argv[1])
spool = Spool(connect_file(path))
spool.open()
epoch = os.urandom(8)
no = int(sys.argv[2])
spool.begin_epoch(EpochRow(no=no, epoch=epoch, reason="restart", boot_id=b"b" * 16, boot_counter=1, started_us=0,
                           started_uptime_s=0))
chain = new_chain(clock, epoch)
while True:
    clock.pass_s(2)
    sealed = seal_data(chain, clock)
    spool.commit(Commit(epoch_no=no, batches=[sealed], state={"alarms": b"%d" % sealed.seq}))
    os.write(1, f"{no} {sealed.seq} {sealed.digest.hex()}\\n".encode())
"""


def test_kill_at_any_moment_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    root = Path(__file__).resolve().parents[2]
    stored: list[tuple[int, int, str]] = []
    for no in range(1, 6):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_WRITER), str(path), str(no)],
            stdout=subprocess.PIPE,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert process.stdout is not None
        for _ in range(20 + 7 * no):
            line = process.stdout.readline().split()
            stored.append((int(line[0]), int(line[1]), line[2].decode()))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
        for line_ in rest.splitlines():
            parts = line_.split()
            if len(parts) == 3 and len(parts[2]) == 64:
                stored.append((int(parts[0]), int(parts[1]), parts[2].decode()))
    spool = _open(path)
    assert spool.check() == "ok"
    for no, seq, digest in stored:
        found = spool.digest(no, Lane.DATA, seq)
        assert found is not None
        assert found.hex() == digest
