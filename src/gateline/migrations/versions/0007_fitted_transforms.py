"""Fits of feature set versions: transforms with the parameters that were learned. Rows are only ever added."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WHY = "fits of feature sets are only ever added"


def upgrade() -> None:
    """Add what is new, and let the database refuse changes of it."""
    op.create_table(
        "feature_fit",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("feature_set", sa.Text(), nullable=False),
        sa.Column("feature_set_digest", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("dataset_versions", sa.Text(), nullable=False),
        sa.Column("dataset_digests", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=True),
        sa.Column("end", sa.BigInteger(), nullable=True),
        sa.Column("transforms", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rows_digest", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("feature_set", "number", name="feature_fit_number"),
        sa.UniqueConstraint("inputs", name="feature_fit_inputs"),
    )
    verbs: tuple[str, ...] = ("update", "delete")
    if op.get_bind().dialect.name == "postgresql":
        refuse = f"BEGIN RAISE EXCEPTION '{WHY}'; END"
        op.execute(f"CREATE FUNCTION refuse_change_of_fit() RETURNS trigger LANGUAGE plpgsql AS $$ {refuse} $$")
        verbs = (*verbs, "truncate")
    for verb in verbs:
        op.execute(_guard(verb))


def _guard(verb: str) -> str:
    """Return the statement that makes a database refuse a verb on the table."""
    trigger = f"CREATE TRIGGER feature_fit_no_{verb} BEFORE {verb} ON feature_fit"
    if op.get_bind().dialect.name == "postgresql":
        return f"{trigger} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_fit()"
    return f"{trigger} BEGIN SELECT RAISE(ABORT, '{WHY}'); END"


def downgrade() -> None:
    """Take it back."""
    op.drop_table("feature_fit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change_of_fit()")
