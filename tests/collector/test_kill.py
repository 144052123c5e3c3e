"""Kill the collector anywhere: receipts are never ahead of what is durable, and all ends in the same tables.

The sweep forks a process for every SQL statement and every publishing of the commit path and kills it there
with SIGKILL.  Killing a process loses nothing that the kernel has; that a power cut loses nothing either rests on
``synchronous=FULL`` and is tested with the store's file on a disk that is cut off (``test_disk``).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from collector.chain import Ledger
from collector.database import FILE_NAME, open_writer
from tests.collector.commit_path import messages, run
from tests.collector.conftest import Bench
from tests.collector.test_store import dump

SEED, COUNT = 1, 7


@pytest.fixture
def make_folder(tmp_path: Path, template: Path) -> Callable[[], Path]:
    made: list[Path] = []

    def make() -> Path:
        folder = tmp_path / f"kill-{len(made)}"
        made.append(folder)
        bench = Bench(folder, template)
        bench.store.close()
        return folder

    return make


def fork_and_kill(folder: Path, kill_at: int) -> bool:
    """Runs the writer in a child that kills itself at one step; returns whether it came to that."""
    child = os.fork()
    if child == 0:
        try:
            run(folder, folder / "receipts", SEED, COUNT, kill_at)
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def check_receipts(folder: Path, receipts: Path | None = None) -> int:
    """Checks every receipt that was ever published against what is in the file now; returns how many there were."""
    path = folder / "receipts" if receipts is None else receipts
    lines = path.read_text().splitlines() if path.exists() else []
    db = open_writer(folder / FILE_NAME)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        serials = set()
        for line in lines:
            collector_epoch, serial, epoch, lane, contiguous, digest, *also = line.split(" ")
            assert (collector_epoch, serial) not in serials, "a serial was given twice"
            serials.add((collector_epoch, serial))
            promised = [(1, int(contiguous))] if int(contiguous) else []
            promised += [(int(first), int(last)) for first, last in (part.split("-") for part in also)]
            if not promised:
                continue
            row = db.execute(
                "SELECT c.ranges, c.forks, c.breaks FROM chain c JOIN epoch_name n ON n.no=c.epoch_no"
                " WHERE n.epoch=? AND c.lane=?",
                (bytes.fromhex(epoch), int(lane)),
            ).fetchone()
            assert row is not None, f"receipted and not there: {line}"
            ledger = Ledger.from_text(*row)
            for first, last in promised:
                for seq in range(first, last + 1):
                    assert ledger.holds(seq), f"receipted and not there: {line}"
                    assert _speaks_for(db, bytes.fromhex(epoch), int(lane), seq), f"no signed bytes: {line}, {seq}"
            if int(contiguous) and digest:
                assert bytes.fromhex(digest) in _digests(db, bytes.fromhex(epoch), int(lane), int(contiguous))
        return len(lines)
    finally:
        db.close()


def _digests(db: sqlite3.Connection, epoch: bytes, lane: int, seq: int) -> set[bytes]:
    rows = db.execute(
        "SELECT digest FROM evidence e JOIN epoch_name n ON n.no=e.epoch_no WHERE n.epoch=?1 AND lane=?2 AND seq=?3"
        " UNION SELECT digest FROM loss l JOIN epoch_name n ON n.no=l.epoch_no"
        " WHERE n.epoch=?1 AND lane=?2 AND last=?3",
        (epoch, lane, seq),
    )
    return {row[0] for row in rows}


def _speaks_for(db: sqlite3.Connection, epoch: bytes, lane: int, seq: int) -> bool:
    covered = db.execute(
        "SELECT 1 FROM loss l JOIN epoch_name n ON n.no=l.epoch_no WHERE n.epoch=? AND lane=? AND first<=? AND last>=?",
        (epoch, lane, seq, seq),
    ).fetchone()
    return covered is not None or bool(_digests(db, epoch, lane, seq))


def tables(folder: Path, template: Path) -> object:
    """Returns every projection of a folder by its own names."""
    bench = object.__new__(Bench)
    from collector.store import Store

    bench.store = Store(folder / FILE_NAME, lambda: 0)
    bench.store.open()
    found = dump(bench)
    found["told"] = bench.rows("SELECT alarm_id, decision FROM decision ORDER BY 1, 2")
    found["stated"] = bench.rows("SELECT mono_us, ids FROM stated")
    bench.store.close()
    return found


def sweep(make_folder: Callable[[], Path], template: Path, steps: Iterable[int], sure: int) -> None:
    """Kills at each step; groups form a little differently each time, so a step after ``sure`` may not be reached."""
    calm = make_folder()
    run(calm, calm / "receipts", SEED, COUNT)
    wanted = tables(calm, template)
    assert check_receipts(calm) > 5
    for kill_at in steps:
        folder = make_folder()
        was_killed = fork_and_kill(folder, kill_at)
        assert was_killed or kill_at > sure, f"step {kill_at} was not reached"
        check_receipts(folder)
        run(
            folder, folder / "receipts", SEED, COUNT
        )  # what the gateway was not receipted for comes again, and all the rest with it
        check_receipts(folder)
        assert tables(folder, template) == wanted, f"killed at step {kill_at}"
        shutil.rmtree(folder)


def count_steps(make_folder: Callable[[], Path]) -> int:
    return min(_steps(make_folder()) for _ in range(3))


def _steps(folder: Path) -> int:
    return run(folder, folder / "receipts", SEED, COUNT)


@pytest.mark.slow
def test_a_sample_of_the_statements_of_the_commit_path(make_folder: Callable[[], Path], template: Path) -> None:
    steps = count_steps(make_folder)
    assert steps > 100
    sweep(make_folder, template, [steps // 2, steps * 8 // 10], steps)


@pytest.mark.ci
def test_killed_at_every_statement_of_the_commit_path(make_folder: Callable[[], Path], template: Path) -> None:
    steps = count_steps(make_folder)
    sweep(make_folder, template, range(1, steps + 5), steps * 8 // 10)


@pytest.mark.ci
def test_killed_at_random_while_it_runs_and_started_again_on_the_same_file(
    make_folder: Callable[[], Path], template: Path
) -> None:
    """One folder, many lives: each is killed from outside after a random time."""
    folder, chance = make_folder(), random.Random(9)
    for _ in range(8):
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.collector.commit_path",
                str(folder),
                str(folder / "receipts"),
                str(SEED),
                "200",
            ],
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )
        before = _size(folder / "receipts")
        deadline = time.monotonic() + 20
        while process.poll() is None and _size(folder / "receipts") == before and time.monotonic() < deadline:
            time.sleep(0.002)  # it works now
        time.sleep(chance.random() * 0.15)
        process.kill()
        process.wait()
        check_receipts(folder)
    run(folder, folder / "receipts", SEED, 200)
    g, every = messages(SEED, 200)
    calm = make_folder()
    run(calm, calm / "receipts", SEED, 200)
    assert check_receipts(folder) > 8
    assert tables(folder, template) == tables(calm, template)
    assert g.heads
    assert len(every) > 200


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.slow
def test_a_receipt_before_the_commit_would_be_caught(
    make_folder: Callable[[], Path], template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check has teeth: a store that answers first and commits afterwards fails it."""
    from collector.store import Store

    def careless(self: Store, work: Callable[[], object]) -> object:
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._db.execute("BEGIN IMMEDIATE")
        return work()

    folder = make_folder()
    monkeypatch.setattr(Store, "_transaction", careless)
    child = os.fork()
    if child == 0:
        try:
            run(folder, folder / "receipts", SEED, 9)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with pytest.raises(AssertionError, match="receipted and not there"):
        check_receipts(folder)
