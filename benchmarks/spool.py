"""The spool's figures: rates without a link here, wear and backlog by name in ``run.py``.

    python benchmarks/spool.py [--quick]       all of them

``rates`` seals and drains in one process, without a link: what the parts between a reading and the broker cost.
Sealing is packing columns, encoding, compressing, signing and a commit with FULL; draining is reading in pieces as
the uplink does, checking each row, handing it over, and believing a receipt for each piece.  The floor is a
plain prototype on the same readings and the same disk: differences packed, zlib, one signature, one INSERT with
FULL; and SELECT in order.  Both take turns, batch by batch.
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bare_client import columns
from benchmarks.bench_site import Load, site_text
from benchmarks.history import Walk
from benchmarks.report import Figure, Result, say
from contracts.batch import Anchor, ClockState, Genesis, Lane
from contracts.keys import Signer
from contracts.receipt import Receipt
from edge_agent.collect import Collector
from edge_agent.compile import compile_site
from edge_agent.delivery import Delivery
from edge_agent.plan import Plan
from edge_agent.seal import Boot, Chain
from edge_agent.spool import Spool
from edge_agent.spool_records import Commit, EpochRow
from edge_agent.spool_thread import connect_file

#: what the command runs
NAMES = ("spool-rates", "spool-wear-5s", "spool-wear-1s", "spool-day", "spool-backlog")
LOAD = Load(devices=10)
#: what the uplink reads in one piece at most
_CHUNK_BYTES, _CHUNK_ROWS = 256 * 1024, 64
_pack: Any = msgpack.packb
Rows = list[list[tuple[int, list[int]]]]


@dataclass(frozen=True, slots=True)
class Rates:
    """Readings per second."""

    sealed: float
    drained: float
    #: of the batches on the disk
    bytes_per_reading: float


class Own:
    """The agent's own parts."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Opens a spool there."""
        signer = Signer.generate()
        self._gateway = signer.public.gateway_id
        boot = Boot(boot_id=os.urandom(16), counter=1)
        anchor = Anchor(mono_us=1, wall_us=time.time_ns() // 1000, state=ClockState.SYNCHRONISED, uncertainty_ms=5)
        self._chain = Chain(
            gateway=self._gateway,
            signer=signer,
            boot=boot,
            epoch=os.urandom(8),
            genesis=Genesis(version="0", reason="first", parent=None),
            anchor=lambda: anchor,
        )
        self._row = EpochRow(
            no=1,
            epoch=self._chain.epoch,
            reason="first",
            boot_id=boot.boot_id,
            boot_counter=1,
            started_us=0,
            started_uptime_s=0,
        )
        self._columns = Collector(plan.row_blocks, plan.points)
        self._delivery = Delivery(self._gateway)
        self._delivery.add_epoch(self._row)
        self._spool = Spool(connect_file(folder / "spool.db"))
        self._spool.open()
        self._spool.begin_epoch(self._row)
        self.size = 0

    def take(self, rows: Rows) -> None:
        """Takes what was polled."""
        for block, ticks in enumerate(rows):
            for at_us, values in ticks:
                self._columns.add(block, at_us, values, None)

    def seal(self, sealed_us: int) -> None:
        """Seals and keeps what waits."""
        taken = self._columns.take(sealed_us)
        sealed = self._chain.seal(
            Lane.DATA,
            sealed_us=sealed_us,
            catalogue=bytes(32),
            blocks=taken.blocks,
            readings=taken.readings,
            first_us=taken.first_us,
            last_us=taken.last_us,
        )
        self._delivery.sealed(1, Lane.DATA, self._chain.head(Lane.DATA))
        self._spool.commit(Commit(epoch_no=1, batches=(sealed,), state={"uptime_s": b"1"}))
        self.size += len(sealed.envelope)

    def drain(self) -> int:
        """Hands over everything; returns the readings."""
        delivery, readings, serial = self._delivery, 0, 0
        while waiting := delivery.to_send(Lane.DATA):
            ((epoch_no, ranges),) = waiting
            batches = self._spool.read(epoch_no, Lane.DATA, ranges, limit_bytes=_CHUNK_BYTES, limit_rows=_CHUNK_ROWS)
            for batch in batches:
                key = (epoch_no, Lane.DATA, batch.seq)
                if batch.is_whole and not delivery.is_settled(key) and not delivery.is_in_flight(key):
                    delivery.launched(key, len(batch.envelope), serial, is_backlog=True)
                    readings += batch.readings
            serial += 1
            receipt = Receipt(
                gateway=self._gateway,
                collector_epoch=b"benchmark",
                collector_since_us=1,
                serial=serial,
                epoch=self._row.epoch,
                lane=Lane.DATA,
                contiguous=batches[-1].seq,
                digest=batches[-1].digest,
            )
            _, claims = delivery.claims(receipt)
            if any(self._spool.digest(1, Lane.DATA, claim.seq) != claim.digest for claim in claims):
                raise AssertionError("a batch is not what was sealed")
            delivery.apply(receipt, now_us=serial)
        return readings

    def close(self) -> None:
        """Closes the spool."""
        self._spool.close()


class Plain:
    """The floor."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Opens a table there."""
        self._db = apsw.Connection(str(folder / "plain.db"))
        self._db.execute("PRAGMA page_size=1024; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE batch (seq INTEGER PRIMARY KEY, readings INTEGER, message BLOB NOT NULL)")
        self._key = Ed25519PrivateKey.generate()
        self._rows: Rows = []
        self._seq = 0
        self.size = 0

    def take(self, rows: Rows) -> None:
        """Takes what was polled."""
        self._rows = rows

    def seal(self, sealed_us: int) -> None:
        """Packs, signs and keeps it."""
        self._seq += 1
        blocks = [columns(block, sealed_us, list(rows)) for block, rows in enumerate(self._rows)]
        body = zlib.compress(_pack([self._seq, sealed_us, blocks]), 1)
        message = _pack([body, self._key.sign(body)])
        readings = sum(len(rows) * len(rows[0][1]) for rows in self._rows)
        self._db.execute("INSERT INTO batch VALUES (?,?,?)", (self._seq, readings, message))
        self.size += len(message)

    def drain(self) -> int:
        """Reads everything in order; returns the readings."""
        return sum(
            readings for readings, message in self._db.execute("SELECT readings, message FROM batch ORDER BY seq")
        )

    def close(self) -> None:
        """Closes the file."""
        self._db.close()


def rates(folder: Path, *, large: int, small: int) -> Result:
    """Measures batches of some 20 000 and of 400 readings; ``large`` and ``small`` say how many."""
    say("sealing and draining without a link")
    plan = _plan(folder)
    figures: list[Figure] = []
    for ticks, count in ((100, large), (2, small)):
        readings = round(LOAD.readings_per_s) * ticks
        place = folder / f"rates-{readings}"
        place.mkdir()
        own, floor = _measure(place, plan, ticks=ticks, count=count)
        figures += [
            Figure(name=f"sealing, {readings} a batch", unit="readings/s", value=own.sealed, floor=floor.sealed),
            Figure(name=f"draining, {readings} a batch", unit="readings/s", value=own.drained, floor=floor.drained),
            Figure(
                name=f"envelope, {readings} a batch",
                unit="bytes/reading",
                value=own.bytes_per_reading,
                floor=floor.bytes_per_reading,
            ),
        ]
    return Result(
        title=f"Sealing and draining without a link, {LOAD.devices} blocks of {LOAD.registers} points",
        method=f"{large} and {small} batches, agent's parts and floor in turn, each with a commit of its own (FULL);"
        f" load of the machine {os.getloadavg()[0]:.1f}",
        figures=tuple(figures),
    )


def _measure(folder: Path, plan: Plan, *, ticks: int, count: int) -> tuple[Rates, Rates]:
    walk = Walk(plan, interval_us=1_000_000)
    both: Sequence[Own | Plain] = (Own(folder, plan), Plain(folder, plan))
    took = [0.0, 0.0]
    batch_us = ticks * 1_000_000
    for number in range(count):
        rows = [walk.rows(block, number * batch_us, ticks) for block in range(len(plan.row_blocks))]
        for place in (0, 1) if number % 2 else (1, 0):
            both[place].take(rows)
            begun = time.perf_counter()
            both[place].seal((number + 1) * batch_us)
            took[place] += time.perf_counter() - begun
    readings = count * ticks * sum(len(block.points) for block in plan.row_blocks)
    found = []
    for place, one in enumerate(both):
        begun = time.perf_counter()
        drained = one.drain()
        drain_s = time.perf_counter() - begun
        one.close()
        if drained != readings:
            raise AssertionError(f"{drained} readings came out and {readings} went in")
        found.append(Rates(readings / took[place], readings / drain_s, one.size / readings))
    return found[0], found[1]


def _plan(folder: Path) -> Plan:
    site = folder / "rates.toml"
    key = Signer.from_seed(bytes(32)).public.line("collector")
    site.write_text(site_text(LOAD, state_dir=folder / "rates", bank_port=15020, broker_port=1883, collector_key=key))
    return compile_site(site).plan


if __name__ == "__main__":
    from benchmarks.run import main

    sys.exit(main([*sys.argv[1:], *(word for name in NAMES for word in ("--only", name))]))
