"""Releases, rollouts, their plan, and what an analysis found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from gateline.kernel.errors import InvalidInput


class RolloutState(StrEnum):
    """Where a rollout stands.

    A canary takes a growing share of requests. After promotion the predecessor keeps scoring in the shadow (probation) until labels
    confirm the choice or take it back.
    """

    CANARY = "canary"
    PAUSED = "paused"
    PROBATION = "probation"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"


class Family(StrEnum):
    """A family of bad events that is compared between the arms."""

    ERRORS = "errors"
    LATENCY = "latency"
    PREDICTIONS = "predictions"
    INPUTS = "inputs"
    LABELS = "labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """How carefully a version is let in.

    Attributes:
        steps: Growing shares of requests for the canary, each in (0, 1).
        step_requests_min: Canary requests a step needs before the next.
        step_requests_max: Canary requests after which a step without a clear answer pauses for a human.
        step_labels_min: Labelled canary requests a step needs before the next.
        alpha: Largest chance that a harmless version is ever rolled back by the comparison of its arms; split over the families.
        ratio: For each family, how many times more often the canary may be bad.
        latency_floor_ms: Scoring times below this are never bad, in milliseconds.
        probation_days: Event days during which the predecessor scores in the shadow after promotion; 0 for none.
        probation_days_min: Labelled days before the first look at the paired comparison; then every 7 days.
        probation_alpha: Largest chance, over all looks, that an equal version is taken back in probation.
    """

    steps: tuple[float, ...] = (0.1, 0.25, 0.5)
    step_requests_min: int = 150
    step_requests_max: int = 20_000
    step_labels_min: int = 100
    alpha: float = 0.01
    ratio: dict[str, float]
    latency_floor_ms: float = 0.25
    probation_days: int = 28
    probation_days_min: int = 14
    probation_alpha: float = 0.05

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> RolloutPlan:
        """Return a plan; missing fields take their defaults.

        Raises:
            InvalidInput: naming every field that is unknown or out of range.
        """
        known = set(cls.__dataclass_fields__)
        mistakes = [f"'{name}' is no field of a plan" for name in sorted(set(fields) - known)]
        ratio = DEFAULT_RATIO | dict(fields.get("ratio", {}))
        mistakes += [f"ratio names no family '{name}'" for name in sorted(set(ratio) - set(Family))]
        values = {name: value for name, value in fields.items() if name in known}
        plan = cls(**(values | {"ratio": ratio, "steps": tuple(fields.get("steps", cls.__dataclass_fields__["steps"].default))}))
        mistakes += plan._mistakes()
        if mistakes:
            raise InvalidInput(
                f"The rollout plan is wrong: {'; '.join(mistakes)}.", next_step=f"Its fields are: {', '.join(sorted(known))}."
            )
        return plan

    def _mistakes(self) -> list[str]:
        rising = all(earlier < later for earlier, later in zip(self.steps, self.steps[1:], strict=False))
        checks = [
            (bool(self.steps) and rising and all(0 < share < 1 for share in self.steps), "steps must rise and lie between 0 and 1"),
            (0 < self.alpha < 1, "alpha must lie between 0 and 1"),
            (0 < self.probation_alpha < 1, "probation_alpha must lie between 0 and 1"),
            (0 < self.step_requests_min <= self.step_requests_max, "step_requests_min must lie in 1 to step_requests_max"),
            (self.step_labels_min >= 0, "step_labels_min must not be negative"),
            (all(value >= 1 for value in self.ratio.values()), "ratios must be at least 1"),
            (self.latency_floor_ms >= 0, "latency_floor_ms must not be negative"),
            (
                self.probation_days >= 0 and self.probation_days_min >= 1,
                "probation_days must not be negative, probation_days_min at least 1",
            ),
        ]
        return [words for holds, words in checks if not holds]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


DEFAULT_RATIO: dict[str, float] = {
    Family.ERRORS: 1.2,
    Family.LATENCY: 2.0,
    Family.PREDICTIONS: 3.0,
    Family.INPUTS: 1.2,
    Family.LABELS: 1.25,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What counts as bad, frozen from the champion's requests before the canary started.

    Attributes:
        requests: Champion requests it was taken from.
        latency_ms: Scoring time above which a request is slow, in milliseconds.
        prediction_low: 10 % quantile of the champion's predictions.
        prediction_high: 90 % quantile.
        surprise: 90 % quantile of the champion's log loss on labelled requests, in nats; None without labels.
        inputs: For each numeric feature its (10 %, 90 %) quantiles, as used by the champion.
    """

    requests: int
    latency_ms: float
    prediction_low: float
    prediction_high: float
    surprise: float | None
    inputs: dict[str, tuple[float, float]]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self) | {"inputs": {name: list(ends) for name, ends in self.inputs.items()}}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Baseline:
        """Return the value of `as_dict`."""
        return cls(**(fields | {"inputs": {name: (low, high) for name, (low, high) in fields["inputs"].items()}}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The evidence of one family against the canary.

    Attributes:
        log_e: Natural log of the e-value; larger is worse for the canary.
        what: The event that speaks loudest.
        canary_bad: Such events of the canary, of `canary_total` requests that could show them.
        baseline_bad: Such events of the champion, of `baseline_total`.
    """

    family: Family
    log_e: float
    what: str
    canary_bad: int
    canary_total: int
    baseline_bad: int
    baseline_total: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What the requests of a canary show so far.

    Attributes:
        canary_requests: Requests the canary answered, in all steps.
        baseline_requests: Requests the champion answered.
        step_requests: Canary requests of the present step.
        step_labels: Those of them that have a label.
        error_share: Share of the canary's requests that failed.
        sample_ratio_p: Two-sided p-value that requests were split as intended.
        event_seconds: Event time from the first to the last request, in seconds.
        evidence: One for each family.
    """

    canary_requests: int
    baseline_requests: int
    step_requests: int
    step_labels: int
    error_share: float
    sample_ratio_p: float
    event_seconds: float
    evidence: tuple[Evidence, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A promoted version against its predecessor on the same labelled requests.

    Attributes:
        days: Labelled event days.
        requests: Labelled requests scored by both.
        difference: Mean log loss of the new version minus the predecessor's, in nats; above 0 the predecessor is better.
        lower: Lower end of its interval, by resampling whole days.
        upper: Upper end.
        level: Coverage of the interval.
        looks: How many looks the plan allows in all.
        coverage: Share of the probation's requests that have a label.
    """

    days: int
    requests: int
    difference: float
    lower: float
    upper: float
    level: float
    looks: int
    coverage: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, with open ends as None."""
        bounded = {"lower": self.lower if self.lower > float("-inf") else None, "upper": self.upper if self.upper < float("inf") else None}
        return asdict(self) | bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An approved version on its way to an endpoint."""

    id: str
    model_version: str
    endpoint: str
    approval_id: str
    created_at: int
    created_by: str
    rollout_id: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How a release is carried out.

    Attributes:
        champion: The version in production when it started; empty for a first release.
        canary_skipped_reason: Why there was no canary; empty when there was one.
        step: Index into the plan's steps.
        first_generation: Route generation that began the canary; its requests carry it or a later one.
        step_generation: Route generation of the present step.
        started_event_time: The endpoint's newest event time when it started, in UTC microseconds.
        reason: Why it is in its state, in words with numbers.
        decided_after: Requests, event seconds and wall seconds until the last decision.
    """

    id: str
    release_id: str
    endpoint: str
    model: str
    candidate: str
    champion: str
    state: RolloutState
    plan: RolloutPlan
    canary_skipped_reason: str
    step: int
    first_generation: int
    step_generation: int
    started_at: int
    started_event_time: int
    promoted_event_time: int
    ended_at: int
    looks_done: int
    reason: str
    baseline: Baseline | None
    analysis: dict[str, Any]
    comparison: dict[str, Any]
    decided_after: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        baseline = None if self.baseline is None else self.baseline.as_dict()
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return own | {"plan": self.plan.as_dict(), "baseline": baseline}
