"""The project's policy: what must be true of a model, written down before anybody looks at its results."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, cast, get_type_hints

from gateline.kernel.canonical import digest
from gateline.kernel.errors import InvalidInput

PARITY = "parity"
"""The check that asks how features are served."""

_TEXT_MAX = 100
_LIST_MAX = 50


def _bounded(default: Any, low: float, high: float) -> Any:
    """Return a field whose value has to lie between `low` and `high`, both included."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaPolicy:
    """What the schema check allows.

    Attributes:
        null_share_increase_max: How much larger a column's share of missing values may be than in training (0 to 1).
        unseen_category_share_max: Largest share of values that are no category of the model (0 to 1).
    """

    null_share_increase_max: float = _bounded(0.05, 0, 1)
    unseen_category_share_max: float = _bounded(0.02, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutPolicy:
    """What the holdout check asks for.

    Attributes:
        improvement_min: Least improvement of log loss over the training base rate, in nats per row.
        units_min: Fewest dependence units that may decide.
    """

    improvement_min: float = _bounded(0.0, -10, 10)
    units_min: int = _bounded(7, 2, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicesPolicy:
    """What the slices check asks for.

    Attributes:
        columns: Columns whose values are the slices; empty asks for none.
        improvement_min: Least improvement of log loss over the training base rate in every slice; below 0 it is a tolerated loss.
        rows_min: Slices with fewer rows are listed but not judged.
        units_min: Slices with fewer dependence units are listed but not judged.
        coverage_min: Least share of rows that lie in judged slices (0 to 1).
    """

    columns: tuple[str, ...] = ()
    improvement_min: float = _bounded(-0.02, -10, 10)
    rows_min: int = _bounded(200, 1, 1_000_000_000)
    units_min: int = _bounded(7, 2, 1_000_000)
    coverage_min: float = _bounded(0.9, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPolicy:
    """What the latency check asks for.

    Attributes:
        p99_ms_max: Largest 99th percentile of the time of one request on a real worker, in milliseconds.
        requests: Requests that are timed.
        warmup: Requests sent before and not timed.
    """

    p99_ms_max: float = _bounded(50.0, 0.001, 600_000)
    requests: int = _bounded(400, 300, 1_000_000)
    warmup: int = _bounded(50, 0, 100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionPolicy:
    """What the champion check asks for.

    Attributes:
        margin: The candidate's log loss has to be lower by more than this, in nats per row.
        units_min: Fewest dependence units that may decide.
    """

    margin: float = _bounded(0.0, 0, 10)
    units_min: int = _bounded(7, 2, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityPolicy:
    """What the parity check looks at; its limits stand in the endpoint's parity plan.

    Attributes:
        endpoint: The endpoint whose features, as served, have to agree with their offline recomputation.
    """

    endpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All thresholds of a project, and how its data is to be read.

    Attributes:
        suite: Checks that must be part of every gate run; one that is left out keeps the gate shut.
        level: Confidence level of the intervals, between 0.5 and 1.
        resamples: Resamples of whole units behind each interval.
        seed: Seed of the resampling.
        label: Column with the outcome, 0 or 1; missing where it is not known.
        unit: Column with the dependence unit (a day, a customer), which is resampled whole.
        unit_noun: What one unit is called in sentences; empty means the column's name.
        time: Column with the time of each row: a timestamp, or UTC microseconds.
    """

    suite: tuple[str, ...] = ("schema", "holdout", "slices", "latency")
    level: float = _bounded(0.95, 0.5, 0.9999)
    resamples: int = _bounded(4000, 200, 100_000)
    seed: int = _bounded(0, 0, 2**53)
    label: str = "label"
    unit: str = "unit"
    unit_noun: str = ""
    time: str = "t"
    schema: SchemaPolicy = field(default_factory=SchemaPolicy)
    holdout: HoldoutPolicy = field(default_factory=HoldoutPolicy)
    slices: SlicesPolicy = field(default_factory=SlicesPolicy)
    latency: LatencyPolicy = field(default_factory=LatencyPolicy)
    champion: ChampionPolicy = field(default_factory=ChampionPolicy)
    parity: ParityPolicy = field(default_factory=ParityPolicy)

    @property
    def noun(self) -> str:
        """What one unit is called."""
        return self.unit_noun or self.unit

    @property
    def digest(self) -> str:
        """Identity of the policy: the digest of all its values, defaults included."""
        return digest("gate-policy/1", self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON. Parity is among them when it names an endpoint: policies from before it keep their digest."""
        fields = cast("dict[str, Any]", _plain(asdict(self)))
        if self.parity == ParityPolicy():
            del fields["parity"]
        return fields


def parse_policy(document: Mapping[str, Any]) -> Policy:
    """Return the policy that a mapping (the `[gates]` table of gateline.toml) declares; what it leaves out takes the default.

    >>> parse_policy({"level": 0.9, "holdout": {"improvement_min": 0.01}}).holdout.improvement_min
    0.01

    Raises:
        InvalidInput: keys are unknown, or values have the wrong type or range; every mistake is named.
    """
    mistakes: list[str] = []
    policy = _parse(Policy, document, "gates", mistakes)
    if not mistakes and len(set(policy.suite)) < len(policy.suite):
        mistakes.append("gates.suite names a check twice")
    if not mistakes and not policy.suite:
        mistakes.append("gates.suite is empty: a gate without checks proves nothing")
    if not mistakes and PARITY in policy.suite and not policy.parity.endpoint:
        mistakes.append("gates.suite asks for parity, and gates.parity.endpoint names no endpoint")
    if mistakes:
        raise InvalidInput(
            f"The gate policy has {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}: {'; '.join(mistakes)}.",
            next_step="Correct the [gates] table of gateline.toml.",
            facts={"mistakes": mistakes},
        )
    return cast("Policy", policy)


def parse_policy_toml(text: str) -> Policy:
    """Return the policy in the `[gates]` table of a TOML text.

    Raises:
        InvalidInput: the text is no TOML, has no such table, or the table has mistakes.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"The policy file is not TOML: {error}.", next_step="Correct the file at that place.") from error
    gates = document.get("gates")
    if not isinstance(gates, dict):
        raise InvalidInput("The policy file has no [gates] table.", next_step="Add one; `gateline init` writes an example.")
    return parse_policy(gates)


def _parse(kind: type[Any], document: Any, path: str, mistakes: list[str]) -> Any:
    """Return an instance of the dataclass, noting each mistake with its path; a faulty value is left at its default."""
    if not isinstance(document, Mapping):
        mistakes.append(f"{path} must be a table, found {_shown(document)}")
        return kind()
    known = {one.name: one for one in fields(kind)}
    mistakes += [f"{path}.{name} is not known (known: {', '.join(known)})" for name in document if name not in known]
    hints, found = get_type_hints(kind), dict[str, Any]()
    for name, one in known.items():
        if name not in document:
            continue
        value, where = document[name], f"{path}.{name}"
        if is_dataclass(hints[name]):
            found[name] = _parse(cast("type[Any]", hints[name]), value, where, mistakes)
        elif complaint := _complaint(hints[name], value, one.metadata):
            mistakes.append(f"{where} must be {complaint}, found {_shown(value)}")
        else:
            found[name] = tuple(value) if isinstance(value, (list, tuple)) else float(value) if hints[name] is float else value
    return kind(**found)


def _complaint(kind: Any, value: Any, bounds: Mapping[str, Any]) -> str:
    """Return what the value should have been; empty when it is fine."""
    if kind is str:
        fine = isinstance(value, str) and len(value) <= _TEXT_MAX
        return "" if fine else f"text of at most {_TEXT_MAX} characters"
    if kind is int or kind is float:
        allowed = (int,) if kind is int else (int, float)
        number = isinstance(value, allowed) and not isinstance(value, bool) and math.isfinite(value)
        fine = number and bounds["low"] <= value <= bounds["high"]
        return "" if fine else f"a {'whole ' if kind is int else ''}number from {bounds['low']:g} to {bounds['high']:g}"
    fine = isinstance(value, (list, tuple)) and len(value) <= _LIST_MAX and all(isinstance(one, str) and one for one in value)
    return "" if fine else f"a list of at most {_LIST_MAX} names"


def _shown(value: Any) -> str:
    """Return the value for a message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= _TEXT_MAX else f"{text[: _TEXT_MAX - 1]}…"


def _plain(value: Any) -> Any:
    """Return the value with tuples as lists, as JSON reads it back."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return list(value) if isinstance(value, tuple) else value
