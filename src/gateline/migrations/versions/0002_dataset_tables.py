"""Dataset versions become Delta tables of several files. What was registered before stays readable from the object store."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new, and list the one Parquet file of each earlier version as its files."""
    op.create_table(
        "dataset_file",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["dataset_version.id"]),
        sa.PrimaryKeyConstraint("version_id", "position"),
    )
    op.create_index(op.f("ix_dataset_file_sha256"), "dataset_file", ["sha256"], unique=False)
    op.create_table(
        "dataset_removal",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["dataset_version.id"]),
        sa.PrimaryKeyConstraint("version_id"),
    )
    op.create_table(
        "dataset_pin",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("legal_hold", sa.Boolean(), nullable=False),
        sa.Column("evidence", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=False),
        sa.Column("release_reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["version"], ["dataset_version.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_dataset_pin_version"), "dataset_pin", ["version"], unique=False)
    op.add_column("dataset_version", sa.Column("made_of", sa.Text(), nullable=False, server_default='{"kind":"file"}'))
    op.add_column("dataset_version", sa.Column("table_version", sa.BigInteger(), nullable=False, server_default="-1"))
    op.add_column("dataset_version", sa.Column("logical_digest", sa.Text(), nullable=False, server_default=""))
    op.add_column("dataset_version", sa.Column("as_of", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE dataset_version SET as_of = created_at")
    _list_files()
    op.drop_column("dataset_version", "table")


def _list_files() -> None:
    version = sa.table("dataset_version", sa.column("id"), sa.column("table"), sa.column("row_count"))
    file = sa.table("dataset_file", *map(sa.column, ("version_id", "position", "path", "sha256", "size_bytes", "rows")))
    connection = op.get_bind()
    for identity, stored, rows in connection.execute(sa.select(version.c.id, version.c.table, version.c.row_count)).all():
        values = {"version_id": identity, "position": 0, "path": "", "rows": rows, **json.loads(stored)}
        connection.execute(file.insert().values(values))


def downgrade() -> None:
    """Refuse: versions made since then have no single file."""
    raise NotImplementedError("Versions of several files cannot go back into one; restore a backup instead.")
