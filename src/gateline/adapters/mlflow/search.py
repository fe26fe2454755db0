"""Searches in MLflow's own grammar, by MLflow's own parser; what it refuses is explained with the place.

Imports MLflow inside functions only: they are called once it is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import Denied, GatelineError, InvalidInput, NotFound, Unavailable
from gateline.kernel.limits import TEXT_LENGTH_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateline.tracking import RunQuery

_ALLOWED = (
    "Join conditions with AND. metrics.NAME takes >, >=, =, !=, <, <= and a number; params.NAME and tags.NAME take =, !=, LIKE, ILIKE and "
    "a quoted text, or IS NULL and IS NOT NULL; attributes are run_id, run_name, status, user_id, artifact_uri with a quoted text, "
    "start_time and end_time with milliseconds; datasets have name, digest and context. Other names stand in `backticks`."
)
_ORDERS = "Write a column and ASC or DESC: metrics.auc DESC, params.model, tags.team, attributes.start_time."
_NEWEST_FIRST = "attributes.start_time DESC"
_SAID_MAX = 2_000
_QUOTED_MAX = 200
_CONDITIONS_MAX = 30
_JOINS_MAX = 60  # SQLite joins at most 64 tables: one for each condition or order by metric, parameter or tag, two by dataset
_BAD_REQUESTS = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})


def search_runs(store: Any, experiment_ids: list[str], query: RunQuery) -> tuple[list[Any], str]:
    """Return MLflow's runs of a page, and the token of the next one; empty on the last.

    Raises:
        InvalidInput: filter, order or page token is wrong; the message quotes where, and says what is allowed.
        Unavailable: the database is busy.
    """
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    order = [*query.order_by, *([] if query.order_by else [_NEWEST_FIRST])]
    _check(query)
    try:
        found = store.search_runs(experiment_ids, query.filter, ViewType.ACTIVE_ONLY, query.max_results, order, query.page_token or None)
    except MlflowException as error:
        raise _explained(error, f"The search failed: {error.message}", _ALLOWED) from error
    return list(found), found.token or ""


def mlflow_error(error: Any, what: str) -> GatelineError:
    """Return MLflow's error as one of ours."""
    return _explained(error, f"{what}: {error.message}", "")


def _explained(error: Any, message: str, next_step: str) -> GatelineError:
    cause = error.__cause__ or error.__context__
    kind: type[GatelineError] = GatelineError
    if error.error_code in _BAD_REQUESTS or isinstance(cause, (ValueError, OverflowError)):
        kind = InvalidInput
    elif error.error_code == "RESOURCE_DOES_NOT_EXIST":
        kind = NotFound
    elif error.error_code == "PERMISSION_DENIED":
        kind = Denied
    elif error.error_code == "TEMPORARILY_UNAVAILABLE":
        kind = Unavailable
    return kind(message[:_SAID_MAX], next_step=next_step)


def _check(query: RunQuery) -> None:
    """Refuse filter, order or page token that MLflow's parser does not take, with the first place of the filter where it does not."""
    from mlflow.utils.search_utils import SearchUtils

    if len(query.filter) > TEXT_LENGTH_MAX or sum(map(len, query.order_by)) > TEXT_LENGTH_MAX:
        raise InvalidInput(f"The filter or the order is longer than {TEXT_LENGTH_MAX:,} characters.", next_step="Ask for less at once.")
    for column in query.order_by:
        if wrong := _mistake(SearchUtils.parse_order_by_for_search_runs, column):
            raise InvalidInput(f"Order '{column}' is not understood: {wrong}", next_step=_ORDERS)
    if wrong := _mistake(_check_conditions, query.filter):
        position, clause = _first_wrong(query.filter)
        raise InvalidInput(
            f"The filter is wrong at character {position + 1}, '{clause}': {wrong}",
            next_step=_ALLOWED,
            facts={"position": position, "clause": clause},
        )
    _check_orders(query)
    if _mistake(_check_token, query.page_token):
        message, next_step = "The page token is none that this server gave.", "Begin with the first page: leave page_token out."
        raise InvalidInput(message, next_step=next_step)


def _check_orders(query: RunQuery) -> None:
    """Refuse to order by a column twice, and more columns than a database can join."""
    from mlflow.utils.search_utils import SearchUtils

    orders = [SearchUtils.parse_order_by_for_search_runs(column)[:2] for column in query.order_by]
    named = [(kind, SearchUtils.translate_key_alias(key)) for kind, key in orders]
    if twice := sorted({f"{kind}.{key}" for kind, key in named if named.count((kind, key)) > 1}):
        raise InvalidInput(f"The order names a column more than once: {', '.join(twice)}.", next_step="Name each column once.")
    kinds = [kind for kind, _ in orders] + [one["type"] for one in SearchUtils.parse_search_filter(query.filter)]
    joins = sum(2 if kind == "dataset" else kind != "attribute" for kind in kinds)
    if joins > _JOINS_MAX:
        raise InvalidInput(
            f"Filter and order join {joins} tables, more than {_JOINS_MAX}: two for each dataset, one for each metric, parameter and tag.",
            next_step="Order by fewer columns, or ask for less at once.",
        )


def _mistake(check: Callable[[str], Any], text: str) -> str:
    """Return what a check finds wrong with a text; empty when nothing. MLflow's parser indexes tokens, so mistakes raise many things."""
    from mlflow.exceptions import MlflowException

    try:
        check(text)
    except (MlflowException, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        return str(getattr(error, "message", "") or error)[:_SAID_MAX] or type(error).__name__
    return ""


def _check_token(token: str) -> None:
    from mlflow.utils.search_utils import SearchUtils

    if not 0 <= int(SearchUtils.parse_start_offset_from_page_token(token)) < 2**63:
        raise ValueError(token)


def _check_conditions(text: str) -> None:
    """Parse conditions and check that each comparison suits its column."""
    from mlflow.utils.search_utils import SearchUtils

    conditions = SearchUtils.parse_search_filter(text)
    if len(conditions) > _CONDITIONS_MAX:
        raise ValueError(f"{len(conditions)} conditions are more than {_CONDITIONS_MAX}")
    for one in conditions:
        kind, key, comparator = one["type"], one["key"], one["comparator"].upper()
        SearchUtils.is_metric(kind, comparator)
        SearchUtils.is_param(kind, comparator)
        SearchUtils.is_tag(kind, comparator)
        SearchUtils.is_dataset(kind, comparator)
        SearchUtils.is_attribute(kind, key, comparator)
        _check_number(one["value"] if kind == "metric" or key in SearchUtils.NUMERIC_ATTRIBUTES else 0)


def _check_number(value: Any) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise OverflowError(f"{value} is no 64-bit number")
    float(value)


def _first_wrong(text: str) -> tuple[int, str]:
    """Return where the first condition begins that is wrong by itself, and the condition; the whole filter when each alone is right."""
    for position, clause in _clauses(text):
        if not clause or _mistake(_check_conditions, clause):
            return position, clause[:_QUOTED_MAX]
    return len(text) - len(text.lstrip()), text.strip()[:_QUOTED_MAX]


def _clauses(text: str) -> Iterator[tuple[int, str]]:
    """Yield the conditions between ANDs with their places; MLflow's tokenizer loses no character, so the places are exact."""
    from mlflow.utils.search_utils import sqlparse

    begin = position = 0
    for token in (token for statement in sqlparse.parse(text) for token in statement.flatten()):
        following = position + len(token.value)
        if token.is_keyword and token.normalized == "AND":
            yield _stripped(text, begin, position)
            begin = following
        position = following
    yield _stripped(text, begin, len(text))


def _stripped(text: str, begin: int, end: int) -> tuple[int, str]:
    part = text[begin:end]
    return begin + len(part) - len(part.lstrip()), part.strip()
