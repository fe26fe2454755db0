"""Feature views, their versions, their uses and backfills."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new."""
    op.create_table(
        "feature_backfill",
        sa.Column("view", sa.Text(), nullable=False),
        sa.Column("dataset_version", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("view", "dataset_version", "start", "end"),
    )
    op.create_table(
        "feature_view",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("promoted", sa.BigInteger(), nullable=True),
        sa.Column("deprecated", sa.Text(), nullable=False),
        sa.Column("successor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "feature_view_use",
        sa.Column("view", sa.Text(), nullable=False),
        sa.Column("feature_set", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("view", "feature_set"),
    )
    op.create_table(
        "feature_view_version",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("feature_set", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("features", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("online_since", sa.BigInteger(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", "fingerprint", name="feature_view_version_fingerprint"),
        sa.UniqueConstraint("name", "version", name="feature_view_version_number"),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("feature_view_version")
    op.drop_table("feature_view_use")
    op.drop_table("feature_view")
    op.drop_table("feature_backfill")
