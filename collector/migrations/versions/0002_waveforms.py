"""Where the waveforms lie that batches carry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "waveform",
        sa.Column("gateway_no", sa.Integer(), nullable=False),
        sa.Column("id", sa.BLOB(), nullable=False),
        sa.Column("device", sa.TEXT(), nullable=False),
        sa.Column("cause", sa.TEXT(), nullable=False),
        sa.Column("alarm_id", sa.BLOB(), nullable=True),
        sa.Column("boot_no", sa.Integer(), nullable=False),
        sa.Column("mono_us", sa.Integer(), nullable=False),
        sa.Column("wall_us", sa.Integer(), nullable=False),
        sa.Column("span_us", sa.Integer(), nullable=False),
        sa.Column("ticks", sa.Integer(), nullable=False),
        sa.Column("channels", sa.Integer(), nullable=False),
        sa.Column("evidence_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_no", "id", name=op.f("pk_waveform")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_waveform_wall_us", "waveform", ["wall_us"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_waveform_wall_us", table_name="waveform")
    op.drop_table("waveform")
