"""Which anchor a boot's offset is from, and how certain it is: a newer one repairs what an older one placed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("boot", sa.Column("anchor_us", sa.Integer(), nullable=True))
    op.add_column("boot", sa.Column("uncertainty_ms", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("boot", "uncertainty_ms")
    op.drop_column("boot", "anchor_us")
