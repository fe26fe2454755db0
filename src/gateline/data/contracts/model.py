"""What a dataset promises, column by column and as a whole; the versions of that promise, and what breaks it. Loads nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType, TypeAlias

from gateline.data.model import ColumnType
from gateline.kernel.canonical import digest
from gateline.kernel.clock import Instant

ContractId = NewType("ContractId", str)
Bound: TypeAlias = int | float | str
"""A number, or a time as canonical ISO 8601 text: `2013-01-01`, `2013-01-01T05:00:00.000000Z`, without Z for naive time stamps."""
Category: TypeAlias = str | int


class Compatibility(StrEnum):
    """What a successor of a contract must respect. Think of a contract as the set of tables it accepts.

    `backward`: every table the old contract accepts, the new one accepts too; nobody who supplies data has to change.
    `forward`: every table the new contract accepts, the old one accepts too; nobody who reads the data has to change.
    `full`: both. `none`: a reviewer alone decides.
    """

    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"
    NONE = "none"


class PersonalKind(StrEnum):
    """What personal data a column holds (GDPR Art. 4(1)); `special` are the categories of its Art. 9, such as health or belief."""

    IDENTIFIER = "identifier"
    CONTACT = "contact"
    LOCATION = "location"
    FINANCIAL = "financial"
    BEHAVIOUR = "behaviour"
    SPECIAL = "special"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """The mark of a column that holds personal data: of which kind, and what one should know about it."""

    kind: PersonalKind
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"kind": self.kind.value, "note": self.note}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRule:
    """What one column promises.

    Attributes:
        name: The column.
        dtype: Its type.
        required: Whether every version has it.
        nullable: Whether values may be missing.
        missing_share_max: Largest share of missing values, 0 to 1; None allows any share of a nullable column.
        min: Least value of numbers and times; NaN is outside every range. None leaves it open.
        max: Greatest value.
        categories: The allowed values of a text or whole-number column, sorted; None allows any.
        unique: Whether no value occurs twice. Missing values are not compared.
        protected: Whether it is an attribute by which fairness is judged.
        personal: Set when it holds personal data.
        description: What it means.
    """

    name: str
    dtype: ColumnType
    required: bool = True
    nullable: bool = False
    missing_share_max: float | None = None
    min: Bound | None = None
    max: Bound | None = None
    categories: tuple[Category, ...] | None = None
    unique: bool = False
    protected: bool = False
    personal: Personal | None = None
    description: str = ""

    @property
    def missing_share_limit(self) -> float:
        """The largest share of missing values that passes: 0 when none may be missing."""
        if not self.nullable:
            return 0.0
        return 1.0 if self.missing_share_max is None else self.missing_share_max

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; what is left open is left out."""
        content: dict[str, Any] = {"name": self.name, "dtype": self.dtype.value, "required": self.required, "nullable": self.nullable}
        for name in ("missing_share_max", "min", "max"):
            if getattr(self, name) is not None:
                content[name] = getattr(self, name)
        if self.categories is not None:
            content["categories"] = list(self.categories)
        content |= {"unique": self.unique, "protected": self.protected}
        if self.personal is not None:
            content["personal"] = self.personal.as_dict()
        if self.description:
            content["description"] = self.description
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """At registration the newest value of `column` that is not in the future must be at most `age_seconds_max` old."""

    column: str
    age_seconds_max: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"column": self.column, "age_seconds_max": self.age_seconds_max}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCountChange:
    """How far the number of rows may move from one version to the next, as shares of the earlier number; None leaves it open.

    Attributes:
        shrink_share_max: 0.1 lets a tenth of the rows go, 0 none.
        growth_share_max: 0.5 lets half as many come, 0 none.
    """

    shrink_share_max: float | None = None
    growth_share_max: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; what is left open is left out."""
        shares = {"shrink_share_max": self.shrink_share_max, "growth_share_max": self.growth_share_max}
        return {name: share for name, share in shares.items() if share is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What every version of a dataset promises.

    Attributes:
        dataset: Name of the dataset.
        columns: One rule for each column, in order; the order is not promised.
        keys: Sets of columns whose values together never repeat; rows with a missing value among them are not compared.
        freshness: How new the data must be when it is registered.
        row_count_change: How far the number of rows may move.
        extra_columns: Whether a version may have columns that are not named here.
        compatibility: What the successor of this contract must respect.
        description: What the data is.
    """

    dataset: str
    columns: tuple[ColumnRule, ...]
    keys: tuple[tuple[str, ...], ...] = ()
    freshness: Freshness | None = None
    row_count_change: RowCountChange | None = None
    extra_columns: bool = False
    compatibility: Compatibility = Compatibility.BACKWARD
    description: str = ""

    @property
    def rules(self) -> dict[str, ColumnRule]:
        """Column name to rule."""
        return {rule.name: rule for rule in self.columns}

    @property
    def unique_sets(self) -> frozenset[frozenset[str]]:
        """Every set of columns that must not repeat: keys, and unique columns."""
        return frozenset({*(frozenset(key) for key in self.keys), *(frozenset({rule.name}) for rule in self.columns if rule.unique)})

    @property
    def digest(self) -> str:
        """Digest of the whole promise."""
        return digest("dataset.contract", self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON and TOML; what is left open is left out."""
        content: dict[str, Any] = {
            "dataset": self.dataset, "description": self.description, "compatibility": self.compatibility.value,
            "extra_columns": self.extra_columns, "keys": [list(key) for key in self.keys],
        }  # fmt: skip
        if self.freshness is not None:
            content["freshness"] = self.freshness.as_dict()
        if self.row_count_change is not None:
            content["row_count_change"] = self.row_count_change.as_dict()
        content["columns"] = [rule.as_dict() for rule in self.columns]
        return content


class ContractOrigin(StrEnum):
    """How a contract version came to be."""

    WRITTEN = "written"
    INFERRED = "inferred"
    PANDERA = "pandera"


class ContractState(StrEnum):
    """Where a contract version stands. Only the newest accepted one is in force."""

    DRAFT = "draft"
    IN_FORCE = "in_force"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a reviewer decided about a draft, and why."""

    accepted: bool
    reviewer: str
    comment: str
    reviewed_at: Instant

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"accepted": self.accepted, "reviewer": self.reviewer, "comment": self.comment, "reviewed_at": self.reviewed_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractVersion:
    """One immutable version of a dataset's contract, and what became of it.

    Attributes:
        id: Such as `flights/contract@3`.
        digest: Digest of the promise.
        origin: Written, inferred from a dataset version, or read from a pandera schema.
        evidence: Of an inferred one: the dataset version with its digest, and for each column what was seen.
        created_at: UTC microseconds.
        state: Draft, in force, superseded or rejected.
        review: None while it is a draft.
    """

    id: ContractId
    dataset: str
    version: int
    digest: str
    contract: Contract
    origin: ContractOrigin
    evidence: Mapping[str, Any] = field(default_factory=dict)
    created_at: Instant
    created_by: str
    state: ContractState
    review: Review | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "id": self.id, "dataset": self.dataset, "version": self.version, "digest": self.digest, "contract": self.contract.as_dict(),
            "origin": self.origin.value, "evidence": dict(self.evidence), "created_at": self.created_at, "created_by": self.created_by,
            "state": self.state.value, "review": None if self.review is None else self.review.as_dict(),
        }  # fmt: skip


class RuleKind(StrEnum):
    """Which kind of promise a table breaks."""

    COLUMN_MISSING = "column_missing"
    COLUMN_EXTRA = "column_extra"
    TYPE = "type"
    MISSING_VALUES = "missing_values"
    RANGE = "range"
    CATEGORIES = "categories"
    UNIQUE = "unique"
    FRESHNESS = "freshness"
    ROW_COUNT = "row_count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One promise that a table breaks.

    Attributes:
        rule: Which kind of promise.
        columns: The columns concerned; none for a rule of the whole table.
        count: How many values or rows break it.
        rows: The first of them, counted from 1.
        sentence: What is wrong, with the numbers. Values of personal columns are never shown.
    """

    rule: RuleKind
    columns: tuple[str, ...] = ()
    count: int
    rows: tuple[int, ...] = ()
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "rule": self.rule.value, "columns": list(self.columns), "count": self.count, "rows": list(self.rows), "sentence": self.sentence,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Violation:
        """Return the violation that `as_dict` described."""
        return cls(
            rule=RuleKind(fields["rule"]), columns=tuple(fields["columns"]), count=fields["count"], rows=tuple(fields["rows"]),
            sentence=fields["sentence"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Why a successor is incompatible.

    Attributes:
        direction: `backward` when suppliers of data have to change, `forward` when its readers have to.
        column: The column concerned; empty for a rule of the whole table.
        sentence: What breaks whom.
    """

    direction: Compatibility
    column: str
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"direction": self.direction.value, "column": self.column, "sentence": self.sentence}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Break:
        """Return the break that `as_dict` described."""
        return cls(direction=Compatibility(fields["direction"]), column=fields["column"], sentence=fields["sentence"])
