"""Reproductions of model versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

WHY = "a reproduction is never changed"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "reproduction",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("grade", sa.Text(), nullable=False),
        sa.Column("pipeline_run", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("reproduction_version", "reproduction", ["model_version", "created_at"], unique=False)
    once = sa.text("pipeline_run <> ''")
    op.create_index(
        "reproduction_run", "reproduction", ["pipeline_run", "model_version"], unique=True, sqlite_where=once, postgresql_where=once
    )
    verbs: tuple[str, ...] = ("update", "delete")
    if op.get_bind().dialect.name == "postgresql":
        refuse = f"BEGIN RAISE EXCEPTION '{WHY}'; END"
        op.execute(f"CREATE FUNCTION refuse_change_of_reproduction() RETURNS trigger LANGUAGE plpgsql AS $$ {refuse} $$")
        verbs = (*verbs, "truncate")
    for verb in verbs:
        op.execute(_guard("reproduction", verb))


def _guard(table: str, verb: str) -> str:
    """Return the statement that makes a database refuse a verb on a table."""
    if op.get_bind().dialect.name == "postgresql":
        return f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_{table}()"
    return f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{WHY}'); END"


def downgrade() -> None:
    """Take it back."""
    op.drop_table("reproduction")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change_of_reproduction()")
