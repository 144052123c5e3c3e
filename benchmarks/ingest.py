"""Ingest of a backlog: verified readings per second into evidence and projections, bytes per reading.

Seals batches of 400 readings in memory (20 blocks of 20 points, one tick each, 200 readings/s
at 2 s seals), then judges and commits them as the collector does, with FULL.  Verification,
decoding, evidence, latest values, roll-ups, chains and signed receipts are all in the time;
MQTT is not.  The database is made in a temporary directory of the disk named.

    python benchmarks/ingest.py [--batches 3000] [--dir DIR] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collector.database import upgrade
from collector.ingest import judge_message
from collector.receipts import sign_receipt
from collector.store import Arrival, Store
from collector.writer import GROUP_SIZE, calm_garbage_collection
from contracts.batch import NO_HEAD, Anchor, Batch, ClockState, Genesis, Head, Header, Lane, Origin, encode_batch
from contracts.catalogue import Catalogue, CatalogueBlock, CatalogueDevice, CataloguePoint
from contracts.columns import encode_block
from contracts.envelope import Type, seal
from contracts.keys import Signer, Verifier
from contracts.topics import Channel, topic

BLOCKS, POINTS, START_US = 20, 20, 1_793_491_200_000_000


def make_catalogue(gateway: str) -> Catalogue:
    device = CatalogueDevice(id="d", en="d", zh="d", port="p", unit_id=1, profile="p", profile_hash=b"12345678")
    points = tuple(
        CataloguePoint(
            key=f"d-{n // POINTS}/raw/{n % POINTS}", quantity="raw", unit="1", kind="int", resolution=Fraction(1, 100),
            low=None, high=None, longest_silence_ms=5000, device=0, en="point", zh="点",
        )
        for n in range(BLOCKS * POINTS)
    )  # fmt: skip
    blocks = tuple(
        CatalogueBlock(points=tuple(range(b * POINTS, (b + 1) * POINTS)), interval_ms=2000, phase_ms=0)
        for b in range(BLOCKS)
    )
    return Catalogue(gateway=gateway, en="bench", zh="测试", devices=(device,), points=points, blocks=blocks)


def make_batches(signer: Signer, catalogue: Catalogue, count: int) -> list[tuple[str, bytes]]:
    """Returns (topic, envelope) of ``count`` chained batches with slowly wandering values."""
    rng = random.Random(1)
    gateway = signer.public.gateway_id
    where = topic(gateway, Channel.DATA)
    values = [rng.randrange(100, 30_000) for _ in range(BLOCKS * POINTS)]
    head, found = NO_HEAD, []
    for number in range(1, count + 1):
        sealed_us = number * 2_000_000
        blocks = []
        for block in range(BLOCKS):
            row = []
            for index in range(block * POINTS, (block + 1) * POINTS):
                values[index] += rng.randrange(-3, 4)
                row.append(values[index])
            at_us = sealed_us - 1_900_000 + block * 40_000 + rng.randrange(3000)
            blocks.append(encode_block(block, catalogue.kinds[block], sealed_us, [at_us], [row], [None]))
        header = Header(
            gateway=gateway, epoch=b"bench---", lane=Lane.DATA, seq=number, previous=head.digest, other=NO_HEAD,
            boot_id=b"0123456789abcdef", boot_counter=1, sealed_us=sealed_us,
            anchors=(Anchor(mono_us=sealed_us, wall_us=START_US + sealed_us, state=ClockState.SYNCHRONISED,
                            uncertainty_ms=5),),
            catalogue=catalogue.hash, origin=Origin.LIVE, readings=BLOCKS * POINTS,
            genesis=Genesis(version="0", reason="first", parent=None) if number == 1 else None,
        )  # fmt: skip
        envelope, digest = seal(Type.DATA_BATCH, encode_batch(Batch(header=header, blocks=tuple(blocks))), signer)
        head = Head(seq=number, digest=digest)
        found.append((where, envelope))
    return found


def run(batches: int, folder: Path) -> dict[str, Any]:
    """Returns the figures of one run."""
    signer, own = Signer.from_seed(bytes(32)), Signer.from_seed(b"1" * 32)
    gateway = signer.public.gateway_id
    keys = {signer.key_id: Verifier(signer.public)}
    catalogue = make_catalogue(gateway)
    messages = make_batches(signer, catalogue, batches)
    path = folder / "bench.sqlite3"
    upgrade(path, START_US)
    store = Store(path, lambda: time.time_ns() // 1000)
    store.open()
    arrived_us = START_US + batches * 2_000_000 + 10_000_000

    def judged(message: tuple[str, bytes]) -> Arrival:
        verdict = judge_message(*message, lambda name: keys if name == gateway else None)
        return Arrival(verdict=verdict, arrived_us=arrived_us)

    envelope, _ = seal(Type.CATALOGUE, catalogue.body, signer)
    store.commit([judged((topic(gateway, Channel.CATALOGUE), envelope))])
    before = _size(path)
    calm_garbage_collection()  # as the running collector does
    started, cpu, readings, slowest = time.perf_counter(), time.process_time(), 0, 0.0
    for first in range(0, batches, GROUP_SIZE):
        group_started = time.perf_counter()
        result = store.commit([judged(message) for message in messages[first : first + GROUP_SIZE]])
        for receipt in result.receipts:
            sign_receipt(receipt, own)
        readings += result.readings
        slowest = max(slowest, time.perf_counter() - group_started)
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    store.run_checkpoint()
    size = _size(path)
    rows, last = store.scalar("SELECT count(*) FROM rollup"), store.scalar("SELECT max(newest) FROM chain")
    store.close()
    assert readings == batches * BLOCKS * POINTS
    assert last == batches
    return {
        "batches": batches,
        "readings": readings,
        "readings_per_s": round(readings / took),
        "cpu_us_per_reading": round(cpu / readings * 1e6, 3),
        "bytes_per_reading_on_disk": round((size - before) / readings, 2),
        "wire_bytes_per_reading": round(sum(len(m[1]) for m in messages) / readings, 2),
        "rollup_rows": rows,
        "slowest_group_ms": math.ceil(slowest * 1000),
    }


def _size(path: Path) -> int:
    """Returns the bytes of the database file; the WAL is a fixed cost and not counted."""
    return path.stat().st_size


def main() -> int:
    parser = argparse.ArgumentParser(description="Ingest of a backlog.")
    parser.add_argument("--batches", type=int, default=3000)
    parser.add_argument("--dir", type=Path, default=None, help="where the database is made")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        figures = run(arguments.batches, Path(folder))
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
