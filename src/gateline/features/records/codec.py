"""Reading a feature set back from its canonical definition, strictly: unknown and missing fields are refused, all at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from gateline.data import DatasetVersionId
from gateline.features.declarations.calendars import Calendar
from gateline.features.declarations.plan import EventSource, KnownAt, Label
from gateline.features.declarations.request_views import CalendarView, OnDemandView
from gateline.features.declarations.transforms import TRANSFORMS, Transform
from gateline.features.declarations.views import Aggregation, Entity, LatestView, LookupView, View, WindowView
from gateline.features.model import FeatureColumn, FeatureKind, FeatureSet, FeatureSetVersion, FeatureSetVersionId
from gateline.features.records.former import in_todays_form
from gateline.features.rules import refuse
from gateline.kernel.names import split_version_id

if TYPE_CHECKING:
    from collections.abc import Mapping


Value = TypeVar("Value")
_VIEWS: Mapping[str, type[View]] = {
    "latest": LatestView, "window": WindowView, "lookup": LookupView, "on_demand": OnDemandView, "calendar": CalendarView,
}  # fmt: skip
_TEXTS = frozenset({
    "name", "dataset", "event_time", "available_at", "sql", "time", "unit", "description", "owner", "column", "aggregate", "feature",
    "denominator", "zone", "country", "subdivision", "holidays_version",
    "strategy",
})  # fmt: skip
_NUMBERS = frozenset({"max_age", "offset", "hop", "k", "lateness_seconds", "unknown"})
_LISTS = frozenset({"tie_breaker", "event_id", "keys", "entity", "columns", "slices", "categorical", "tags", "weekend"})
_MAPPINGS = frozenset({"features", "columns", "expressions"})
_PLAIN: Mapping[str, Any] = {
    "where": str | None, "known_ahead": bool, "low": int | float, "high": int | float, "value": int | float | str | None,
}  # fmt: skip
_DERIVED = frozenset({"function"})


def set_from_dict(definition: Mapping[str, Any]) -> FeatureSet:
    """Return the set that `FeatureSet.as_dict` described.

    Raises:
        InvalidInput: fields are missing, unknown or of the wrong type; all are named.
    """
    reader = _Reader()
    name = str(definition.get("name", ""))
    plain = {key: value for key, value in definition.items() if key not in {"sources", "spine", "views", "label", "known_at", "fitted"}}
    raw_sources = reader.items(definition, "sources")
    listed = [str(raw.get("name")) for raw in raw_sources if isinstance(raw, dict)]
    reader.mistakes += [f"source '{one}' is listed more than once" for one, count in Counter(listed).items() if count > 1]
    sources = {source.name: source for raw in raw_sources if (source := reader.make(EventSource, raw, "source")) is not None}
    spine = reader.source(sources, definition.get("spine"), "spine")
    views = tuple(view for raw in reader.items(definition, "views") if (view := reader.view(sources, raw)) is not None)
    known_at = tuple(fact for raw in reader.items(definition, "known_at") if (fact := reader.make(KnownAt, raw, "known_at")) is not None)
    fitted = tuple(one for raw in reader.items(definition, "fitted") if (one := reader.transform(raw)) is not None)
    label = None
    if definition.get("label") is not None:
        raw = definition["label"]
        source = reader.source(sources, raw.get("source") if isinstance(raw, dict) else None, "label")
        label = reader.make(Label, {**raw, "source": source} if isinstance(raw, dict) else raw, "label")
    feature_set = reader.make(
        FeatureSet, {**plain, "spine": spine, "views": views, "label": label, "known_at": known_at, "fitted": fitted}, "set"
    )
    if feature_set is None or reader.mistakes:
        refuse(name, reader.mistakes or ["it is incomplete"])
        raise AssertionError  # refuse raised
    used = {source.name for source in feature_set.plan.sources}
    reader.mistakes += [f"source '{one}' is listed, but never used" for one in sources.keys() - used]
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
        definition=set_from_dict(in_todays_form(content["definition"])),
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

    def source(self, sources: Mapping[str, EventSource], name: object, where: str) -> EventSource | None:
        found = sources.get(name) if isinstance(name, str) else None
        if found is None:
            self.mistakes.append(f"{where}: there is no source '{name}' in 'sources'")
        return found

    def view(self, sources: Mapping[str, EventSource], raw: Any) -> View | None:
        if not isinstance(raw, dict) or not isinstance(raw.get("kind"), str) or raw["kind"] not in _VIEWS:
            self.mistakes.append(f"a view must be an object whose kind is one of {', '.join(_VIEWS)}")
            return None
        where = f"view '{raw.get('name')}'"
        plain = {key: value for key, value in raw.items() if key != "kind"}
        if raw["kind"] == "on_demand":
            return self.make(OnDemandView, plain, where)
        if raw["kind"] == "calendar":
            plain["calendar"] = self.make(Calendar, raw.get("calendar"), f"{where}, calendar")
            return self.make(CalendarView, plain, where)
        plain["source"] = self.source(sources, raw.get("source"), where)
        plain["entity"] = self.make(Entity, raw.get("entity"), f"{where}, entity")
        if raw["kind"] == "window":
            found = [self.make(Aggregation, one, f"{where}, aggregation") for one in self.items(raw, "aggregations")]
            plain["aggregations"] = tuple(one for one in found if one is not None)
        return self.make(_VIEWS[raw["kind"]], plain, where)

    def transform(self, raw: Any) -> Transform | None:
        if not isinstance(raw, dict) or not isinstance(raw.get("kind"), str) or raw["kind"] not in TRANSFORMS:
            self.mistakes.append(f"a fitted transform must be an object whose kind is one of {', '.join(TRANSFORMS)}")
            return None
        plain = {key: value for key, value in raw.items() if key != "kind"}
        return self.make(TRANSFORMS[raw["kind"]], plain, f"{raw['kind']} of '{raw.get('feature')}'")

    def make(self, kind: type[Value], raw: Any, where: str) -> Value | None:
        """Return the dataclass of a JSON object, or note what is wrong with it."""
        if not isinstance(raw, dict):
            self.mistakes.append(f"{where} must be an object")
            return None
        label = f"{where} '{raw['name']}'" if "name" in raw and not where.startswith("view") else where
        declared = {field.name: field for field in fields(kind) if field.name not in _DERIVED}  # type: ignore[arg-type]
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
        broken = broken or (kind in _VIEWS.values() and None in (values.get("entity", ...), values.get("calendar", ...)))
        return None if broken else kind(**values)


def _value(kind: type, name: str, value: Any) -> Any:
    """Return the value in its Python form, or MISSING when its type is wrong."""
    if isinstance(value, Entity | Calendar):
        return value
    if name in _MAPPINGS and kind in {EventSource, LatestView, LookupView, OnDemandView, CalendarView}:
        return dict(value) if _holds(value, dict, str) else MISSING
    if name == "day_parts":
        return dict(value) if _holds(value, dict, int) else MISSING
    if name == "windows":
        return tuple(value) if _holds(value, list, int) else MISSING
    if name in _LISTS:
        items = [value] if isinstance(value, str) else value
        return tuple(items) if _holds(items, list, str) else MISSING
    plain = str if name in _TEXTS else int if name in _NUMBERS else _PLAIN.get(name)
    return MISSING if plain is not None and not _is(value, plain) else value


def _is(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and (kind not in {int, int | float} or not isinstance(value, bool))


def _holds(value: object, container: type, kind: type) -> bool:
    """Whether the value is a list of a kind, or a mapping of text to a kind."""
    if not isinstance(value, container) or not isinstance(value, list | dict):
        return False
    items = value.values() if isinstance(value, dict) else value
    return all(_is(item, kind) for item in items) and (isinstance(value, list) or all(isinstance(key, str) for key in value))
