"""Which features derive from columns that a contract marks as personal or protected: marks travel with the values. Pure.

A feature derives from the columns in its value, in the key by which rows are found, and in the condition of its source. The times of a
source are left out: when something was known is not what was known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from gateline.features.declarations.plan import Window
from gateline.kernel.canonical import digest
from gateline.kernel.clock import Instant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateline.data import Contract
    from gateline.features.declarations.plan import EventSource, Part, Plan
    from gateline.features.model import FeatureSet

Origin: TypeAlias = tuple[str, str]
"""Dataset and column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedColumn:
    """A column with a mark: `kind` is the kind of personal data, or `protected`."""

    dataset: str
    column: str
    kind: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"dataset": self.dataset, "column": self.column, "kind": self.kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The declaration that a feature made of personal columns is no personal data.

    Attributes:
        reason: Why.
        declared_by: The principal who says so.
        declared_at: UTC microseconds.
    """

    reason: str
    declared_by: str
    declared_at: Instant

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"reason": self.reason, "declared_by": self.declared_by, "declared_at": self.declared_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMarks:
    """What a feature derives from.

    Attributes:
        feature: The feature.
        personal: The personal columns it derives from.
        protected: The protected ones.
        undeclared: Datasets it derives from that have no contract in force: what they hold is unknown.
        derivation: Digest of how the feature is made and of the personal columns; a removal holds for this digest alone.
        removal: The declaration that it is no personal data; None when there is none.
    """

    feature: str
    personal: tuple[MarkedColumn, ...]
    protected: tuple[MarkedColumn, ...]
    undeclared: tuple[str, ...]
    derivation: str
    removal: Removal | None = None

    @property
    def is_personal(self) -> bool:
        """Whether it counts as personal data."""
        return bool(self.personal) and self.removal is None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "feature": self.feature, "is_personal": self.is_personal, "personal": [one.as_dict() for one in self.personal],
            "protected": [one.as_dict() for one in self.protected], "undeclared": list(self.undeclared), "derivation": self.derivation,
            "removal": None if self.removal is None else self.removal.as_dict(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> FeatureMarks:
        """Return the marks that `as_dict` described."""
        return cls(
            feature=fields["feature"], personal=tuple(MarkedColumn(**one) for one in fields["personal"]),
            protected=tuple(MarkedColumn(**one) for one in fields["protected"]), undeclared=tuple(fields["undeclared"]),
            derivation=fields["derivation"], removal=None if fields["removal"] is None else Removal(**fields["removal"]),
        )  # fmt: skip


def mark_features(feature_set: FeatureSet, contracts: Mapping[str, Contract]) -> tuple[FeatureMarks, ...]:
    """Return the marks of every feature of a set, in its order.

    Args:
        feature_set: The declaration.
        contracts: Dataset name to the contract in force, for those datasets that have one.
    """
    found = []
    for feature in feature_set.features:
        origins, made_of = _derive(feature_set.plan, feature)
        known = [(dataset, column, contracts[dataset].rules.get(column)) for dataset, column in sorted(origins) if dataset in contracts]
        personal = tuple(
            MarkedColumn(dataset=dataset, column=column, kind=rule.personal.kind.value)
            for dataset, column, rule in known
            if rule is not None and rule.personal is not None
        )
        protected = tuple(
            MarkedColumn(dataset=dataset, column=column, kind="protected")
            for dataset, column, rule in known
            if rule is not None and rule.protected
        )
        content = {"made_of": made_of, "personal": [one.as_dict() for one in personal]}
        found.append(
            FeatureMarks(
                feature=feature,
                personal=personal,
                protected=protected,
                undeclared=tuple(sorted({dataset for dataset, _ in origins} - contracts.keys())),
                derivation=digest("feature.derivation", content),
            )
        )
    return tuple(found)


def _derive(plan: Plan, name: str) -> tuple[frozenset[Origin], list[Any]]:
    """Return the dataset columns that a feature, or a spine column, derives from, and everything that says how."""
    from gateline.features.engine.expressions import roots

    for part in plan.parts:
        if name in part.outputs:
            origins = _origins(part.source, [*_read_by(part, name), *part.keys], with_condition=True) | _origins(plan.spine, part.keys)
            keys = {key: plan.spine.columns[key] for key in part.keys}
            return origins, [name, part.as_dict(), part.source.as_dict(), {"spine": plan.spine.dataset, "keys": keys}]
    for one in plan.on_demand:
        if one.name == name:
            inner = [_derive(plan, root) for root in sorted(roots(one.sql))]
            return frozenset[Origin]().union(*(origins for origins, _ in inner)), [one.as_dict(), *(made_of for _, made_of in inner)]
    return _origins(plan.spine, [name]), [name, {"dataset": plan.spine.dataset, "sql": plan.spine.columns[name]}]


def _origins(source: EventSource, aliases: Iterable[str], *, with_condition: bool = False) -> frozenset[Origin]:
    from gateline.features.engine.expressions import roots

    expressions = [source.columns[alias] for alias in aliases]
    if with_condition and source.where is not None:
        expressions.append(source.where)
    return frozenset((source.dataset, column) for sql in expressions for column in roots(sql))


def _read_by(part: Part, name: str) -> list[str]:
    """Return the source aliases whose values a feature is made of."""
    denominator = part.denominator if isinstance(part, Window) else ""
    return [part.outputs[name], *([denominator] if denominator else [])]
