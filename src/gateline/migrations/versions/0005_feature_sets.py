"""What a model uses is called a feature set; a feature view is a part of one. Records of earlier versions move over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = "id, name, version, digest, definition_digest, definition, dataset_versions, dataset_digests, features, created_at, created_by"


def upgrade() -> None:
    """Rename table, columns and kinds of nodes; a table is copied, since SQLite cannot rename what its constraints are called."""
    _table("feature_set_version")
    _move("feature_view_version", "feature_set_version")
    _rename("feature_view", "feature_set")


def downgrade() -> None:
    """Take the names back."""
    _rename("feature_set", "feature_view")
    _table("feature_view_version")
    _move("feature_set_version", "feature_view_version")


def _table(name: str) -> None:
    op.create_table(
        name,
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("definition_digest", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("dataset_versions", sa.Text(), nullable=False),
        sa.Column("dataset_digests", sa.Text(), nullable=False),
        sa.Column("features", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}_id"),
        sa.UniqueConstraint("name", "digest", name=f"{name}_digest"),
        sa.UniqueConstraint("name", "version", name=f"{name}_number"),
    )


def _move(old: str, new: str) -> None:
    op.execute(f"INSERT INTO {new} ({COLUMNS}) SELECT {COLUMNS} FROM {old}")  # noqa: S608 - names of ours
    op.drop_table(old)


def _rename(old: str, new: str) -> None:
    for column in ("", "_digest"):
        op.execute(f"ALTER TABLE model_version RENAME COLUMN {old}{column} TO {new}{column}")
    kinds = {"old": f"{old}_version", "new": f"{new}_version"}
    for table, columns in (("lineage_node", ("kind",)), ("lineage_edge", ("source_kind", "target_kind"))):
        for column in columns:
            op.execute(sa.text(f"UPDATE {table} SET {column} = :new WHERE {column} = :old").bindparams(**kinds))  # noqa: S608
