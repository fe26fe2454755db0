"""What differs between two dataset versions: in the schema, and in the profile of each column both have. Pure, from the records alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.data.model import Column, ColumnType

if TYPE_CHECKING:
    from gateline.data.model import DatasetVersion

_FIGURES = ("distinct", "non_finite", "true", "false", "min", "mean", "std", "max")
_PROFILED_CATEGORIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure before and after; None where it does not exist."""

    figure: str
    before: Any
    after: Any

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"figure": self.figure, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDiff:
    """What differs in a column that both versions have.

    Attributes:
        column: Its name.
        schema: Changes of dtype and nullable.
        profile: Changes of the missing share, the range, moments, quantiles and counts of values.
        appeared: Texts that are new; None when a version has too many different ones for its profile to name them all.
        vanished: Texts that are gone; None likewise.
    """

    column: str
    schema: tuple[Change, ...]
    profile: tuple[Change, ...]
    appeared: tuple[str, ...] | None
    vanished: tuple[str, ...] | None

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.schema or self.profile or self.appeared or self.vanished)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "column": self.column, "schema": [one.as_dict() for one in self.schema], "profile": [one.as_dict() for one in self.profile],
            "appeared": None if self.appeared is None else list(self.appeared),
            "vanished": None if self.vanished is None else list(self.vanished),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDiff:
    """What differs between two dataset versions.

    Attributes:
        before: Id of the one.
        after: Id of the other.
        rows_before: Number of rows of the one.
        rows_after: Number of rows of the other.
        added: Columns that only the other has.
        removed: Columns that only the one has.
        columns: The columns that both have and that differ, in the order of the other.
    """

    before: str
    after: str
    rows_before: int
    rows_after: int
    added: tuple[Column, ...]
    removed: tuple[Column, ...]
    columns: tuple[ColumnDiff, ...]

    @property
    def schema_changed(self) -> bool:
        """Whether a column came or went, or changed its type or nullability."""
        return bool(self.added or self.removed or any(one.schema for one in self.columns))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "before": self.before, "after": self.after, "rows_before": self.rows_before, "rows_after": self.rows_after,
            "added": [one.as_dict() for one in self.added], "removed": [one.as_dict() for one in self.removed],
            "columns": [one.as_dict() for one in self.columns],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> DatasetDiff:
        """Return the difference that `as_dict` described."""
        return cls(
            before=fields["before"], after=fields["after"], rows_before=fields["rows_before"], rows_after=fields["rows_after"],
            added=tuple(map(_column, fields["added"])), removed=tuple(map(_column, fields["removed"])),
            columns=tuple(
                ColumnDiff(
                    column=one["column"], schema=tuple(Change(**change) for change in one["schema"]),
                    profile=tuple(Change(**change) for change in one["profile"]), appeared=_texts(one["appeared"]),
                    vanished=_texts(one["vanished"]),
                )
                for one in fields["columns"]
            ),
        )  # fmt: skip


def diff_versions(before: DatasetVersion, after: DatasetVersion) -> DatasetDiff:
    """Return what differs between two versions, of one dataset or of two; nothing but their records is read."""
    old, new = ({column.name: column for column in version.schema} for version in (before, after))
    found = [_column_diff(old[name], new[name], before, after) for name in new if name in old]
    return DatasetDiff(
        before=before.id, after=after.id, rows_before=before.row_count, rows_after=after.row_count,
        added=tuple(column for name, column in new.items() if name not in old),
        removed=tuple(column for name, column in old.items() if name not in new),
        columns=tuple(one for one in found if not one.is_empty),
    )  # fmt: skip


def _column_diff(old: Column, new: Column, before: DatasetVersion, after: DatasetVersion) -> ColumnDiff:
    schema = (("dtype", old.dtype.value, new.dtype.value), ("nullable", old.nullable, new.nullable))
    known, seen = before.profile[old.name], after.profile[new.name]
    figures = [("missing_share", known["missing"] / before.row_count, seen["missing"] / after.row_count)]
    figures += [(name, known.get(name), seen.get(name)) for name in _FIGURES]
    quantiles = [one.get("quantiles", {}) for one in (known, seen)]
    levels = dict.fromkeys([*quantiles[0], *quantiles[1]])
    figures += [(f"quantile {level}", quantiles[0].get(level), quantiles[1].get(level)) for level in levels]
    appeared, vanished = _categories(known, seen)
    return ColumnDiff(
        column=new.name, schema=_changes(schema), profile=_changes(figures if old.dtype is new.dtype else figures[:1]), appeared=appeared,
        vanished=vanished,
    )  # fmt: skip


def _changes(figures: Any) -> tuple[Change, ...]:
    return tuple(Change(figure=name, before=old, after=new) for name, old, new in figures if old != new)


def _categories(known: Mapping[str, Any], seen: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return the texts that appeared and vanished, as far as the profiles name all of them."""
    if "top" not in known or "top" not in seen:
        return (), ()
    old, new = ({one["value"] for one in profile["top"]} for profile in (known, seen))
    complete_before, complete_after = (profile["distinct"] <= _PROFILED_CATEGORIES for profile in (known, seen))
    appeared = tuple(sorted(new - old)) if complete_before and complete_after else None
    vanished = tuple(sorted(old - new)) if complete_before and complete_after else None
    return appeared, vanished


def _column(fields: Mapping[str, Any]) -> Column:
    return Column(name=fields["name"], dtype=ColumnType(fields["dtype"]), nullable=fields["nullable"])


def _texts(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
