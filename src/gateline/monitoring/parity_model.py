"""What feature parity speaks of: its plan, what became of each feature, and the runs that are recorded. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from gateline.kernel.clock import iso
from gateline.monitoring.model import State

LAGS_SECONDS = (60, 300, 900, 3_600, 21_600, 86_400)
"""How much earlier the offline value of a mismatching row is looked up, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityPlan:
    """Which feature set an endpoint's requests are recomputed from, for which of them, and what counts as alarming.

    Attributes:
        feature_set: Name of the set (its newest version) or a version id such as `flight_delay@2`.
        sample_share: Share of entities whose requests are recomputed, above 0 to 1; chosen by a hash of the entity, always the same.
        rows_min: Fewer recomputed requests than this in a run is not enough data.
        coverage_min: Least share of the sampled requests that has to be found offline, 0 to 1; below it there is no verdict.
        warn_above: Share of differing requests of a feature, of one kind, above which it is a warning, 0 to 1.
        mismatch_max: Share of requests with another value offline, above which it is an alert.
        missing_max: Share of requests that were served no value although there is one offline, above which it is an alert.
        extra_max: Share of requests that were served a value although there is none offline, above which it is an alert.
        lateness_seconds: How far the watermark must pass a day's end before its predictions are taken as complete.
        wait_seconds: How much longer a run waits for datasets that were read after the day's end, in event time; then it has no verdict.
        timezone: IANA zone in which days begin.
        resolve_after_ok: This many `ok` runs in a row resolve an alert.
    """

    feature_set: str
    sample_share: float = 0.1
    rows_min: int = 100
    coverage_min: float = 0.5
    warn_above: float = 0.0
    mismatch_max: float = 0.01
    missing_max: float = 0.01
    extra_max: float = 0.01
    lateness_seconds: int = 3_600
    wait_seconds: int = 3 * 86_400
    timezone: str = "UTC"
    resolve_after_ok: int = 2

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `monitoring.parity_plan_from_dict` gives the equal plan."""
        return asdict(self)


class Outcome(IntEnum):
    """How one request's value compares."""

    AGREE = 0
    MISMATCH = 1
    MISSING = 2
    EXTRA = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Which earlier instant's offline value equals the served one.

    Attributes:
        seconds: The shift that explains most mismatches, the smallest of equals; None when none explains any.
        share: Share of the rows looked at that it explains, 0 to 1.
        rows: Mismatching rows looked at.
    """

    seconds: int | None
    share: float
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureParity:
    """How one feature as served compares with its offline recomputation.

    Attributes:
        compared: Requests whose entity is known offline; a value missing on both sides agrees.
        mismatch: Requests with a value on both sides, and not the same one.
        missing: Requests that were served no value although there is one offline.
        extra: Requests that were served a value although there is none offline.
        smape: Symmetric mean absolute percentage error, the mean of 2|s - o| / (|s| + |o|) over requests with a number on both sides
            (0 to 2, smaller is better; 0 when both are 0); None for texts and without such requests.
        lag: What explains the mismatches; None without any.
        share: The share that decided: the worst of the three, as a multiple of its limit.
        limit: The limit that `share` is held against.
        kind: Which of the three it is: `mismatch`, `missing` or `extra`.
        examples: Prediction ids of up to three differing requests, in order of time.
        reason: One sentence that quotes the numbers.
    """

    name: str
    compared: int
    mismatch: int
    missing: int
    extra: int
    smape: float | None
    lag: Lag | None
    share: float
    limit: float
    kind: str
    state: State
    examples: tuple[str, ...]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> FeatureParity:
        """Return the value that `as_dict` described."""
        lag = fields["lag"]
        given = {"lag": Lag(**lag) if lag else None, "state": State(fields["state"]), "examples": tuple(fields["examples"])}
        return cls(**{**fields, **given})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCounts:
    """What became of the requests of a run. Only `compared` can agree; all others are counted apart.

    Attributes:
        requests: Answered rows in the interval; rows of shadows are left out.
        unnamed: Rows that name no entity, so that nothing offline belongs to them.
        batched: Rows that share request and entity with others, so that nobody can say which row the entity means.
        sampled: Rows of sampled entities, of those that are left.
        unknown: Sampled rows whose entity is not in the offline spine.
        compared: Sampled rows that were recomputed.
    """

    requests: int = 0
    unnamed: int = 0
    batched: int = 0
    sampled: int = 0
    unknown: int = 0
    compared: int = 0

    @property
    def coverage(self) -> float:
        """Share of the sampled rows that was recomputed; 0 without any."""
        return self.compared / self.sampled if self.sampled else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityRun:
    """One recorded comparison of an interval. It never changes; other data or another plan make the next revision of the interval.

    Attributes:
        endpoint: The endpoint.
        start: First instant (event time, inclusive), UTC microseconds.
        end: First instant after the interval.
        revision: 1 for the first run over the interval, then counting up.
        daily: Whether it covers closed days of the plan's zone: only such runs open or resolve alerts and decide gates.
        state: The verdict; `reason` says why in one sentence with numbers.
        version: The model version that answered most of the requests; empty without any.
        feature_set: Id of the feature set version that was recomputed.
        dataset_versions: Dataset name to the version read.
        counts: What became of the requests.
        features: One for each feature that is served and computed offline.
        not_computed: Features of the endpoint that the set does not compute.
        not_served: Features of the set that the endpoint does not take.
        plan: The plan it was judged by.
        inputs: Digest of everything that decides the outcome.
        watermark: The endpoint's watermark when the run began.
        finished_at: By the server's clock.
        created_by: Who ran it.
    """

    endpoint: str
    start: int
    end: int
    revision: int
    daily: bool
    state: State
    reason: str
    version: str
    feature_set: str
    dataset_versions: Mapping[str, str]
    counts: RequestCounts
    features: tuple[FeatureParity, ...]
    not_computed: tuple[str, ...]
    not_served: tuple[str, ...]
    plan: Mapping[str, Any]
    inputs: str
    watermark: int
    finished_at: int
    created_by: str

    @property
    def id(self) -> str:
        """`<endpoint>/parity@<start>/<end>#<revision>`."""
        return f"{self.endpoint}/parity@{iso(self.start)}/{iso(self.end)}#{self.revision}"

    @property
    def worst(self) -> FeatureParity | None:
        """The feature that is nearest to an alert, or furthest beyond it; None when none was judged."""
        judged = [one for one in self.features if one.state is not State.NOT_ENOUGH_DATA]
        return max(judged, key=severity, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, times as RFC 3339."""
        times = {name: iso(getattr(self, name)) for name in ("start", "end", "watermark", "finished_at")}
        return {"id": self.id, **asdict(self), **times}


def severity(feature: FeatureParity) -> float:
    """Return the deciding share over its limit; 1 is just at the limit. A limit of 0 counts any difference as more than 1."""
    return feature.share / feature.limit if feature.limit else (1.0 + feature.share if feature.share else 0.0)
