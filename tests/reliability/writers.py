"""Lives of the keeper on a disk that is cut off under it, and what the spool holds after each."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from contracts.batch import Lane
from edge_agent.spool import Spool
from edge_agent.spool_records import Opened
from edge_agent.spool_thread import connect_file
from edge_agent.state_dir import SPOOL
from tests.reliability.checker import Verdict, check
from tests.reliability.loop_disk import LoopDisk
from tests.reliability.oracle import Fact, Kind, batch_series, read_facts
from tests.reliability.spool_writer import GATEWAY, QUOTA
from tests.system.rig import ROOT, until


class Writers:
    """Lives of the keeper, one after the other, on one disk."""

    def __init__(self, folder: Path, mutant: str = "") -> None:
        """Makes the disk; starts nothing.

        Args:
            mutant: of ``spool_writer``.
        """
        self.disk = LoopDisk(folder)
        self._folder = folder
        self._mutant = mutant
        self._facts: list[Fact] = []
        self._lives = 0
        self.quota = QUOTA
        self.has_receipts = True
        #: seconds from one seal to the next; 0: as fast as the disk
        self.pace_s = 0.0
        self.log = folder / "writer.log"
        self._host: subprocess.Popen[str] | None = None

    def start(self, *before: str) -> None:
        """Starts what forks the writers, under another command such as ``strace`` where one is given."""
        with self.log.open("ab") as log:
            self._host = subprocess.Popen(
                [*before, sys.executable, "-m", "tests.reliability.spool_writer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                text=True,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Kills it and whatever it has forked."""
        if self._host is not None:
            os.killpg(self._host.pid, signal.SIGKILL)
            self._host.communicate()
            self._host = None

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self.disk.close()

    def live_until_cut(self, dice: random.Random, is_time: Callable[[Path], bool] | None = None) -> None:
        """Starts a writer and cuts it off at a random moment.

        Args:
            is_time: told the writer's oracle, says when that moment may come; None: soon.
        """
        self._lives += 1
        oracle = self._folder / f"oracle-{self._lives}"
        self.disk.mount()
        order = {
            "state": str(self.disk.path),
            "oracle": str(oracle),
            "seed": self._lives,
            "mutant": self._mutant,
            "quota": self.quota,
            "has_receipts": self.has_receipts,
            "pace_s": self.pace_s,
        }
        if self._host is None:
            self.start()
        assert self._host is not None
        assert self._host.stdin is not None
        assert self._host.stdout is not None
        print(json.dumps(order), file=self._host.stdin, flush=True)
        writer = int(self._host.stdout.readline())
        try:
            size = dice.choice([200, 5_000])
            until(lambda: oracle.exists() and oracle.stat().st_size > size, "a batch", 30.0, 0.005)
            if is_time is not None:
                until(lambda: is_time(oracle), "what is waited for", 60.0, 0.02)
            time.sleep(dice.uniform(0.0, 0.2))
            before = list(read_facts(oracle))
            self.disk.cut()
        finally:
            os.kill(writer, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{writer}").exists(), "the writer's end", 10.0, 0.002)
        after = list(read_facts(oracle))[len(before) :]
        # What was promised after the look at the oracle may have been promised after the cut.
        self._facts += [*before, *(fact for fact in after if fact.kind is Kind.ATTEMPT)]
        until(self._is_unmounted, "the disk's end", 10.0, 0.01)

    def _is_unmounted(self) -> bool:
        try:
            self.disk.unmount()
        except OSError:
            return False
        return True

    def judge(self) -> Verdict:
        """Opens the spool after a cut, as the agent does, and compares it with what was promised."""
        self.disk.mount()
        spool = Spool(connect_file(self.disk.path / SPOOL))
        try:
            opened = spool.open()
            assert spool.check() == "ok"
            found = list(_read(spool, opened))
            self._check_alarm_state(opened)
        finally:
            spool.leave()
            self.disk.unmount()
        return check([*self._facts, Fact(Kind.READING, "", 0, 0), *found])

    def _check_alarm_state(self, opened: Opened) -> None:
        """The alarm state is that of the newest alarm batch: both came in one transaction."""
        if "alarms" in opened.state:
            epoch, seq = opened.state["alarms"].decode().split()
            newest = max((row for row in opened.epochs if not row.is_volatile), key=lambda row: row.no)
            assert epoch == newest.epoch.hex()
            assert int(seq) == opened.lanes[newest.no, Lane.ALARM].head.seq


def _read(spool: Spool, opened: Opened) -> Iterator[Fact]:
    for row in opened.epochs:
        for lane in Lane:
            series = batch_series(GATEWAY, row.epoch, lane)
            view = opened.lanes[row.no, lane]
            for ranges in (view.lost, view.released):
                yield from (Fact(Kind.GAP, series, first, last, "gone") for first, last in ranges)
            after = 0
            while rows := spool.read(row.no, lane, [(after + 1, 1 << 32)], limit_bytes=1 << 22, limit_rows=1000):
                for batch in rows:
                    assert batch.is_whole
                    yield Fact(Kind.READ, series, batch.seq, batch.seq, batch.digest.hex())
                after = rows[-1].seq
