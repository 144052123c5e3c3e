"""What follows when a new spool file took the place of the one that held the batches.

What is not yet committed of the epoch before goes into the new file; then a new epoch begins, whose
parent is that one.  What lay in the old file and was not receipted is lost to sending; it is signed for
where the digest of its last batch is still known, and otherwise the collector lists it as missing.
The old file stays where it was put, and ``edge-agent spool salvage`` brings back what it still proves.
How many readings were in it nobody can say without that file, so the records say 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from contracts.batch import Head, Lane, LossRecord, decode_batch
from contracts.envelope import decode_payload, split
from edge_agent.delivery import Delivery
from edge_agent.seal import Sealed
from edge_agent.spool import Spool
from edge_agent.spool_records import Gone
from edge_agent.spool_thread import SpoolThread

CAUSE = "damaged"


@dataclass(slots=True, kw_only=True)
class Aftermath:
    """What is to be sealed and kept because of it."""

    losses: list[LossRecord] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)


async def settle(
    spool: SpoolThread, delivery: Delivery, *, durable_no: int, volatile_no: int | None, pending: Sequence[Sealed]
) -> Aftermath:
    """Takes leave of everything that is neither in the new file, nor waiting for it, nor in memory.

    Args:
        durable_no: the epoch that goes on.
        volatile_no: the epoch whose batches are in memory, if there is one.
        pending: batches of the durable epoch that are not yet committed, in order.

    Raises:
        SpoolError: the new file cannot be read.
    """
    found = Aftermath()
    before = {lane: await _before(spool, delivery, durable_no, lane, pending) for lane in Lane}
    for row in delivery.epochs():
        if row.no == volatile_no:
            continue
        for lane in Lane:
            upto = before[lane] if row.no == durable_no else delivery.head(row.no, lane)
            _lose(found, delivery, row.no, row.epoch, lane, upto)
            if row.no == durable_no and upto.seq:
                found.gone.append(
                    Gone(
                        epoch_no=row.no,
                        lane=lane,
                        first=1,
                        last=upto.seq,
                        digest=upto.digest,
                        readings=0,
                        cause=CAUSE,
                    )
                )
        if row.no != durable_no:
            delivery.forget_epoch(row.no)
    return found


def _lose(found: Aftermath, delivery: Delivery, no: int, epoch: bytes, lane: Lane, upto: Head) -> None:
    for first, last in delivery.waiting(no, lane):
        last = min(last, upto.seq)
        if first > last:
            break
        delivery.lost(no, lane, first, last)
        if last == upto.seq:
            found.losses.append(
                LossRecord(
                    epoch=epoch,
                    lane=lane,
                    first=first,
                    last=last,
                    digest=upto.digest,
                    readings=0,
                    cause=CAUSE,
                )
            )


async def _before(spool: SpoolThread, delivery: Delivery, no: int, lane: Lane, pending: Sequence[Sealed]) -> Head:
    """Returns the last batch of a lane that is not in the new file and will not be."""

    def first_here(spool: Spool) -> list[bytes]:
        rows = spool.read(no, lane, [(1, (1 << 32) - 1)], limit_bytes=1, limit_rows=1)
        return [row.envelope for row in rows]

    for envelope in await spool.run(first_here):
        header = decode_batch(decode_payload(split(envelope)[1]), lane.type).header
        return Head(seq=header.seq - 1, digest=header.previous)
    for sealed in pending:
        if sealed.lane is lane:
            return Head(seq=sealed.seq - 1, digest=sealed.previous)
    return delivery.head(no, lane)
