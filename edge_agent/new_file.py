"""What follows when a new spool file took the place of the one that held the batches.

What is not yet committed of the epoch before goes into the new file; then a new epoch begins, whose
parent is that one.  What lay in the old file and was not receipted is lost to sending; it is signed for
where the digest of its last batch is still known, and otherwise the collector lists it as missing.
The old file stays where it was put, and ``edge-agent spool salvage`` brings back what it still proves.
How many readings were in it nobody can say without that file, so the records say 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from contracts.batch import Head, Lane, LossRecord, decode_batch
from contracts.envelope import decode_payload, split
from edge_agent.delivery import Delivery
from edge_agent.seal import Sealed
from edge_agent.spool import Spool
from edge_agent.spool_records import Gone, StoredBatch
from edge_agent.spool_thread import SpoolThread

CAUSE = "damaged"
#: so far the first whole batch of a lane is looked for in the new file
_LOOK_ROWS, _LOOK_BYTES = 64, 64 * 1024


@dataclass(slots=True, kw_only=True)
class Aftermath:
    """What is to be sealed and kept because of it."""

    losses: list[LossRecord] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)


async def settle(
    spool: SpoolThread,
    delivery: Delivery,
    *,
    durable_no: int,
    volatile_no: Callable[[], int | None],
    pending: Callable[[], Sequence[tuple[int, Sealed]]],
) -> Aftermath:
    """Takes leave of everything that is neither in the new file, nor waiting for it, nor in memory.

    Args:
        durable_no: the epoch that goes on.
        volatile_no: gives the epoch whose batches are in memory, if there is one.
        pending: gives the batches that are not yet committed, with the numbers of their epochs, in order.

    Raises:
        SpoolError: the new file cannot be read; nothing has changed, and it may be asked for again.
    """
    here = await spool.run(partial(_first_here, numbers=[row.no for row in delivery.epochs()]))
    # Only now, and from here on nothing waits: a volatile epoch may have begun, and more been sealed, meanwhile.
    waiting, in_memory = list(pending()), volatile_no()
    kept = {durable_no, *(no for no, _ in waiting), *(no for no, _ in here)}
    found = Aftermath()
    for row in delivery.epochs():
        if row.no == in_memory:
            continue
        is_kept = row.no in kept
        for lane in Lane:
            later = (sealed for no, sealed in waiting if (no, sealed.lane) == (row.no, lane))
            upto = _before(here.get((row.no, lane)), next(later, None)) or delivery.head(row.no, lane)
            _lose(found, delivery, row.no, row.epoch, lane, upto)
            if is_kept and upto.seq:
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
        if not is_kept:
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


def _first_here(spool: Spool, *, numbers: Sequence[int]) -> dict[tuple[int, Lane], StoredBatch]:
    """Returns the first whole batch of each epoch and lane that lies in the new file."""
    found: dict[tuple[int, Lane], StoredBatch] = {}
    for no in numbers:
        for lane in Lane:
            rows = spool.read(no, lane, [(1, (1 << 32) - 1)], limit_bytes=_LOOK_BYTES, limit_rows=_LOOK_ROWS)
            whole = next((row for row in rows if row.is_whole), None)
            if whole is not None:
                found[no, lane] = whole
    return found


def _before(here: StoredBatch | None, waiting: Sealed | None) -> Head | None:
    """Returns the last batch of a lane that is not in the new file and will not be; None: all of them are gone."""
    if here is not None:
        header = decode_batch(decode_payload(split(here.envelope)[1]), here.lane.type).header
        return Head(seq=header.seq - 1, digest=header.previous)
    return None if waiting is None else Head(seq=waiting.seq - 1, digest=waiting.previous)
