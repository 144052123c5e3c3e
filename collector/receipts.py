"""Receipts: what the collector holds of one chain, and its signature under it.

``make_receipt`` runs inside the transaction that makes it true; ``sign_receipt`` and the
publishing come only after that transaction has been committed.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from collector.chain import Ledger
from collector.projector import Projector
from contracts.batch import Lane
from contracts.envelope import Type, seal
from contracts.keys import Signer
from contracts.messages import Time
from contracts.receipt import MAX_ALSO, MAX_REFUSED, MAX_WANTED, Range, Receipt, Refused
from contracts.topics import Channel, topic


def make_receipt(
    db: sqlite3.Connection,
    projector: Projector,
    *,
    gateway: str,
    epoch: bytes,
    epoch_no: int,
    lane: int,
    collector_epoch: bytes,
    collector_since_us: int,
    serial: int,
    issued_us: int,
) -> Receipt:
    """Returns the receipt for one chain as the running transaction leaves it."""
    ledger = _proved(projector.chain(epoch_no, lane).ledger)
    contiguous = ledger.contiguous
    # Where one seq has two digests the smaller one is named: some order has to be kept.
    also = []
    for first, last in ledger.beyond()[-MAX_ALSO:]:
        entries = projector.entries(epoch_no, lane, last)
        if entries:
            also.append(Range(first=first, last=last, digest=min(entry.digest for entry in entries)))
    refused = db.execute(
        "SELECT seq, digest, code FROM evidence WHERE epoch_no=? AND lane=? AND state=2 ORDER BY id DESC LIMIT ?",
        (epoch_no, lane, MAX_REFUSED),
    ).fetchall()
    wanted = db.execute("SELECT DISTINCT hash FROM waiting WHERE epoch_no=? LIMIT ?", (epoch_no, MAX_WANTED)).fetchall()
    digest = b""
    if contiguous:
        digest = min((entry.digest for entry in projector.entries(epoch_no, lane, contiguous)), default=b"")
        # Inside a range that a loss record covers: there is no digest to compare.
        contiguous = contiguous if digest else 0
    return Receipt(
        gateway=gateway,
        collector_epoch=collector_epoch,
        collector_since_us=collector_since_us,
        serial=serial,
        epoch=epoch,
        lane=Lane(lane),
        contiguous=contiguous,
        digest=digest,
        also=tuple(also),
        refused=tuple(Refused(seq=seq, digest=bytes_, code=code) for seq, bytes_, code in reversed(refused)),
        wanted=tuple(hash for (hash,) in wanted),
        issued_us=issued_us,
    )


def _proved(ledger: Ledger) -> Ledger:
    """Returns a ledger without the batches that the one behind them does not link to.

    Whoever sealed that one has another batch in their place: a copied key made these.  A receipt over them would
    let the gateway forget batches that never came.
    """
    ranges: list[tuple[int, int]] = []
    for first, last in ledger.ranges:
        for seq in ledger.breaks:
            if first < seq <= last:
                ranges.append((first, seq - 2))
                first = seq
        ranges.append((first, last))
    return replace(ledger, ranges=tuple((first, last) for first, last in ranges if first <= last))


def sign_receipt(receipt: Receipt, signer: Signer) -> tuple[str, bytes]:
    """Returns topic and envelope."""
    envelope, _ = seal(Type.RECEIPT, receipt.to_body(), signer)
    return topic(receipt.gateway, Channel.RECEIPT), envelope


def sign_time(time: Time, signer: Signer) -> tuple[str, bytes]:
    """Returns topic and envelope."""
    envelope, _ = seal(Type.TIME, time.to_body(), signer)
    return topic(time.gateway, Channel.TIME), envelope
