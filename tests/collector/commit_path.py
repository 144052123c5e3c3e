"""A collector's writer without broker and network, in a process that can be killed anywhere in it.

Usage: ``python -m tests.collector.commit_path FOLDER RECEIPTS SEED COUNT``.  Sends some ``COUNT`` messages of one
gateway through the real store and writer and writes every receipt, as it is published, to the file ``RECEIPTS``
(outside the database), each line in one write.  With ``kill_at`` the process kills itself with SIGKILL
before the SQL statement of that number, or before the publishing that has that number: both count.
Prints how many steps there were when it ends by itself.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from collector.database import FILE_NAME
from collector.keys import load_signer
from collector.store import Store
from collector.writer import Writer
from contracts.batch import Lane, LossRecord, Statement
from contracts.envelope import Type, open_envelope
from contracts.keys import Verifier
from contracts.receipt import Receipt
from tests.collector.gateways import START_US, Gateway

S = 1_000_000


def messages(seed: int, count: int) -> tuple[Gateway, list[tuple[str, bytes]]]:
    """Returns a gateway and what it sends: data before its catalogue, alarms, a loss, asks, repetitions."""
    g = Gateway(seed=seed)
    found = [g.data(2 * S), g.catalogue_message()]
    active = None
    for n in range(1, count):
        at_us = (2 + 2 * n) * S
        match n % 5:
            case 0:
                found.append(g.ask_message(at_us, () if active is None else (active,)))
            case 1:
                active = g.event("active", at_us)
                found.append(g.seal(at_us + 1, lane=Lane.ALARM, events=(active,)))
            case 2:
                found.append(g.data(at_us, statement=Statement(mono_us=at_us, events=())))
            case 3:
                g.data(at_us)  # never sent: the gateway signs for it
                head = g.heads[Lane.DATA]
                loss = LossRecord(
                    epoch=g.epoch, lane=Lane.DATA, first=head.seq, last=head.seq, digest=head.digest, readings=8,
                    cause="quota",
                )  # fmt: skip
                found.append(g.data(at_us + S, losses=(loss,)))
            case _:
                found += [g.data(at_us), found[0]]
    return g, found


class Killer:
    """Counts steps and ends the process at one of them."""

    def __init__(self, kill_at: int) -> None:
        self.steps = 0
        self._kill_at = kill_at

    def step(self, *_: object) -> None:
        self.steps += 1
        if self.steps == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, receipts: Path, seed: int, count: int, kill_at: int = 0) -> int:
    """Sends everything; returns the number of steps."""
    g, every = messages(seed, count)
    signer = load_signer(folder, create=False)
    own = {signer.key_id: Verifier(signer.public)}
    killer = Killer(kill_at)
    oracle = os.open(receipts, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    now = [START_US]

    def publish(topic: str, payload: bytes) -> None:
        killer.step()
        if topic.endswith("receipt"):
            receipt = Receipt.from_body(open_envelope(payload, Type.RECEIPT, own).body)
            fields = (
                receipt.collector_epoch.hex(), receipt.serial, receipt.epoch.hex(), int(receipt.lane),
                receipt.contiguous, receipt.digest.hex(), *(f"{a.first}-{a.last}" for a in receipt.also),
            )  # fmt: skip
            os.write(oracle, (" ".join(map(str, fields)) + "\n").encode())

    store = Store(folder / FILE_NAME, lambda: now[0])
    store.open()
    store._db.set_trace_callback(killer.step)
    writer = Writer(store, signer, publish=publish, on_change=lambda change: None, now_us=lambda: now[0])
    writer.start()
    for n, message in enumerate(every):
        now[0] = START_US + 100 * S + n * S
        writer.put(g.arrival(message, 100 * S + n * S))
        if n % 3 == 0:  # some groups are of one, others of more
            while writer.counters()["ingest_queue"]:
                time.sleep(0.0005)
    writer.stop()
    store.close()
    return killer.steps


if __name__ == "__main__":
    print(run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
