"""Bump tests and calibrations, when each point is due, and a way to the test alarms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "visit",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("id", sa.BLOB(), nullable=False),
        sa.Column("point", sa.TEXT(), nullable=False),
        sa.Column("job", sa.TEXT(), nullable=False),
        sa.Column("result", sa.TEXT(), nullable=False),
        sa.Column("by", sa.TEXT(), nullable=False),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("mono_us", sa.Integer(), nullable=False),
        sa.Column("wall_us", sa.Integer(), nullable=False),
        sa.Column("visit", sa.BLOB(), nullable=False),
        sa.Column("evidence_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_no", "id", name=op.f("pk_visit")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_visit_wall", "visit", ["wall_us", "gateway_no", "id"], unique=False)
    op.create_index("ix_visit_gateway", "visit", ["gateway_no", "wall_us", "id"], unique=False)
    op.create_index("ix_visit_point", "visit", ["gateway_no", "point", "wall_us", "id"], unique=False)
    op.create_table(
        "upkeep",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("point", sa.TEXT(), nullable=False),
        sa.Column("job", sa.TEXT(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("mono_us", sa.Integer(), nullable=False),
        sa.Column("wall_us", sa.Integer(), nullable=False),
        sa.Column("last", sa.TEXT(), nullable=False),
        sa.Column("due", sa.TEXT(), nullable=False),
        sa.Column("state", sa.TEXT(), nullable=False),
        sa.Column("street", sa.TEXT(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_no", "point", "job", name=op.f("pk_upkeep")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_alarm_test",
        "alarm",
        ["raised_us", "gateway_no", "id"],
        unique=False,
        sqlite_where=sa.text("rule_id = 'test'"),
    )


def downgrade() -> None:
    op.drop_index("ix_alarm_test", table_name="alarm")
    op.drop_table("upkeep")
    op.drop_index("ix_visit_point", table_name="visit")
    op.drop_index("ix_visit_gateway", table_name="visit")
    op.drop_index("ix_visit_wall", table_name="visit")
    op.drop_table("visit")
