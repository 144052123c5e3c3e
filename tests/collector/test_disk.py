"""The collector's disk full to the byte, read-only, and cut off: nothing is acknowledged that is not durable.

Real ext4 on a loop device.  What a power cut leaves is what the kernel leaves when the disk is shut down under it.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.database import FILE_NAME
from collector.store import Store
from collector.writer import Writer
from contracts.batch import Lane
from contracts.envelope import Type, open_envelope
from contracts.keys import Verifier
from contracts.receipt import Receipt
from tests.collector.commit_path import run
from tests.collector.conftest import Bench
from tests.collector.test_kill import check_receipts, tables
from tests.reliability.loop_disk import LoopDisk

pytestmark = pytest.mark.ci
S = 1_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    made = LoopDisk(tmp_path, 24)
    made.mount()
    yield made
    made.close()


class Running:
    """A bench on the disk with a writer, and every receipt as it was published."""

    def __init__(self, disk: LoopDisk, template: Path) -> None:
        self.bench = Bench(disk.path / "data", template)
        subprocess.run(["sync", "-f", str(disk.path)], check=True)  # the empty database was only copied there
        self.receipts: list[Receipt] = []
        self.bench.store.close()
        self.start()

    def start(self) -> None:
        self.store = Store(self.bench.data / FILE_NAME, lambda: self.bench.now_us)
        self.store.open()
        own = {self.bench.signer.key_id: Verifier(self.bench.signer.public)}

        def publish(topic: str, payload: bytes) -> None:
            if topic.endswith("receipt"):
                self.receipts.append(Receipt.from_body(open_envelope(payload, Type.RECEIPT, own).body))

        self.writer = Writer(
            self.store,
            self.bench.signer,
            publish=publish,
            on_change=lambda change: None,
            now_us=lambda: self.bench.now_us,
        )
        self.writer.start()

    def put(self, message: tuple[str, bytes], at_us: int = 100 * S) -> None:
        assert self.writer.put(self.bench.gateway.arrival(message, at_us))

    def newest(self, lane: Lane) -> int:
        return max((item.contiguous for item in self.receipts if item.lane is lane), default=0)

    def until(self, is_so: object, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():  # type: ignore[operator]
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def close(self) -> None:
        self.writer.stop()
        self.store.close()


def fill_until_it_fails(running: Running) -> tuple[int, list[tuple[str, bytes]]]:
    """Sends data until the store takes no more, and then an alarm; returns how many batches, and all messages."""
    g = running.bench.gateway
    sent, count = [], 1
    for n in range(2, 400):  # until the space that the files already had is used up
        sent.append(g.data(n * 2 * S, ticks=30))
        running.put(sent[-1])
        count = n
        if running.writer.counters()["ingest_failing"]:
            break
        time.sleep(0.005)
    sent.append(g.seal((count + 2) * 2 * S, lane=Lane.ALARM, events=(g.event("active", (count + 1) * 2 * S),)))
    running.put(sent[-1])
    running.until(lambda: running.writer.counters()["ingest_failing"] == 1)
    receipted = len(running.receipts)
    failed = running.writer.counters()["ingest_failed_commits"]
    running.until(lambda: running.writer.counters()["ingest_failed_commits"] > failed + 1)
    assert len(running.receipts) == receipted
    assert running.newest(Lane.DATA) < count
    return count, sent


def test_a_full_disk_acknowledges_nothing_and_recovers_by_itself(disk: LoopDisk, template: Path) -> None:
    running = Running(disk, template)
    g = running.bench.gateway
    running.put(g.catalogue_message())
    running.put(g.data(2 * S))
    running.until(lambda: running.newest(Lane.DATA) == 1)
    running.store.run_checkpoint()  # the log gives its space back, and the next commit needs new
    disk.fill()
    count, _ = fill_until_it_fails(running)
    disk.empty()
    running.until(lambda: running.newest(Lane.DATA) == count and running.newest(Lane.ALARM) == 1)
    running.until(lambda: running.writer.counters()["ingest_failing"] == 0)
    running.close()
    check_whole(running, count)


def test_a_disk_gone_read_only_acknowledges_nothing_and_all_comes_again_afterwards(
    disk: LoopDisk, template: Path
) -> None:
    running = Running(disk, template)
    g = running.bench.gateway
    first = [g.catalogue_message(), g.data(2 * S)]
    for message in first:
        running.put(message)
    running.until(lambda: running.newest(Lane.DATA) == 1)
    disk.make_read_only()
    count, sent = fill_until_it_fails(running)
    running.close()
    disk.make_writable()  # a person's work, and then the collector is started again
    again = object.__new__(Running)
    again.bench, again.receipts = running.bench, []
    again.start()
    for message in first + sent:
        again.put(message)
    again.until(lambda: again.newest(Lane.DATA) == count and again.newest(Lane.ALARM) == 1)
    again.close()
    check_whole(again, count)


def check_whole(running: Running, count: int) -> None:
    store = Store(running.bench.data / FILE_NAME, lambda: 0)
    store.open()
    assert store.scalar("PRAGMA integrity_check") == "ok"
    assert store.scalar("SELECT count(*) FROM evidence") == count + 1
    store.close()


def test_cut_off_at_random_no_receipt_was_ahead_of_the_disk(disk: LoopDisk, tmp_path: Path, template: Path) -> None:
    """The receipts lie outside the disk and are read before the cut: what comes after it was not seen by anybody."""
    bench = Bench(disk.path / "data", template)
    bench.store.close()
    subprocess.run(["sync", "-f", str(disk.path)], check=True)
    receipts, chance = tmp_path / "receipts", random.Random(4)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.collector.commit_path", str(bench.data), str(receipts), "1", "400"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )
        before = receipts.stat().st_size if receipts.exists() else 0
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            if receipts.exists() and receipts.stat().st_size > before:
                break
            time.sleep(0.002)
        time.sleep(chance.random() * 0.2)
        seen = receipts.read_bytes()  # before the cut: a process that lives on a little may still write
        disk.cut()
        process.kill()
        process.wait()
        receipts.write_bytes(seen)
        disk.unmount()
        disk.mount()
        check_receipts(bench.data, receipts)
    run(bench.data, receipts, 1, 400)
    assert check_receipts(bench.data, receipts) > 50
    calm = Bench(tmp_path / "calm", template)
    calm.store.close()
    run(calm.data, tmp_path / "calm-receipts", 1, 400)
    assert tables(bench.data, template) == tables(calm.data, template)
