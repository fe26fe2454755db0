"""Reading a feature set back from its canonical definition, strictly: unknown and missing fields are refused, all at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from gateline.data import DatasetVersionId
from gateline.features.model import (
    FeatureColumn,
    FeatureKind,
    FeatureSet,
    FeatureSetVersion,
    FeatureSetVersionId,
    KnownAt,
    Label,
    Latest,
    Lookup,
    OnDemand,
    Source,
    Window,
)
from gateline.features.rules import refuse
from gateline.kernel.names import split_version_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.features.model import Part

Value = TypeVar("Value")
_PARTS: Mapping[str, type[Latest | Window | Lookup]] = {"latest": Latest, "window": Window, "lookup": Lookup}
_TEXTS = frozenset({"name", "dataset", "event_time", "available_at", "sql", "time", "unit", "description", "column", "aggregate"})
_NUMBERS = frozenset({"max_age_seconds", "window_seconds", "offset_seconds"})
_LISTS = frozenset({"tie_breaker", "key", "entity", "columns", "slices", "categorical"})
_MAPPINGS = frozenset({"features", "columns"})


def set_from_dict(definition: Mapping[str, Any]) -> FeatureSet:
    """Return the set that `FeatureSet.as_dict` described.

    Raises:
        InvalidInput: fields are missing, unknown or of the wrong type; all are named.
    """
    reader = _Reader()
    name = str(definition.get("name", ""))
    plain = {key: value for key, value in definition.items() if key not in {"sources", "spine", "parts", "on_demand", "label", "known_at"}}
    listed = [str(raw.get("name")) for raw in reader.items(definition, "sources") if isinstance(raw, dict)]
    reader.mistakes += [f"source '{one}' is listed more than once" for one, count in Counter(listed).items() if count > 1]
    sources = {
        source.name: source for raw in reader.items(definition, "sources") if (source := reader.make(Source, raw, "source")) is not None
    }
    spine = reader.source(sources, definition.get("spine"), "spine")
    parts = tuple(part for raw in reader.items(definition, "parts") if (part := reader.part(sources, raw)) is not None)
    on_demand = tuple(one for raw in reader.items(definition, "on_demand") if (one := reader.make(OnDemand, raw, "on_demand")) is not None)
    known_at = tuple(fact for raw in reader.items(definition, "known_at") if (fact := reader.make(KnownAt, raw, "known_at")) is not None)
    label = None
    if definition.get("label") is not None:
        raw = definition["label"]
        source = reader.source(sources, raw.get("source") if isinstance(raw, dict) else None, "label")
        label = reader.make(Label, {**raw, "source": source} if isinstance(raw, dict) else raw, "label")
    feature_set = reader.make(
        FeatureSet, {**plain, "spine": spine, "parts": parts, "on_demand": on_demand, "label": label, "known_at": known_at}, "feature_set"
    )
    if feature_set is None or reader.mistakes:
        refuse(name, reader.mistakes or ["it is incomplete"])
        raise AssertionError  # refuse raised
    reader.mistakes += [
        f"source '{one}' is listed, but never used" for one in sources.keys() - {source.name for source in feature_set.sources}
    ]
    refuse(name, reader.mistakes)
    return feature_set


def version_from_dict(content: Mapping[str, Any]) -> FeatureSetVersion:
    """Return the version that `FeatureSetVersion.as_dict` described; raises InvalidInput when its definition is broken."""
    name, number = split_version_id(content["id"])
    return FeatureSetVersion(
        id=FeatureSetVersionId(content["id"]),
        name=name,
        version=number,
        digest=content["digest"],
        definition=set_from_dict(content["definition"]),
        dataset_versions={dataset: DatasetVersionId(version) for dataset, version in content["dataset_versions"].items()},
        dataset_digests=dict(content["dataset_digests"]),
        features=tuple(FeatureColumn(name=one["name"], dtype=one["dtype"], kind=FeatureKind(one["kind"])) for one in content["features"]),
        created_at=content["created_at"],
        created_by=content["created_by"],
    )


class _Reader:
    """Makes values of JSON objects and gathers what is wrong with them."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def items(self, definition: Mapping[str, Any], name: str) -> list[Any]:
        value = definition.get(name, [])
        if isinstance(value, list):
            return value
        self.mistakes.append(f"'{name}' must be a list")
        return []

    def source(self, sources: Mapping[str, Source], name: object, where: str) -> Source | None:
        found = sources.get(name) if isinstance(name, str) else None
        if found is None:
            self.mistakes.append(f"{where}: there is no source '{name}' in 'sources'")
        return found

    def part(self, sources: Mapping[str, Source], raw: Any) -> Part | None:
        if not isinstance(raw, dict) or raw.get("kind") not in _PARTS:
            self.mistakes.append(f"a part must be an object whose kind is one of {', '.join(_PARTS)}")
            return None
        plain = {key: value for key, value in raw.items() if key != "kind"}
        plain["source"] = self.source(sources, raw.get("source"), f"part '{raw.get('name')}'")
        return self.make(_PARTS[raw["kind"]], plain, f"part '{raw.get('name')}'")

    def make(self, kind: type[Value], raw: Any, where: str) -> Value | None:
        """Return the dataclass of a JSON object, or note what is wrong with it."""
        if not isinstance(raw, dict):
            self.mistakes.append(f"{where} must be an object")
            return None
        label = f"{where} '{raw['name']}'" if "name" in raw and not where.startswith("part") else where
        declared = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
        found = [f"{label}: unknown field '{name}'" for name in raw if name not in declared]
        values: dict[str, Any] = {}
        for name, field in declared.items():
            if name not in raw:
                if field.default is MISSING and field.default_factory is MISSING:
                    found.append(f"{label}: '{name}' is missing")
                continue
            value = _value(kind, name, raw[name])
            if value is MISSING:
                found.append(f"{label}: '{name}' has the wrong type")
            values[name] = value
        self.mistakes += found
        broken = found or any(value is None and name in {"source", "spine"} for name, value in values.items())
        return None if broken else kind(**values)


def _value(kind: type, name: str, value: Any) -> Any:
    """Return the value in its Python form, or MISSING when its type is wrong."""
    if name in _MAPPINGS and kind in {Source, Latest, Lookup}:
        fits = isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
        return dict(value) if fits else MISSING
    if name in _LISTS:
        items = [value] if isinstance(value, str) else value
        return tuple(items) if isinstance(items, list) and all(isinstance(item, str) for item in items) else MISSING
    if name in _TEXTS or name == "where":
        return value if isinstance(value, str) or (name == "where" and value is None) else MISSING
    if name in _NUMBERS:
        return value if isinstance(value, int) and not isinstance(value, bool) else MISSING
    if name == "known_ahead":
        return value if isinstance(value, bool) else MISSING
    return value
