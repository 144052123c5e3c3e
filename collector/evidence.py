"""The evidence table, as far as more than the store needs it: states, time spans, the bytes read again."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.batch import Batch, Header, Lane, decode_batch
from contracts.columns import Columns
from contracts.envelope import decode_payload, split

PROJECTED, WAITING, REFUSED = 0, 1, 2


def span(header: Header, columns: Sequence[Columns]) -> tuple[int, int]:
    """Returns the monotonic times of the oldest and newest sample; of sealing where there is none."""
    if not columns:
        return header.sealed_us, header.sealed_us
    return min(min(block.times) for block in columns), max(max(block.times) for block in columns)


def read_batch(envelope: bytes, lane: int) -> Batch:
    """Returns a batch that was verified when it arrived; raises ContractError if the bytes changed."""
    return decode_batch(decode_payload(split(envelope)[1]), Lane(lane).type)


INSERT = """
INSERT INTO evidence(epoch_no, lane, seq, digest, previous, gateway_no, boot_no, catalogue_no, state, code, readings,
                     sealed_us, first_us, last_us, wall_us, arrived_us, envelope)
VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
"""

#: batches whose content reads, of the epochs of one boot
OF_BOOT = """
SELECT id, epoch_no, lane, digest, wall_us-first_us, arrived_us, envelope, first_us, last_us, state FROM evidence
WHERE epoch_no IN (SELECT epoch_no FROM epoch WHERE boot_no=?) AND state<>2 ORDER BY id
"""
