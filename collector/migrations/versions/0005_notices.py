"""Who was told of which alarm: attempts, the alarms in each, and the answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notice",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("target", sa.TEXT(), nullable=False),
        sa.Column("kind", sa.TEXT(), nullable=False),
        sa.Column("at_us", sa.Integer(), nullable=False),
        sa.Column("is_possible_repeat", sa.Integer(), nullable=False),
        sa.Column("by", sa.TEXT(), nullable=False),
        sa.Column("alarms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
    )
    op.create_index("ix_notice_at_us", "notice", ["at_us"], unique=False)
    op.create_table(
        "notice_alarm",
        sa.Column("alarm_id", sa.BLOB(), nullable=False),
        sa.Column("notice_id", sa.Integer(), nullable=False),
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("severity", sa.TEXT(), nullable=False),
        sa.PrimaryKeyConstraint("alarm_id", "notice_id", "gateway_no", name=op.f("pk_notice_alarm")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_notice_alarm_notice_id", "notice_alarm", ["notice_id"], unique=False)
    op.create_table(
        "notice_answer",
        sa.Column("notice_id", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.TEXT(), nullable=False),
        sa.Column("detail", sa.TEXT(), nullable=False),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_notice_answer")),
    )


def downgrade() -> None:
    op.drop_table("notice_answer")
    op.drop_table("notice_alarm")
    op.drop_index("ix_notice_at_us", table_name="notice")
    op.drop_table("notice")
