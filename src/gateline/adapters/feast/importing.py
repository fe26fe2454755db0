"""From a Feast repository to Gateline definitions, with a note for each difference in meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateline.adapters.feast.reading import Declared, Projection, Repository, Unknown, read_repository
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

FOREVER_DAYS = 36_500
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OFFLINE_ONLY = {"BigQuerySource", "SnowflakeSource", "RedshiftSource", "SparkSource", "PostgreSQLSource"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Gateline definitions made of a Feast repository.

    Attributes:
        code: The text of a `features.py`.
        views: Names of the views.
        sets: Names of the feature sets.
        notes: Differences in meaning, and what could not be translated, each a sentence that names it.
    """

    code: str
    views: tuple[str, ...]
    sets: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class _View:
    name: str
    variable: str
    source: str
    keys: tuple[str, ...]
    features: tuple[str, ...]
    max_age: str
    described: dict[str, Any] = field(default_factory=dict)


def import_repository(folder: Path) -> Imported:
    """Return the Gateline definitions of a Feast repository (written for Feast 0.67), without running its code.

    Raises:
        NotFound: the folder holds no Python file.
        InvalidInput: a file is no Python, or nothing in it can be translated.
    """
    return _Import(read_repository(folder)).run()


class _Import:
    """Translates one repository."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.notes = list(repository.notes)
        self.sources: dict[str, tuple[str, str]] = {}
        self.views: dict[str, _View] = {}
        self.sets: list[tuple[str, str]] = []
        self.untranslated: list[str] = []

    def run(self) -> Imported:
        for file, view in self.repository.all("FeatureView", "BatchFeatureView", "StreamFeatureView"):
            self._view(file, view)
        for function, text in self.repository.functions:
            self._function(function, text)
        for _, view in self.repository.all("OnDemandFeatureView"):
            self._note(view, "it is an on-demand view made by a call; declare an OnDemandView with expressions by hand")
        for file, service in self.repository.all("FeatureService"):
            self._service(file, service)
        if not self.views:
            why = f" {'; '.join(self.notes)}." if self.notes else ""
            raise InvalidInput(f"No feature view of the repository can be translated.{why}", next_step="Declare the views by hand.")
        if self.sets:
            self.notes.append("Feast gets its requests as a table at each call; here each set reads them from a dataset <set>_requests")
        notes = tuple(dict.fromkeys(self.notes))
        return Imported(code=self._code(notes), views=tuple(self.views), sets=tuple(name for name, _ in self.sets), notes=notes)

    def _note(self, declared: Declared, text: str) -> None:
        self.notes.append(f"{declared.name or declared.kind} ({declared.place}): {text}")

    def _view(self, file: str, view: Declared) -> None:
        if not _IDENTIFIER.fullmatch(view.name):
            return self._note(view, "its name is no literal identifier; it is left out")
        source = self._file_source(file, view)
        keys = self._keys(file, view)
        if source is None or keys is None:
            return None
        names = [self.repository.resolved(file, one) for one in _listed(self.repository.resolved(file, view.values.get("schema")))]
        features = [one.name for one in names if isinstance(one, Declared) and one.kind == "Field" and one.name not in keys]
        if len(names) != len([one for one in names if isinstance(one, Declared) and one.name]):
            self._note(view, "some fields of its schema are no literals and are left out")
        if not features:
            return self._note(view, "it has no literal schema; Feast infers one from the file, here name its features; it is left out")
        self._differences(view)
        variable = _variable(source.name or str(source.values.get("path", "")), "source")
        columns = self._columns(source, [*keys, *features])
        if columns is None:
            return None
        text = self._source(view, source, variable, columns)
        known = self.sources.setdefault(variable, (variable, text))
        if known[1] != text:
            variable = f"{variable}_of_{view.name}"
            self.sources[variable] = (variable, self._source(view, source, variable, columns))
        described = {
            name: view.values[name] for name in ("owner", "description") if isinstance(view.values.get(name), str) and view.values[name]
        }
        self.views[view.name] = _View(
            name=view.name, variable=f"{view.name}_view", source=variable, keys=keys, features=tuple(features),
            max_age=self._max_age(file, view), described=described,
        )  # fmt: skip
        return None

    def _file_source(self, file: str, view: Declared) -> Declared | None:
        source = self.repository.resolved(file, view.values.get("source") or view.values.get("batch_source"))
        if isinstance(source, Declared) and source.kind in {"PushSource", "KafkaSource", "KinesisSource"}:
            self._note(view, f"its {source.kind} is a stream, which is not translated; its batch source is used")
            source = self.repository.resolved(file, source.values.get("batch_source"))
        if isinstance(source, Declared) and source.kind == "FileSource":
            return source
        kind = source.kind if isinstance(source, Declared) else f"'{source.text}'" if isinstance(source, Unknown) else "missing source"
        hint = "; register its query as a dataset and declare the view by hand" if kind in _OFFLINE_ONLY else ""
        self._note(view, f"its source is no literal FileSource but {kind}; the view is left out{hint}")
        return None

    def _keys(self, file: str, view: Declared) -> tuple[str, ...] | None:
        entities = [self.repository.resolved(file, one) for one in _listed(self.repository.resolved(file, view.values.get("entities")))]
        keys = []
        for one in entities:
            if not isinstance(one, Declared) or not one.name:
                self._note(view, "an entity is no literal Entity; the view is left out")
                return None
            joined = _listed(one.values.get("join_keys")) or [one.name]
            keys.append(str(joined[0]))
        if not keys:
            self._note(view, "it has no entity: one value for all requests has no counterpart; the view is left out")
            return None
        return tuple(keys)

    def _max_age(self, file: str, view: Declared) -> str:
        seconds = self.repository.resolved(file, view.values.get("ttl", 0))
        if isinstance(seconds, Unknown):
            self._note(view, f"its ttl '{seconds.text}' is no literal; max_age is set to {FOREVER_DAYS} days, correct it")
            return f"{FOREVER_DAYS}d"
        if not seconds:
            self._note(view, f"ttl 0 means for ever in Feast; max_age is set to {FOREVER_DAYS} days, choose a real one")
            return f"{FOREVER_DAYS}d"
        self._note(view, "Feast ignores its ttl online and serves expired values; here max_age holds online and offline alike")
        return f"{int(seconds)}s"

    def _differences(self, view: Declared) -> None:
        if view.values.get("aggregations"):
            self._note(
                view, "its aggregations are not translated (Feast's local engine does not compute them either); declare a WindowView"
            )
        if view.kind != "FeatureView" or view.values.get("mode") or view.values.get("udf"):
            self._note(view, f"it is a {view.kind} whose transformation, if any, is not translated: its columns are read as they are")

    def _columns(self, source: Declared, wanted: list[str]) -> dict[str, str] | None:
        mapping = source.values.get("field_mapping") or {}
        if not isinstance(mapping, dict):
            self._note(source, "its field_mapping is no literal; views on it are left out")
            return None
        stored = {str(alias): str(column) for column, alias in mapping.items()}
        return {alias: _column(stored.get(alias, alias)) for alias in dict.fromkeys(wanted)}

    def _source(self, view: Declared, source: Declared, variable: str, columns: dict[str, str]) -> str:
        path = source.values.get("path")
        happened = source.values.get("timestamp_field") or source.values.get("event_timestamp_column")
        created = source.values.get("created_timestamp_column")
        if not isinstance(happened, str) or not isinstance(path, str):
            self._note(source, "its path or timestamp_field is no literal; correct the source by hand")
        event, known = str(happened or "event_timestamp"), str(created) if isinstance(created, str) and created else ""
        columns = {**columns, event: _column(event), **({known: _column(known)} if known else {})}
        if known:
            self._note(source, f"Feast joins on {event} and by default serves rows created later; here a row counts from {known} on")
        else:
            self._note(source, f"it does not say when rows could be known; {event} is taken, correct available_at if they arrive later")
        self._note(source, f"{event} must be a UTC time stamp; where the file has none with a zone, write CAST(… AS TIMESTAMPTZ)")
        self._note(view, "Feast's dask store drops requests whose row expired, and repeated ones; here every request keeps its row")
        return (
            f"{variable} = EventSource(\n    name={variable!r},\n    dataset={_dataset(str(path))!r},  # {str(path)!r} in Feast\n"
            f"    columns={columns!r},\n    event_time={event!r},\n    available_at={known or event!r},\n)"
        )  # fmt: skip

    def _function(self, function: Declared, text: str) -> None:
        kept = "\n".join(f"# {line}".rstrip() for line in text.splitlines())
        self.untranslated.append(
            f"# Not translated: {function.name} ({function.place}) runs Python code.\n# Declare an OnDemandView:\n{kept}"
        )
        self._note(function, f"the Python code of this {function.kind} is not translated; its text stands in the file as a comment")

    def _service(self, file: str, service: Declared) -> None:
        if not _IDENTIFIER.fullmatch(service.name):
            return self._note(service, "its name is no literal identifier; it is left out")
        views: list[tuple[_View, tuple[str, ...]]] = []
        for item in _listed(self.repository.resolved(file, service.values.get("features"))):
            chosen = item.features if isinstance(item, Projection) else ()
            found = self.repository.resolved(file, item.view if isinstance(item, Projection) else item)
            view = self.views.get(found.name if isinstance(found, Declared) else "")
            if view is None:
                shown = found.name if isinstance(found, Declared) else getattr(found, "text", str(found))
                self._note(service, f"it uses '{shown}', which is not translated; the set leaves it out")
                continue
            views.append((view, chosen or view.features))
        if not views:
            return self._note(service, "none of its views is translated; it is left out")
        self.sets.append((service.name, self._set(service, views)))
        return None

    def _set(self, service: Declared, views: list[tuple[_View, tuple[str, ...]]]) -> str:
        repeated = {name for _, names in views for name in names if sum(name in others for _, others in views) > 1}
        keys = list(dict.fromkeys(key for view, _ in views for key in view.keys))
        time = "event_timestamp"
        if repeated:
            self._note(service, f"the names {', '.join(sorted(repeated))} come from several views and get the view's name before them")
        parts = [view.variable if names == view.features and not repeated else _view_code(view, names, repeated) for view, names in views]
        columns = {**{key: _column(key) for key in keys}, time: time}
        spine = f"{service.name}_requests"
        return (
            f"{spine} = EventSource(\n    name={spine!r},\n    dataset={spine!r},\n    columns={columns!r},\n    event_time={time!r},\n"
            f"    available_at={time!r},\n)\n{service.name} = FeatureSet(\n    name={service.name!r},\n    spine={spine},\n"
            f"    entity={(*keys, time)!r},\n    time={time!r},\n    views=({', '.join(parts)},),\n)"
        )  # fmt: skip

    def _code(self, notes: tuple[str, ...]) -> str:
        head = '"""Feature definitions, translated from a Feast repository.\n\nWhere the meaning differs:\n\n'
        listed = "\n".join(f"- {note.replace(chr(34) * 3, chr(39) * 3)}" for note in notes)
        imports = (
            "from gateline import EventSource, FeatureSet, LatestView" if self.sets else "from gateline import EventSource, LatestView"
        )
        blocks = [text for _, text in self.sources.values()]
        blocks += [f"{view.variable} = {_view_code(view, view.features, set())}" for view in self.views.values()]
        blocks += [text for _, text in self.sets] + self.untranslated
        escaped = listed.replace("\\", "\\\\")
        return f'{head}{escaped}\n"""\n\nfrom __future__ import annotations\n\n{imports}\n\n' + "\n\n".join(blocks) + "\n"


def _view_code(view: _View, names: tuple[str, ...], repeated: set[str]) -> str:
    features: Any = {f"{view.name}_{name}" if name in repeated else name: name for name in names} if repeated else tuple(names)
    described = "".join(f", {name}={value!r}" for name, value in view.described.items())
    key = repr(view.keys[0]) if len(view.keys) == 1 else repr(view.keys)
    return f"LatestView(name={view.name!r}, source={view.source}, entity={key}, features={features!r}, max_age={view.max_age!r}{described})"


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _column(name: str) -> str:
    """Return a column as an expression; names that are no identifiers are quoted."""
    return name if _IDENTIFIER.fullmatch(name) else f'"{name}"'


def _variable(text: str, otherwise: str) -> str:
    """Return a name of Python for a source's name or path."""
    stem = text.rstrip("/").rsplit("/", 1)[-1].removesuffix(".parquet")
    found = re.sub(r"\W", "_", stem, flags=re.ASCII).strip("_").lower()
    return found if _IDENTIFIER.fullmatch(found) else f"{otherwise}_{found}".rstrip("_")


def _dataset(path: str) -> str:
    return _variable(path, "dataset")
