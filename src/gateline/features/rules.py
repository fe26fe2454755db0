"""What a declaration must satisfy before any data is looked at: names, references, and the closed vocabulary of expressions. Pure."""

from __future__ import annotations

import re
from collections import Counter
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from gateline.features.declarations.calendars import calendar_mistakes
from gateline.features.declarations.plan import Aggregate, EventSource, Latest, Plan, Window
from gateline.features.declarations.request_views import OnDemandView
from gateline.features.declarations.transforms import transform_mistakes
from gateline.features.declarations.views import WindowView
from gateline.kernel.canonical import digest
from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import TEXT_LENGTH_MAX
from gateline.kernel.names import valid_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateline.features.declarations.plan import Part
    from gateline.features.declarations.views import View
    from gateline.features.model import FeatureColumn, FeatureSet

LAST_K_MAX = 100
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


def expressions(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield (where, expression) for every expression of the set."""
    for source in plan.sources:
        for alias, sql in source.columns.items():
            yield f"source '{source.name}', column '{alias}'", sql
        if source.where is not None:
            yield f"source '{source.name}', where", source.where
    for one in plan.on_demand:
        yield f"on-demand feature '{one.name}'", one.sql
    if plan.label is not None:
        yield "label", plan.label.sql
        yield "label, available_at", plan.label.available_at
    for fact in plan.known_at:
        yield f"known_at of dataset '{fact.dataset}'", fact.sql


def set_mistakes(feature_set: FeatureSet) -> list[str]:
    """Return every mistake of a declaration that can be seen without the datasets."""
    found = []
    for name, count in Counter(view.name for view in feature_set.views).items():
        if count > 1:
            found.append(f"{count} views are called '{name}'")
        try:
            valid_name("feature view", name)
        except InvalidInput as error:
            found.append(error.message)
    for view in feature_set.views:
        found += _view_mistakes(view)
    found += transform_mistakes(feature_set.fitted, feature_set.features)
    return list(dict.fromkeys([*found, *plan_mistakes(feature_set.plan)]))


def _view_mistakes(view: View) -> Iterator[str]:
    """Yield what the parts of a view no longer show."""
    where = f"view '{view.name}'"
    if isinstance(view, OnDemandView) and not view.expressions:
        yield f"{where} has neither expressions nor a function"
    if isinstance(view, WindowView):
        if not view.windows or not view.aggregations:
            yield f"{where} needs at least one window and one aggregation"
        for one in view.aggregations:
            if not one.column and one.aggregate != Aggregate.COUNT:
                yield f"{where}: {one.aggregate} needs a column; only count can do without"


def plan_mistakes(plan: Plan) -> list[str]:
    """Return every mistake of a plan that can be seen without the datasets."""
    found = [*_name_mistakes(plan), *_spine_mistakes(plan)]
    for source in plan.sources:
        found += _source_mistakes(source)
    for part in plan.parts:
        found += _part_mistakes(plan, part)
    for calendar in plan.calendars:
        found += calendar_mistakes(calendar)
        found += _unknown(f"calendar '{calendar.name}', time", (calendar.time,), plan.spine.columns, "spine columns")
    for where, sql in expressions(plan):
        found += [f"{where}: {mistake}" for mistake in expression_mistakes(sql)]
    return list(dict.fromkeys(found))


def _name_mistakes(plan: Plan) -> Iterator[str]:
    try:
        valid_name("feature set", plan.name)
    except InvalidInput as error:
        yield error.message
    for name, count in Counter(source.name for source in plan.sources).items():
        if count > 1:
            yield f"{count} different sources are called '{name}'"
    for name, count in Counter(plan.features).items():
        if count > 1:
            yield f"feature '{name}' is declared {count} times"
        if name in RESERVED:
            yield f"feature '{name}' has a reserved name; reserved are {', '.join(sorted(RESERVED))}"
        if not _IDENTIFIER.fullmatch(name):
            yield f"feature '{name}' must be named by letters, digits and '_', starting with a letter"
        if name in plan.spine.columns and name not in plan.columns:
            yield f"feature '{name}' has the name of a spine column; list it in `columns` or rename it"
    for name, count in Counter(part.name for part in (*plan.parts, *plan.calendars)).items():
        if count > 1:
            yield f"{count} parts are called '{name}'"
    if not plan.features:
        yield "the set has no features"
    yield from _unknown("categorical", plan.categorical, plan.features, "features")


def _spine_mistakes(plan: Plan) -> Iterator[str]:
    aliases = plan.spine.columns
    if not plan.entities:
        yield "the set has no entity"
    yield from _unknown("entity", plan.entities, aliases, "spine columns")
    yield from _unknown("time", (plan.time,), aliases, "spine columns")
    yield from _unknown("columns", plan.columns, aliases, "spine columns")
    yield from _unknown("slices", plan.slices, aliases, "spine columns")
    if plan.unit:
        yield from _unknown("unit", (plan.unit,), aliases, "spine columns")
    if taken := sorted(RESERVED & {*plan.slices, *plan.entities}):
        yield f"entity or slices use the reserved names {', '.join(taken)}"
    if plan.label is not None and plan.label.source != plan.spine:
        yield from _unknown(
            "entity",
            plan.entities,
            plan.label.source.columns,
            f"columns of the label's source '{plan.label.source.name}'",
        )


def _source_mistakes(source: EventSource) -> Iterator[str]:
    where = f"source '{source.name}'"
    for alias in source.columns:
        if not _IDENTIFIER.fullmatch(alias):
            yield f"{where}: alias '{alias}' must be letters, digits and '_', starting with a letter"
    for field, alias in (("event_time", source.event_time), ("available_at", source.available_at)):
        if not alias:
            yield f"{where} has no {field}; say from when on its rows could be known"
        else:
            yield from _unknown(f"{where}, {field}", (alias,), source.columns, "source's columns")
    yield from _unknown(f"{where}, tie_breaker", source.tie_breaker, source.columns, "source's columns")
    yield from _unknown(f"{where}, event_id", source.event_id, source.columns, "source's columns")
    if source.lateness_seconds < 0:
        yield f"{where}: lateness_seconds must not be negative, but is {source.lateness_seconds}"


def _part_mistakes(plan: Plan, part: Part) -> Iterator[str]:
    where = f"part '{part.name}'"
    if not part.keys:
        yield f"{where} has no key"
    if not part.outputs:
        yield f"{where} has no features"
    yield from _unknown(f"{where}, key", part.keys, plan.spine.columns, "spine columns")
    yield from _unknown(f"{where}, key", part.keys, part.source.columns, f"columns of source '{part.source.name}'")
    yield from _unknown(f"{where}, features", tuple(part.outputs.values()), part.source.columns, f"columns of source '{part.source.name}'")
    if isinstance(part, Window):
        yield from _window_mistakes(where, part)
    if isinstance(part, Latest) and part.max_age_seconds <= 0:
        yield f"{where}: max_age_seconds must be positive, not {part.max_age_seconds}"
    if isinstance(part, Latest | Window) and part.offset_seconds < 0:
        yield f"{where}: offset_seconds must not be negative: that would look into the future"


def _window_mistakes(where: str, window: Window) -> Iterator[str]:
    if window.aggregate not in list(Aggregate):
        yield f"{where}: '{window.aggregate}' is no aggregate; use one of {', '.join(Aggregate)}"
    if window.window_seconds <= 0:
        yield f"{where}: the window must be positive, not {window.window_seconds} s"
    if window.hop_seconds and not 0 < window.hop_seconds <= window.window_seconds:
        yield f"{where}: the hop must be positive and at most the window ({window.window_seconds} s), not {window.hop_seconds} s"
    if (window.aggregate == Aggregate.RATIO) != bool(window.denominator):
        yield f"{where}: a ratio has a denominator, and nothing else has"
    elif window.denominator:
        yield from _unknown(f"{where}, denominator", (window.denominator,), window.source.columns, f"columns of '{window.source.name}'")
    if (window.aggregate == Aggregate.LAST_K) != (1 <= window.position <= LAST_K_MAX):
        yield f"{where}: last_k takes k from 1 to {LAST_K_MAX}, and nothing else has a k"


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


def version_digest(definition: FeatureSet, dataset_digests: Mapping[str, str], features: Iterable[FeatureColumn]) -> str:
    """Return the digest of a feature set version: definition, pinned data and feature types."""
    content: dict[str, Any] = {
        "format": 1,
        "definition": definition.as_dict(),
        "datasets": dict(dataset_digests),
        "features": [one.as_dict() for one in features],
    }
    return digest("feature_set.version", content)
