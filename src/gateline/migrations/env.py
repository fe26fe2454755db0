"""Runs revisions on the connection that `Records.migrate` opened. `scripts/revise` adds the tables to compare with."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from gateline.kernel.records import Json


def render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our JSON columns as what they are in the database, so that no revision imports the application."""
    return "sa.Text()" if kind == "type" and isinstance(item, Json) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
    render_item=render,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
