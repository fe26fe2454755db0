"""Steps of pipelines as a state machine: plans, attempts, mapped nodes. What was run before stays readable; open runs begin anew."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TEXT = ("project", "parent", "schedule", "mlflow_run_id", "cancelled_by", "awaited")
_TIMES = ("started_at", "ended_at", "cancelled_at")
_COPY = """
INSERT INTO step_run (run_id, node, "index", position, state, executor, key, artifacts, reused_from, attempts, failure, started_at,
  ended_at, not_before, width, unfinished, approved_by)
SELECT run_id, name, 0, 0, state, 'process', key,
  CASE WHEN artifact_sha256 = '' THEN '[]' ELSE '[{"kind":"' || artifact_kind || '","name":"","sha256":"' || artifact_sha256
    || '","size_bytes":' || CAST(artifact_bytes AS TEXT) || '}]' END,
  reused_from, attempt, '', started_at, ended_at, 0, NULL, 0, '' FROM step_run_before
"""


def upgrade() -> None:
    """Add what is new, and carry the steps of ended runs over."""
    for name in _TEXT:
        op.add_column("pipeline_run", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    for name in _TIMES:
        op.add_column("pipeline_run", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("pipeline_run", sa.Column("priority", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "pipeline_plan",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("codes", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.drop_index("step_run_key", "step_run")
    op.rename_table("step_run", "step_run_before")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX step_run_pkey RENAME TO step_run_before_pkey")
    _create_steps()
    op.execute("DELETE FROM step_run_before WHERE run_id IN (SELECT id FROM pipeline_run WHERE state IN ('queued', 'running'))")
    op.execute("UPDATE pipeline_run SET state = 'queued', lease_owner = '', lease_until = 0 WHERE state = 'running'")
    op.execute(_COPY)
    op.drop_table("step_run_before")
    op.create_index("step_run_key", "step_run", ["key", "state"], unique=False)
    op.create_index("step_run_open", "step_run", ["state", "run_id"], unique=False)
    _create_attempts()


def _create_steps() -> None:
    op.create_table(
        "step_run",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("executor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("artifacts", sa.Text(), nullable=False),
        sa.Column("reused_from", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=True),
        sa.Column("unfinished", sa.BigInteger(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "node", "index"),
    )


def _create_attempts() -> None:
    def place() -> list[sa.Column[Any]]:
        whole = [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False) for name in ("index", "attempt")]
        return [sa.Column("run_id", sa.Text(), nullable=False), sa.Column("node", sa.Text(), nullable=False), *whole]

    op.create_table(
        "step_attempt",
        *place(),
        sa.Column("runner", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("cpu_seconds", sa.Double(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("log_sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "node", "index", "attempt"),
    )
    op.create_index("step_attempt_open", "step_attempt", ["ended_at", "lease_until"], unique=False)
    op.create_table(
        "step_output",
        *place(),
        sa.Column("offset", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "node", "index", "attempt", "offset"),
    )


def downgrade() -> None:
    """Refuse: steps that were executed more than once, or mapped, have no form in the older tables."""
    raise NotImplementedError("Restore the records of before instead.")
