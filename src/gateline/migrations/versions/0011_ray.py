"""Attempts know the job that they were sent as, such as one of Ray."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new."""
    op.add_column("step_attempt", sa.Column("job", sa.Text(), server_default="{}", nullable=False))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("step_attempt", "job")
