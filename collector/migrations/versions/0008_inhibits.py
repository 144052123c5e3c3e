"""Which points people work on, filled with what the gateways had stated before."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from collector.ingest import decode_bounded_batch
from contracts.batch import Batch, Lane, Section
from contracts.envelope import decode_payload, split
from contracts.errors import ContractError
from contracts.fields import Fields, unpack

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_LOG = logging.getLogger(__name__)
#: rows read at a time, and after how many it is said how far it is
_CHUNK, _SAY = 1_000, 500_000

_COLUMNS = (
    "gateway_no", "point", "rank", "boot_no", "mono_us", "since_us", "until_us", "reason", "by", "evidence_id",
)  # fmt: skip


def upgrade() -> None:
    # Looked for before the table is there: whoever stops this leaves nothing half made.
    rows = _newest(op.get_bind())
    table = op.create_table(
        "inhibit",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("point", sa.TEXT(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("mono_us", sa.Integer(), nullable=False),
        sa.Column("since_us", sa.Integer(), nullable=False),
        sa.Column("until_us", sa.Integer(), nullable=False),
        sa.Column("reason", sa.TEXT(), nullable=False),
        sa.Column("by", sa.TEXT(), nullable=False),
        sa.Column("evidence_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_no", "point", name=op.f("pk_inhibit")),
        sqlite_with_rowid=False,
    )
    op.bulk_insert(table, [dict(zip(_COLUMNS, row, strict=True)) for row in rows])


def downgrade() -> None:
    op.drop_table("inhibit")


def _newest(connection: sa.Connection) -> list[tuple[Any, ...]]:
    """Returns of each gateway and point the row of its newest statement."""
    ranks = {row.no: row.rank for row in connection.exec_driver_sql("SELECT no, rank FROM boot")}
    found: dict[tuple[int, str], tuple[Any, ...]] = {}
    for evidence_id, gateway_no, boot_no, batch in _stating(connection):
        for said in batch.inhibits if boot_no in ranks else ():
            order = (
                ranks[boot_no],
                boot_no,
                batch.header.sealed_us,
                said.since_us,
                said.until_us,
                said.reason,
                said.by,
            )
            held = found.get((gateway_no, said.point))
            if held is None or order > held[2:9]:
                found[gateway_no, said.point] = (gateway_no, said.point, *order, evidence_id)
    return list(found.values())


def _stating(connection: sa.Connection) -> Iterator[tuple[int, int, int, Batch]]:
    """Yields every kept batch that states an inhibit, in order of arrival."""
    last, looked = 0, 0
    while True:
        rows = connection.exec_driver_sql(
            "SELECT id, gateway_no, boot_no, lane, envelope FROM evidence WHERE id>? ORDER BY id LIMIT ?",
            (last, _CHUNK),
        ).all()
        if not rows:
            return
        for last, gateway_no, boot_no, lane, envelope in rows:
            try:
                body = decode_payload(split(envelope)[1])
                if _states(body):
                    yield last, gateway_no, boot_no, decode_bounded_batch(body, Lane(lane).type)
            except (ContractError, TypeError, ValueError):
                continue  # refused as it came, or damaged since: nothing of it counts
        looked += len(rows)
        if looked % _SAY < _CHUNK:
            _LOG.info("inhibits: %d batches looked at", looked)


def _states(body: bytes) -> bool:
    """Returns whether a batch has a section of inhibits: few have one, and only those are worth decoding whole."""
    f = Fields("batch", unpack(body), 2)
    f.raw()
    return any(isinstance(item, list) and item[:1] == [Section.INHIBITS] for item in f.items("sections", 64))
