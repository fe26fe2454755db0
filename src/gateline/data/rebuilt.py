"""What came of building a dataset version again: from its source, read once more, or from the rows that were kept. Values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateline.data.diff import DatasetDiff


class BuildFrom(StrEnum):
    """What a version is built from again: its source, the raw rows that were kept, or whichever of them gives it."""

    SOURCES = "sources"
    KEPT = "kept"
    AUTO = "auto"


class SourceState(StrEnum):
    """What reading the source of a version again has shown."""

    EQUAL = "equal"
    DIFFERENT = "different"
    GONE = "gone"
    UNREACHABLE = "unreachable"
    NOT_RECORDED = "not_recorded"
    NOT_READ = "not_read"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReading:
    """A source that was read again, or that could not be.

    Attributes:
        state: Whether its rows are those of the version; or that it is gone, does not answer, was never recorded, or was not read.
        sentence: What was read, as of when, or why it was not.
        differences: What differs, a sentence part for each.
        next_step: What the reader can do about it; empty when nothing needs to be done.
        diff: Schema and profile of the version and of the rows that its source holds now; None unless they differ.
        raw_restored: Whether raw rows that were lost, or damaged, are stored again, because the source gave their very bytes.
    """

    state: SourceState
    sentence: str
    differences: tuple[str, ...] = ()
    next_step: str = ""
    diff: DatasetDiff | None = None
    raw_restored: bool = False

    def verdict(self) -> dict[str, Any]:
        """Return the fields that are recorded, for JSON: all but the profiles, which may show values of single rows."""
        return {
            "state": self.state.value, "sentence": self.sentence, "differences": list(self.differences), "next_step": self.next_step,
            "raw_restored": self.raw_restored,
        }  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return self.verdict() | {"diff": None if self.diff is None else self.diff.as_dict()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> SourceReading:
        """Return the reading that `as_dict` described."""
        diff = None if fields["diff"] is None else DatasetDiff.from_dict(fields["diff"])
        return cls(**{**fields, "state": SourceState(fields["state"]), "differences": tuple(fields["differences"]), "diff": diff})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """What came of building a version again.

    Attributes:
        version: Its id.
        equal: Whether the rows are those that were registered.
        built_from: What gave the rows: `sources` or `kept`.
        differences: What differs, a sentence part for each; empty when equal.
        source: What became of its source; None when only the kept rows were asked for.
        restored: Paths of table files that were written again.
        unrestorable: Paths of missing or damaged table files whose very bytes could not be made again.
    """

    version: str
    equal: bool
    built_from: BuildFrom
    differences: tuple[str, ...]
    source: SourceReading | None = None
    restored: tuple[str, ...] = ()
    unrestorable: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {**self.record(), "source": None if self.source is None else self.source.as_dict()}

    def record(self) -> dict[str, Any]:
        """Return what the ledger says of it."""
        return {
            "version": self.version, "equal": self.equal, "built_from": self.built_from.value, "differences": list(self.differences),
            "source": None if self.source is None else self.source.verdict(), "restored": list(self.restored),
            "unrestorable": list(self.unrestorable),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Reconstruction:
        """Return the outcome that `as_dict` described."""
        source = None if fields["source"] is None else SourceReading.from_dict(fields["source"])
        lists = {name: tuple(fields[name]) for name in ("differences", "restored", "unrestorable")}
        return cls(**{**fields, **lists, "built_from": BuildFrom(fields["built_from"]), "source": source})
