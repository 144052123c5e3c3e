"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "acknowledgement",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alarm_id", sa.BLOB(), nullable=False),
        sa.Column("by", sa.TEXT(), nullable=False),
        sa.Column("at_us", sa.Integer(), nullable=False),
        sa.Column("note", sa.TEXT(), nullable=False),
        sa.Column("source", sa.TEXT(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acknowledgement")),
    )
    op.create_index("ix_acknowledgement_alarm_id", "acknowledgement", ["alarm_id"], unique=False)
    op.create_table(
        "alarm",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("id", sa.BLOB(), nullable=False),
        sa.Column("point", sa.TEXT(), nullable=False),
        sa.Column("rule_id", sa.TEXT(), nullable=False),
        sa.Column("severity", sa.TEXT(), nullable=False),
        sa.Column("state", sa.TEXT(), nullable=False),
        sa.Column("is_over", sa.Integer(), nullable=False),
        sa.Column("raised_us", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.BLOB(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("mono_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_no", "id", name=op.f("pk_alarm")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_alarm_is_over", "alarm", ["is_over", "raised_us"], unique=False)
    op.create_table(
        "alarm_event",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("id", sa.BLOB(), nullable=False),
        sa.Column("alarm_id", sa.BLOB(), nullable=False),
        sa.Column("event", sa.BLOB(), nullable=False),
        sa.Column("sampled_us", sa.Integer(), nullable=False),
        sa.Column("judged_us", sa.Integer(), nullable=False),
        sa.Column("evidence_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("gateway_no", "id", name=op.f("pk_alarm_event")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_alarm_event_alarm_id", "alarm_event", ["alarm_id"], unique=False)
    op.create_table(
        "ask",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("epoch_no", sa.Integer(), nullable=False),
        sa.Column("digest", sa.BLOB(), nullable=False),
        sa.Column("envelope", sa.BLOB(), nullable=False),
        sa.Column("arrived_us", sa.Integer(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ask")),
        sa.UniqueConstraint("digest", name=op.f("uq_ask")),
    )
    op.create_table(
        "boot",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("boot_id", sa.BLOB(), nullable=False),
        sa.Column("counter", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("live_us", sa.Integer(), nullable=True),
        sa.Column("bound_us", sa.Integer(), nullable=True),
        sa.Column("offset_us", sa.Integer(), nullable=True),
        sa.Column("trust", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_boot")),
        sa.UniqueConstraint("gateway_no", "boot_id", name=op.f("uq_boot")),
    )
    op.create_table(
        "catalogue",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("hash", sa.BLOB(), nullable=False),
        sa.Column("envelope", sa.BLOB(), nullable=False),
        sa.Column("arrived_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_catalogue")),
        sa.UniqueConstraint("gateway_no", "hash", name=op.f("uq_catalogue")),
    )
    op.create_table(
        "chain",
        sa.Column("epoch_no", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("newest", sa.Integer(), nullable=False),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.Column("batches", sa.Integer(), nullable=False),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.Column("first_sample_us", sa.Integer(), nullable=True),
        sa.Column("last_sample_us", sa.Integer(), nullable=True),
        sa.Column("ranges", sa.TEXT(), nullable=False),
        sa.Column("forks", sa.TEXT(), nullable=False),
        sa.Column("breaks", sa.TEXT(), nullable=False),
        sa.PrimaryKeyConstraint("epoch_no", "lane", name=op.f("pk_chain")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("epoch_no", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("digest", sa.BLOB(), nullable=False),
        sa.Column("made_us", sa.Integer(), nullable=False),
        sa.Column("envelope", sa.BLOB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoint")),
        sa.UniqueConstraint("epoch_no", "lane", "seq", name=op.f("uq_checkpoint")),
    )
    op.create_table(
        "commit_stamp",
        sa.Column("evidence_id", sa.Integer(), nullable=False),
        sa.Column("committed_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("evidence_id", name=op.f("pk_commit_stamp")),
    )
    op.create_table(
        "epoch",
        sa.Column("epoch_no", sa.Integer(), nullable=False),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("version", sa.TEXT(), nullable=False),
        sa.Column("reason", sa.TEXT(), nullable=False),
        sa.Column("parent", sa.BLOB(), nullable=True),
        sa.Column("parent_alarm_seq", sa.Integer(), nullable=True),
        sa.Column("parent_data_seq", sa.Integer(), nullable=True),
        sa.Column("is_volatile", sa.Integer(), nullable=False),
        sa.Column("first_arrived_us", sa.Integer(), nullable=False),
        sa.Column("last_arrived_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("epoch_no", name=op.f("pk_epoch")),
    )
    op.create_table(
        "epoch_name",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BLOB(), nullable=False),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_epoch_name")),
        sa.UniqueConstraint("gateway_no", "epoch", name=op.f("uq_epoch_name")),
    )
    op.create_table(
        "evidence",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("epoch_no", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("digest", sa.BLOB(), nullable=False),
        sa.Column("previous", sa.BLOB(), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("catalogue_no", sa.Integer(), nullable=True),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("code", sa.TEXT(), nullable=True),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.Column("sealed_us", sa.Integer(), nullable=False),
        sa.Column("first_us", sa.Integer(), nullable=False),
        sa.Column("last_us", sa.Integer(), nullable=False),
        sa.Column("wall_us", sa.Integer(), nullable=False),
        sa.Column("arrived_us", sa.Integer(), nullable=False),
        sa.Column("envelope", sa.BLOB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.UniqueConstraint("epoch_no", "lane", "seq", "digest", name=op.f("uq_evidence")),
    )
    op.create_index(
        "ix_evidence_refused", "evidence", ["epoch_no", "lane"], unique=False, sqlite_where=sa.text("state = 2")
    )
    op.create_index("ix_evidence_wall", "evidence", ["gateway_no", "wall_us"], unique=False)
    op.create_table(
        "gateway",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("id", sa.TEXT(), nullable=False),
        sa.Column("en", sa.TEXT(), nullable=False),
        sa.Column("zh", sa.TEXT(), nullable=False),
        sa.Column("added_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_gateway")),
        sa.UniqueConstraint("id", name=op.f("uq_gateway")),
    )
    op.create_table(
        "health",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("subject", sa.TEXT(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("mono_us", sa.Integer(), nullable=False),
        sa.Column("wall_us", sa.Integer(), nullable=False),
        sa.Column("facts", sa.TEXT(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_no", "subject", name=op.f("pk_health")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "latest",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("key", sa.TEXT(), nullable=False),
        sa.Column("point_no", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("mono_us", sa.Integer(), nullable=False),
        sa.Column("wall_us", sa.Integer(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("value", sa.BLOB(), nullable=True),
        sa.Column("number_rank", sa.Integer(), nullable=True),
        sa.Column("number_boot_no", sa.Integer(), nullable=True),
        sa.Column("number_mono_us", sa.Integer(), nullable=True),
        sa.Column("number_wall_us", sa.Integer(), nullable=True),
        sa.Column("number", sa.BLOB(), nullable=True),
        sa.Column("number_point_no", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("gateway_no", "key", name=op.f("pk_latest")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "link",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("arrived_us", sa.Integer(), nullable=False),
        sa.Column("online", sa.Integer(), nullable=True),
        sa.Column("session", sa.Integer(), nullable=True),
        sa.Column("version", sa.TEXT(), nullable=True),
        sa.Column("clock", sa.TEXT(), nullable=True),
        sa.Column("boot_no", sa.Integer(), nullable=True),
        sa.Column("epoch_no", sa.Integer(), nullable=True),
        sa.Column("alarm_seq", sa.Integer(), nullable=True),
        sa.Column("data_seq", sa.Integer(), nullable=True),
        sa.Column("catalogue_hash", sa.BLOB(), nullable=True),
        sa.PrimaryKeyConstraint("gateway_no", name=op.f("pk_link")),
    )
    op.create_table(
        "loss",
        sa.Column("epoch_no", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("digest", sa.BLOB(), nullable=False),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.Column("cause", sa.TEXT(), nullable=False),
        sa.Column("evidence_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("epoch_no", "lane", "first", "last", "digest", name=op.f("pk_loss")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.TEXT(), nullable=False),
        sa.Column("value", sa.BLOB(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "point",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("key", sa.TEXT(), nullable=False),
        sa.Column("unit", sa.TEXT(), nullable=False),
        sa.Column("kind", sa.TEXT(), nullable=False),
        sa.Column("resolution", sa.TEXT(), nullable=False),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_point")),
        sa.UniqueConstraint("gateway_no", "key", "unit", "kind", "resolution", name=op.f("uq_point")),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("arrived_us", sa.Integer(), nullable=False),
        sa.Column("topic", sa.TEXT(), nullable=False),
        sa.Column("code", sa.TEXT(), nullable=False),
        sa.Column("reason", sa.TEXT(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("digest", sa.BLOB(), nullable=False),
        sa.Column("bytes", sa.BLOB(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("digest", name=op.f("uq_quarantine")),
    )
    op.create_table(
        "receipt",
        sa.Column("epoch_no", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("issued_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("epoch_no", "lane", name=op.f("pk_receipt")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollup",
        sa.Column("point_no", sa.Integer(), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("without", sa.Integer(), nullable=False),
        sa.Column("low", sa.BLOB(), nullable=True),
        sa.Column("high", sa.BLOB(), nullable=True),
        sa.Column("total", sa.BLOB(), nullable=True),
        sa.Column("last", sa.BLOB(), nullable=True),
        sa.Column("last_us", sa.Integer(), nullable=False),
        sa.Column("worst", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("point_no", "minute", name=op.f("pk_rollup")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "waiting",
        sa.Column("evidence_id", sa.Integer(), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("epoch_no", sa.Integer(), nullable=False),
        sa.Column("hash", sa.BLOB(), nullable=False),
        sa.PrimaryKeyConstraint("evidence_id", name=op.f("pk_waiting")),
    )


def downgrade() -> None:
    op.drop_table("waiting")
    op.drop_table("rollup")
    op.drop_table("receipt")
    op.drop_table("quarantine")
    op.drop_table("point")
    op.drop_table("meta")
    op.drop_table("loss")
    op.drop_table("link")
    op.drop_table("latest")
    op.drop_table("health")
    op.drop_table("gateway")
    op.drop_index("ix_evidence_wall", table_name="evidence")
    op.drop_index("ix_evidence_refused", table_name="evidence", sqlite_where=sa.text("state = 2"))
    op.drop_table("evidence")
    op.drop_table("epoch_name")
    op.drop_table("epoch")
    op.drop_table("commit_stamp")
    op.drop_table("checkpoint")
    op.drop_table("chain")
    op.drop_table("catalogue")
    op.drop_table("boot")
    op.drop_table("ask")
    op.drop_index("ix_alarm_event_alarm_id", table_name="alarm_event")
    op.drop_table("alarm_event")
    op.drop_index("ix_alarm_is_over", table_name="alarm")
    op.drop_table("alarm")
    op.drop_index("ix_acknowledgement_alarm_id", table_name="acknowledgement")
    op.drop_table("acknowledgement")
