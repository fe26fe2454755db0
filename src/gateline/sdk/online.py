"""Features online, through the API: events in, features out, and the catalogue of views."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from gateline.kernel.clock import iso
from gateline.kernel.limits import EVENT_ROWS_MAX
from gateline.kernel.names import split_version_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from gateline.features import FeatureFit, FeatureSetVersion, ParityReport
    from gateline.kernel.clock import Instant
    from gateline.sdk.client import Client


def push_events(client: Client, source: str, rows: Sequence[Mapping[str, Any]], *, spool: bool | None = None) -> dict[str, Any]:
    """Send events of a source; when it returns, all of them are durable in the online store, and in a dataset that is fed with rows.

    Args:
        client: The connection.
        source: Name of the event source.
        rows: Rows of the source's dataset: column to value; instants are aware datetimes or ISO 8601 with an offset.
        spool: Whether they are added to the dataset: true insists on it, false leaves it to somebody else, None adds them where the
            dataset is fed with rows.

    Returns:
        `views`: view version to what became of the events (taken, known already, conflicting, expired, late). `datasets`: dataset to
        whether it is `spooled` to, and how many rows were `appended`, or `repeated`: there already.

    Raises:
        InvalidInput: rows do not fit; batches before the wrong one are in, and may be sent again.
        Conflict: the dataset holds another row with the same event id, or is made of files and `spool` is true.
        ContractBroken: rows break the contract of the dataset.
        Denied: the caller may not add to the dataset.
        NotFound: no view that is kept online reads the source.
    """
    total: dict[str, dict[str, Any]] = {"views": {}, "datasets": {}}
    for start in range(0, len(rows), EVENT_ROWS_MAX):
        batch = [{name: _plain(value) for name, value in row.items()} for row in rows[start : start + EVENT_ROWS_MAX]]
        answer = client.post("/features/events", json={"source": source, "rows": batch, "spool": spool})
        for what, sums in total.items():
            for name, counts in answer[what].items():
                before = sums.get(name, dict.fromkeys(counts, 0))
                sums[name] = {one: count if isinstance(count, bool) else before[one] + count for one, count in counts.items()}
    return total


def online_features(
    client: Client,
    wanted: str | Sequence[str],
    entities: Sequence[Mapping[str, Any]],
    t: Instant | datetime | str | None = None,
    *,
    fitted: str = "",
) -> dict[str, Any]:
    """Read features as they are at a time.

    Args:
        client: The connection.
        wanted: A feature set (name or id), or a list of views (names for the promoted versions, or ids).
        entities: For each row, alias to value: entity keys, and for a set what its other features are made of.
        t: UTC microseconds, aware datetime or ISO 8601; None for now.
        fitted: Id of a fit of the set (`flight_delay@1/fit@2`), to read its features transformed.

    Returns:
        `rows` (each with `features` by name, and for each view its state `ok`, `stale` or `missing` with the age in seconds), `views`
        (name to version read), `t`. A deprecated view is warned about.

    Raises:
        NotFound: a set or view does not exist.
        Conflict: a view is not kept online.
        InvalidInput: keys do not fit, `t` is earlier than the store answers for, or the fit is of another set.
    """
    what = {"feature_set": wanted} if isinstance(wanted, str) else {"views": list(wanted)}
    rows = [{name: _plain(value) for name, value in row.items()} for row in entities]
    at = iso(t) if isinstance(t, int) else _plain(t)
    answer: dict[str, Any] = client.post("/features/read", json={**what, "entities": rows, "t": at, "fitted": fitted})
    for sentence in answer["warnings"]:
        warnings.warn(sentence, FutureWarning, stacklevel=2)
    return answer


def freshness(client: Client) -> list[dict[str, Any]]:
    """Return, for each view version kept online, its watermark and how many seconds it lags behind now."""
    found: list[dict[str, Any]] = client.get("/features/freshness")
    return found


def feature_views(client: Client, search: str = "") -> list[dict[str, Any]]:
    """Return the catalogue's views whose name, owner, description, tags or features hold every word."""
    found: list[dict[str, Any]] = client.get("/feature-views", params={"search": search})
    return found


def feature_view(client: Client, name: str) -> dict[str, Any]:
    """Return what the catalogue says of a view, with its versions; raises NotFound."""
    found: dict[str, Any] = client.get(f"/feature-views/{name}")
    return found


def consumers(client: Client, name: str) -> dict[str, list[str]]:
    """Return the feature set versions and model versions that use a view."""
    found: dict[str, list[str]] = client.get(f"/feature-views/{name}/consumers")
    return found


def view_statistics(client: Client, wanted: str) -> dict[str, Any]:
    """Return entities, size, freshness and missing share of a view version."""
    found: dict[str, Any] = client.get(f"{_path(client, wanted)}/statistics")
    return found


def materialise(
    client: Client,
    wanted: str,
    *,
    start: str | None = None,
    end: str | None = None,
    dataset_version: int | None = None,
    interval_seconds: int | None = None,
    progress: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Take the rows of a view's dataset into the online store, one interval per call; goes on where an earlier run stopped.

    Args:
        client: The connection.
        wanted: View version id, or name for the promoted (or newest) version.
        start: Availability after which rows are wanted, ISO 8601; by default where the last run stopped, less the source's lateness.
        end: Availability up to which rows are wanted; by default the newest row's.
        dataset_version: Number of the dataset version; the newest by default.
        interval_seconds: Length of an interval; a week by default.
        progress: Called after each interval.

    Returns:
        The outcome: `intervals`, `done`, `rows` and what became of them in all calls (`taken`).
    """
    optional = {"start": start, "end": end, "dataset_version": dataset_version, "interval_seconds": interval_seconds}
    body = {name: value for name, value in optional.items() if value is not None}
    path = f"{_path(client, wanted)}/materialise"
    state: dict[str, Any] = client.post(path, json=body)
    body.setdefault("start", iso(state["start"]))  # the next call must name the same intervals
    rows, taken = state["rows"], dict(state["taken"])
    progress(state)
    while state["done"] < state["intervals"]:
        state = client.post(path, json=body)
        rows += state["rows"]
        taken = {name: count + state["taken"][name] for name, count in taken.items()}
        progress(state)
    return {**state, "rows": rows, "taken": taken}


def promote_view(client: Client, wanted: str) -> dict[str, Any]:
    """Make a view version the one that its name means."""
    found: dict[str, Any] = client.post(f"{_path(client, wanted)}/promote")
    return found


def remove_view(client: Client, wanted: str) -> dict[str, Any]:
    """Remove the values of a view version that is not promoted from the online store."""
    found: dict[str, Any] = client.delete(f"{_path(client, wanted)}/values")
    return found


def deprecate_view(client: Client, name: str, *, reason: str, successor: str = "") -> dict[str, Any]:
    """Warn everybody who registers a set with the view or reads it; an empty reason takes it back."""
    found: dict[str, Any] = client.put(f"/feature-views/{name}/deprecation", json={"reason": reason, "successor": successor})
    return found


def replay(
    client: Client, version: FeatureSetVersion, *, requests: int | None = None, seed: int = 0, fitted: FeatureFit | str | None = None
) -> ParityReport:
    """Replay historical requests of a set through the online path in this process; see `gateline.features.replay_parity`.

    With a fit (or its id), features are transformed by it on both sides, so that what a model sees is compared.

    Raises:
        InvalidInput: the fit is of another feature set version.
    """
    from gateline.features import replay_parity
    from gateline.sdk.features import feature_fit, tables

    fit = feature_fit(client, fitted) if isinstance(fitted, str) else fitted
    if fit is not None:
        fit.check(version.id)
    return replay_parity(version.definition, tables(client, version), requests, seed, fitted=None if fit is None else fit.fitted)


def _path(client: Client, wanted: str) -> str:
    if "@" in wanted:
        name, number = split_version_id(wanted)
    else:
        card = feature_view(client, wanted)
        name, number = wanted, card["promoted"] or card["versions"][-1]["version"]
    return f"/feature-views/{name}/versions/{number}"


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
