"""Decisions about alarms, those to review, when each was shown, what gateways stated, and the journal's indexes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_alarm_id": ["id"],
    "ix_alarm_raised": ["raised_us", "gateway_no", "id"],
    "ix_alarm_gateway": ["gateway_no", "raised_us", "id"],
    "ix_alarm_point": ["gateway_no", "point", "raised_us", "id"],
    "ix_alarm_severity": ["severity", "raised_us", "gateway_no", "id"],
    "ix_alarm_standing": ["is_over", "raised_us", "gateway_no", "id"],
}


def upgrade() -> None:
    op.create_table(
        "decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("alarm_id", sa.BLOB(), nullable=False),
        sa.Column("decision", sa.TEXT(), nullable=False),
        sa.Column("reason", sa.TEXT(), nullable=False),
        sa.Column("arrived_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
    )
    op.create_index("ix_decision_alarm", "decision", ["gateway_no", "alarm_id"], unique=False)
    op.create_table(
        "alarm_shown",
        sa.Column("alarm_id", sa.BLOB(), nullable=False),
        sa.Column("shown_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("alarm_id", name=op.f("pk_alarm_shown")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "review",
        sa.Column("alarm_id", sa.BLOB(), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("arrived_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("alarm_id", name=op.f("pk_review")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stated",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("mono_us", sa.Integer(), nullable=False),
        sa.Column("arrived_us", sa.Integer(), nullable=False),
        sa.Column("least", sa.TEXT(), nullable=False),
        sa.Column("ids", sa.BLOB(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_no", name=op.f("pk_stated")),
    )
    op.add_column("acknowledgement", sa.Column("action", sa.TEXT(), nullable=False, server_default="acknowledge"))
    op.drop_index("ix_alarm_is_over", table_name="alarm")
    for name, columns in _INDEXES.items():
        op.create_index(name, "alarm", columns, unique=False)
    # What was here before anybody decided anything pages nobody now.
    op.execute(
        "INSERT INTO decision(gateway_no, alarm_id, decision, reason, arrived_us)"
        " SELECT gateway_no, id, 'nothing', 'before', raised_us FROM alarm"
    )


def downgrade() -> None:
    for name in _INDEXES:
        op.drop_index(name, table_name="alarm")
    op.create_index("ix_alarm_is_over", "alarm", ["is_over", "raised_us"], unique=False)
    op.drop_column("acknowledgement", "action")
    op.drop_table("stated")
    op.drop_table("review")
    op.drop_table("alarm_shown")
    op.drop_index("ix_decision_alarm", table_name="decision")
    op.drop_table("decision")
