"""How the limits of points stand, the letters that confirm them, and the collector's own alarms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "confirmation",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("point", sa.TEXT(), nullable=False),
        sa.Column("state", sa.TEXT(), nullable=False),
        sa.Column("by", sa.TEXT(), nullable=False),
        sa.Column("at", sa.TEXT(), nullable=False),
        sa.Column("document", sa.TEXT(), nullable=False),
        sa.Column("digest", sa.BLOB(), nullable=False),
        sa.Column("since_us", sa.Integer(), nullable=False),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("mono_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_no", "point", name=op.f("pk_confirmation")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_confirmation_state", "confirmation", ["state", "since_us"], unique=False)
    op.create_table(
        "document",
        sa.Column("digest", sa.BLOB(), nullable=False),
        sa.Column("name", sa.TEXT(), nullable=False),
        sa.Column("kind", sa.TEXT(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("by", sa.TEXT(), nullable=False),
        sa.Column("at_us", sa.Integer(), nullable=False),
        sa.Column("source", sa.TEXT(), nullable=False),
        sa.Column("note", sa.TEXT(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_document")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "own_alarm",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("id", sa.BLOB(), nullable=False),
        sa.Column("rule_id", sa.TEXT(), nullable=False),
        sa.Column("severity", sa.TEXT(), nullable=False),
        sa.Column("raised_us", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_no", "id", name=op.f("pk_own_alarm")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("own_alarm")
    op.drop_table("document")
    op.drop_index("ix_confirmation_state", table_name="confirmation")
    op.drop_table("confirmation")
