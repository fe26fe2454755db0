"""What a declaration must satisfy before any data is looked at: names, references, and the closed vocabulary of expressions. Pure."""

from __future__ import annotations

import re
from collections import Counter
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from gateline.features.model import Aggregate, FeatureSet, Latest, Source, Window
from gateline.kernel.canonical import digest
from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import TEXT_LENGTH_MAX
from gateline.kernel.names import valid_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateline.features.model import FeatureColumn, Part

RESERVED = frozenset({"row_id", "t", "label", "label_available_at", "unit"})

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|[A-Za-z_][A-Za-z0-9_]*|--|/\*|;|.", re.DOTALL)
# Every one works on one row, knows no clock and no chance, and means the same in each engine we compile to.
FUNCTIONS = frozenset({
    "abs", "ceil", "floor", "round", "sign", "sqrt", "exp", "ln", "log", "log10", "log2", "pow", "mod", "sin", "cos", "tan", "pi",
    "coalesce", "nullif", "ifnull", "if", "greatest", "least",
    "concat", "upper", "lower", "length", "left", "right", "substr", "ltrim", "rtrim", "trim", "replace", "lpad", "rpad",
    "starts_with", "ends_with", "strpos",
    "cast", "try_cast", "extract", "date_part", "strftime", "strptime", "date", "in", "and", "or", "not", "when", "then", "else",
    "between", "case", "varchar", "decimal", "like", "is", "by", "interval",
})  # fmt: skip
_FORBIDDEN = frozenset({
    "select", "over", "union", "join", "with", "distinct", "current_timestamp", "current_date", "current_time", "localtime",
    "localtimestamp", "now", "random", "exists", "any", "all", "partition", "lateral", "columns",
})  # fmt: skip


def expression_mistakes(sql: str) -> list[str]:
    """Return what is wrong with an expression before it is parsed: functions outside the vocabulary, subqueries, comments, length.

    >>> expression_mistakes("dep_delay + 1")
    []
    >>> expression_mistakes("AVG(dep_delay) OVER ()")
    ['it calls avg(), which is not in the vocabulary of row expressions', 'it uses OVER, which looks beyond the row or reads a clock']
    """
    if not sql.strip():
        return ["it is empty"]
    if len(sql) > TEXT_LENGTH_MAX:
        return [f"it is longer than {TEXT_LENGTH_MAX:,} characters"]
    found: list[str] = []
    tokens = [token for token in _TOKEN.findall(sql) if not token.isspace()]
    for token, after in zip(tokens, [*tokens[1:], ""], strict=True):
        word = token.lower()
        if token in {"--", "/*", ";"}:
            found.append(f"it holds '{token}'")
        elif word in _FORBIDDEN:
            found.append(f"it uses {word.upper()}, which looks beyond the row or reads a clock")
        elif after == "(" and _IDENTIFIER.fullmatch(token) and word not in FUNCTIONS:
            found.append(f"it calls {word}(), which is not in the vocabulary of row expressions")
    return list(dict.fromkeys(found))


def expressions(feature_set: FeatureSet) -> Iterator[tuple[str, str]]:
    """Yield (where, expression) for every expression of the set."""
    for source in feature_set.sources:
        for alias, sql in source.columns.items():
            yield f"source '{source.name}', column '{alias}'", sql
        if source.where is not None:
            yield f"source '{source.name}', where", source.where
    for one in feature_set.on_demand:
        yield f"on-demand feature '{one.name}'", one.sql
    if feature_set.label is not None:
        yield "label", feature_set.label.sql
        yield "label, available_at", feature_set.label.available_at
    for fact in feature_set.known_at:
        yield f"known_at of dataset '{fact.dataset}'", fact.sql


def set_mistakes(feature_set: FeatureSet) -> list[str]:
    """Return every mistake of a declaration that can be seen without the datasets."""
    found = [*_name_mistakes(feature_set), *_spine_mistakes(feature_set)]
    for source in feature_set.sources:
        found += _source_mistakes(source)
    for part in feature_set.parts:
        found += _part_mistakes(feature_set, part)
    for where, sql in expressions(feature_set):
        found += [f"{where}: {mistake}" for mistake in expression_mistakes(sql)]
    return list(dict.fromkeys(found))


def _name_mistakes(feature_set: FeatureSet) -> Iterator[str]:
    try:
        valid_name("feature set", feature_set.name)
    except InvalidInput as error:
        yield error.message
    for name, count in Counter(source.name for source in feature_set.sources).items():
        if count > 1:
            yield f"{count} different sources are called '{name}'"
    for name, count in Counter(feature_set.features).items():
        if count > 1:
            yield f"feature '{name}' is declared {count} times"
        if name in RESERVED:
            yield f"feature '{name}' has a reserved name; reserved are {', '.join(sorted(RESERVED))}"
        if not _IDENTIFIER.fullmatch(name):
            yield f"feature '{name}' must be named by letters, digits and '_', starting with a letter"
        if name in feature_set.spine.columns and name not in feature_set.columns:
            yield f"feature '{name}' has the name of a spine column; list it in `columns` or rename it"
    for name, count in Counter(part.name for part in feature_set.parts).items():
        if count > 1:
            yield f"{count} parts are called '{name}'"
    if not feature_set.features:
        yield "the set has no features"
    yield from _unknown("categorical", feature_set.categorical, feature_set.features, "features")


def _spine_mistakes(feature_set: FeatureSet) -> Iterator[str]:
    aliases = feature_set.spine.columns
    if not feature_set.entities:
        yield "the set has no entity"
    yield from _unknown("entity", feature_set.entities, aliases, "spine columns")
    yield from _unknown("time", (feature_set.time,), aliases, "spine columns")
    yield from _unknown("columns", feature_set.columns, aliases, "spine columns")
    yield from _unknown("slices", feature_set.slices, aliases, "spine columns")
    if feature_set.unit:
        yield from _unknown("unit", (feature_set.unit,), aliases, "spine columns")
    if taken := sorted(RESERVED & {*feature_set.slices, *feature_set.entities}):
        yield f"entity or slices use the reserved names {', '.join(taken)}"
    if feature_set.label is not None and feature_set.label.source != feature_set.spine:
        yield from _unknown(
            "entity",
            feature_set.entities,
            feature_set.label.source.columns,
            f"columns of the label's source '{feature_set.label.source.name}'",
        )


def _source_mistakes(source: Source) -> Iterator[str]:
    where = f"source '{source.name}'"
    for alias in source.columns:
        if not _IDENTIFIER.fullmatch(alias):
            yield f"{where}: alias '{alias}' must be letters, digits and '_', starting with a letter"
    for field, alias in (("event_time", source.event_time), ("available_at", source.available_at)):
        if not alias:
            yield f"{where} has no {field}; say from when on its rows could be known"
        else:
            yield from _unknown(f"{where}, {field}", (alias,), source.columns, "its columns")
    yield from _unknown(f"{where}, tie_breaker", source.tie_breaker, source.columns, "its columns")


def _part_mistakes(feature_set: FeatureSet, part: Part) -> Iterator[str]:
    where = f"part '{part.name}'"
    if not part.keys:
        yield f"{where} has no key"
    if not part.outputs:
        yield f"{where} has no features"
    yield from _unknown(f"{where}, key", part.keys, feature_set.spine.columns, "spine columns")
    yield from _unknown(f"{where}, key", part.keys, part.source.columns, f"columns of source '{part.source.name}'")
    yield from _unknown(f"{where}, features", tuple(part.outputs.values()), part.source.columns, f"columns of source '{part.source.name}'")
    if isinstance(part, Window):
        if part.aggregate not in list(Aggregate):
            yield f"{where}: '{part.aggregate}' is no aggregate; use one of {', '.join(Aggregate)}"
        if part.window_seconds <= 0:
            yield f"{where}: window_seconds must be positive, not {part.window_seconds}"
    if isinstance(part, Latest) and part.max_age_seconds <= 0:
        yield f"{where}: max_age_seconds must be positive, not {part.max_age_seconds}"
    if isinstance(part, Latest | Window) and part.offset_seconds < 0:
        yield f"{where}: offset_seconds must not be negative: that would look into the future"


def _unknown(what: str, wanted: Iterable[str], known: Iterable[str], kind: str) -> Iterator[str]:
    names = list(known)
    for name in wanted:
        if name not in names:
            yield f"{what}: '{name}' is not among the {kind}{suggestion(name, names)}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` when a known name is close, else nothing.

    >>> suggestion("dep_dealy", ["dep_delay", "origin"])
    " (did you mean 'dep_delay'?)"
    """
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def refuse(set_name: str, mistakes: list[str]) -> None:
    """Raise one error that names all mistakes; does nothing when there are none.

    Raises:
        InvalidInput: there is at least one mistake.
    """
    if mistakes:
        raise InvalidInput(
            f"Feature set '{set_name}' has {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}: {'; '.join(mistakes)}.",
            next_step="Correct the declaration and register it again.",
            facts={"mistakes": mistakes},
        )


def version_digest(feature_set: FeatureSet, dataset_digests: Mapping[str, str], features: Iterable[FeatureColumn]) -> str:
    """Return the digest of a feature set version: definition, pinned data and feature types."""
    content: dict[str, Any] = {
        "format": 1,
        "definition": feature_set.as_dict(),
        "datasets": dict(dataset_digests),
        "features": [one.as_dict() for one in features],
    }
    return digest("feature_set.version", content)
