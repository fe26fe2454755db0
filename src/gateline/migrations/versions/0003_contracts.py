"""Contracts of datasets with their reviews, and declarations about features; triggers keep all three append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

APPEND_ONLY = ("dataset_contract", "dataset_contract_review", "feature_personal_removal")
WHY = "contracts, reviews and declarations are append-only"


def upgrade() -> None:
    """Add what is new."""
    op.create_table(
        "dataset_contract",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dataset", "version", name="dataset_contract_number"),
    )
    op.create_table(
        "feature_personal_removal",
        sa.Column("feature_set", sa.Text(), nullable=False),
        sa.Column("feature", sa.Text(), nullable=False),
        sa.Column("derivation", sa.Text(), nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("declared_at", sa.BigInteger(), nullable=False),
        sa.Column("declared_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("feature_set", "feature", "derivation"),
    )
    op.create_table(
        "dataset_contract_review",
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("reviewed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["contract"],
            ["dataset_contract.id"],
        ),
        sa.PrimaryKeyConstraint("contract"),
    )
    verbs: tuple[str, ...] = ("update", "delete")
    if op.get_bind().dialect.name == "postgresql":
        refuse = f"BEGIN RAISE EXCEPTION '{WHY}'; END"
        op.execute(f"CREATE FUNCTION refuse_change_of_contract() RETURNS trigger LANGUAGE plpgsql AS $$ {refuse} $$")
        verbs = (*verbs, "truncate")
    for table in APPEND_ONLY:
        for verb in verbs:
            op.execute(_guard(table, verb))


def _guard(table: str, verb: str) -> str:
    """Return the statement that makes a database refuse a verb on a table."""
    if op.get_bind().dialect.name == "postgresql":
        return f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_contract()"
    return f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{WHY}'); END"


def downgrade() -> None:
    """Take it back."""
    op.drop_table("dataset_contract_review")
    op.drop_table("feature_personal_removal")
    op.drop_table("dataset_contract")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change_of_contract()")
