"""The difference between two dataset versions as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.cli.output import table

if TYPE_CHECKING:
    from gateline.data import Column, DatasetDiff

_TEXTS_SHOWN = 8


def difference_text(diff: DatasetDiff) -> str:
    """Return rows, then what came, went or changed in the schema, then what changed in the profile of each column."""
    moved = diff.rows_after - diff.rows_before
    head = f"{diff.before} → {diff.after}: {diff.rows_before:,} → {diff.rows_after:,} rows ({moved:+,}, {moved / diff.rows_before:+.2%})"
    schema = [
        *({"column": one.name, "change": "added", "before": None, "after": _type(one)} for one in diff.added),
        *({"column": one.name, "change": "removed", "before": _type(one), "after": None} for one in diff.removed),
    ]
    profile: list[dict[str, Any]] = []
    for column in diff.columns:
        schema += [{"column": column.column, "change": one.figure, "before": one.before, "after": one.after} for one in column.schema]
        profile += [
            {
                "column": column.column,
                "figure": one.figure.replace("_", " "),
                "before": _figure(one.figure, one.before),
                "after": _figure(one.figure, one.after),
            }
            for one in column.profile
        ]
        for figure, texts in (("appeared", column.appeared), ("vanished", column.vanished)):
            if texts:
                profile.append({"column": column.column, "figure": figure, "before": None, "after": _listed(texts)})
    parts = [head]
    parts.append(table(schema, ["column", "change", "before", "after"]) if schema else "The schema is the same.")
    parts.append(table(profile, ["column", "figure", "before", "after"]) if profile else "The profile is the same.")
    if unknown := [one.column for one in diff.columns if one.appeared is None]:
        parts.append(f"Too many different texts to say which came or went: {', '.join(unknown)}.")
    return "\n\n".join(parts)


def _type(column: Column) -> str:
    return f"{column.dtype.value}{', nullable' if column.nullable else ''}"


def _figure(name: str, value: Any) -> str | None:
    if isinstance(value, float):
        return f"{value:.2%}" if name == "missing_share" else f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value


def _listed(texts: tuple[str, ...]) -> str:
    shown = ", ".join(texts[:_TEXTS_SHOWN])
    return shown if len(texts) <= _TEXTS_SHOWN else f"{shown} and {len(texts) - _TEXTS_SHOWN} more"
