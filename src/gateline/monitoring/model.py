"""What monitoring speaks of: plans, references, windows, verdicts and alerts. Values only; nothing here decides."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from gateline.kernel.clock import iso

PREDICTION = "prediction"
FEATURE_PREFIX = "feature."


class State(StrEnum):
    """What a check of one window says.

    `info` is a difference that the plan declares expected (a season), and so never an alarm.
    """

    OK = "ok"
    INFO = "info"
    WARN = "warn"
    ALERT = "alert"
    NOT_ENOUGH_DATA = "not_enough_data"


class Analysis(StrEnum):
    """What was analysed; also the kind of alert it may open. Windows are closed for the first two, parity has runs of its own."""

    DRIFT = "drift"
    PERFORMANCE = "performance"
    FEATURE_PARITY = "feature_parity"


class AlertState(StrEnum):
    """The life of an alert."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Unit(StrEnum):
    """The dependence unit of labelled rows: intervals resample whole units, never the rows inside one."""

    DAY = "day"
    HOUR = "hour"
    ROW = "row"


FeatureKind: TypeAlias = Literal["numeric", "categorical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePlan:
    """What is special about one watched feature.

    Attributes:
        name: Its name in the endpoint's requests and in the reference frame.
        kind: How it is counted; None takes the endpoint's declaration.
        seasonal: Its distribution is expected to differ from the reference by season: drift is shown as `info` and never alarms.
    """

    name: str
    kind: FeatureKind | None = None
    seasonal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftPolicy:
    """Policy G: when a distance is large, surprising and lasting enough to be an alarm.

    Defaults come from 1,200 simulated windows without drift, none of which raised an alert (docs/explanation/alarms.md).

    Attributes:
        magnitude_min: Smallest KS or total variation distance worth a look, however certain (0 to 1).
        magnitude_max: A distance of at least this is a change, however much the reference's own windows differ from each other; without
            it a reference that spans a change of season would never see the next one.
        alpha: Chance of exceeding the calibrated threshold, shared by all features.
        inflation: Factor on the spread of the reference windows, since few windows show too little of it.
        discovery_rate: Benjamini-Hochberg level over the features of one window.
        fires_min: In how many of the last `fires_within` windows a feature must fire for an alert; the first is a warning.
        fires_within: Number of windows looked back on, this one included.
        rows_min: Fewer predictions than this in a window is not enough data.
        reference_windows_min: Fewer reference windows than this give no calibrated threshold.
    """

    magnitude_min: float = 0.05
    magnitude_max: float = 0.8
    alpha: float = 0.01
    inflation: float = 1.15
    discovery_rate: float = 0.01
    fires_min: int = 2
    fires_within: int = 3
    rows_min: int = 200
    reference_windows_min: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformancePolicy:
    """When late labels show that quality broke.

    An alert needs the whole interval on the wrong side, so noise of few days is a warning at most.

    Attributes:
        labels_min: Labelled rows of a group needed for a verdict.
        units_min: Dependence units with labels needed for a verdict.
        coverage_min: Share of a group's predictions that needs a label, 0 to 1.
        calibration_tolerance: Largest allowed absolute mean of prediction minus label.
        loss_margin: How much worse than the constant baseline (the reference's base rate) the log loss may be.
        auc_min: Smallest allowed AUC; None shows AUC and never alarms on it.
        error_ratio_max: Regression: largest allowed mean absolute error, as a multiple of the reference's.
        level: Coverage of the intervals.
    """

    labels_min: int = 200
    units_min: int = 5
    coverage_min: float = 0.5
    calibration_tolerance: float = 0.05
    loss_margin: float = 0.0
    auc_min: float | None = None
    error_ratio_max: float = 1.5
    level: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorPlan:
    """What is watched on one endpoint, in which windows, and what counts as alarming.

    Attributes:
        window_seconds: Length of a window of event time.
        label_allowance_seconds: How long after a window's end labels still count for it.
        lateness_seconds: How far the watermark must pass a window's end before its predictions are taken as complete.
        unit: The dependence unit of labelled rows.
        timezone: IANA zone in which days begin.
        features: What is special about some; every feature of the endpoint is watched, named here or not.
        drift: The policy on distributions.
        performance: The policy on labels.
        resolve_after_ok: This many `ok` windows in a row resolve an alert.
    """

    window_seconds: int = 7 * 86_400
    label_allowance_seconds: int = 48 * 3_600
    lateness_seconds: int = 3_600
    unit: Unit = Unit.DAY
    timezone: str = "UTC"
    features: tuple[FeaturePlan, ...] = ()
    drift: DriftPolicy = field(default_factory=DriftPolicy)
    performance: PerformancePolicy = field(default_factory=PerformancePolicy)
    resolve_after_ok: int = 2

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `monitoring.plan_from_dict` gives the equal plan."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSource:
    """Where a reference comes from: files of the object store.

    Attributes:
        frame: SHA-256 of the Parquet training frame; columns are features.
        scores: SHA-256 of a Parquet file with the model's predictions on rows it was not trained on; may be None.
        version: The model version whose predictions these are, such as `flight-delay@1`; empty when unknown.
        time: Column of event time in both files (integer microseconds or a timestamp); without it nothing can be calibrated.
        prediction: Column of the predictions.
        label: Column of the labels in `scores`.
    """

    frame: str
    scores: str | None = None
    version: str = ""
    time: str = "t"
    prediction: str = "prediction"
    label: str = "label"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A recorded reference of an endpoint.

    Attributes:
        id: `<endpoint>/reference@<revision>`.
        profile: SHA-256 of the stored profiles that verdicts are computed from.
        summary: Rows, features with their kinds, number of calibration windows, performance of the reference.
    """

    id: str
    endpoint: str
    revision: int
    source: ReferenceSource
    profile: str
    summary: dict[str, Any]
    created_at: int
    created_by: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {**asdict(self), "created_at": iso(self.created_at)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDrift:
    """The verdict on one feature, or on the prediction, in one window.

    Attributes:
        score: KS D (numeric) or total variation (categorical), or the change of the null share where that is larger; 0 to 1.
        score_name: Which of the three `score` is.
        threshold: What `score` had to reach; None when nothing could be judged.
        threshold_source: `smallest magnitude`, `largest magnitude`, `calibrated` or `noise floor`: which part of the policy set it.
        p_value: Of the score's test, under independent rows.
        discovered: Whether Benjamini-Hochberg keeps it among the features of this window.
        fired: Whether policy G's three conditions of one window hold.
        distances: Every distance with value, noise floor and definition.
        rows: Predictions looked at; `nulls` of them without a value.
        reason: One sentence that quotes the numbers.
    """

    name: str
    kind: FeatureKind
    state: State
    fired: bool
    score: float | None
    score_name: str
    threshold: float | None
    threshold_source: str
    p_value: float | None
    discovered: bool
    distances: tuple[dict[str, Any], ...]
    rows: int
    nulls: int
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number on late labels, with the interval over dependence units and what it was held against.

    Attributes:
        name: `log_loss`, `log_loss_over_baseline`, `brier`, `calibration_gap`, `auc`, `mean_absolute_error` or `bias`.
        sense: `<=` smaller is better, `>=` larger is better, `=` nearest to zero is best.
        threshold: The floor; None when the metric is only shown.
        reference: The value on the reference, where known.
    """

    name: str
    value: float | None
    lower: float | None
    upper: float | None
    sense: Literal["<=", ">=", "="]
    threshold: float | None
    reference: float | None
    state: State
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Performance of one version in one arm.

    Attributes:
        predictions: Predictions it made; `labels` of them have a label in time.
        units: Dependence units with labels.
        excluded: Labelled rows without a usable prediction (an error, or not a number).
        lag_seconds: Quantiles of label time minus prediction time: p05, p50, p95, max.
        missing: Labels still needed for a verdict; 0 when there are enough.
    """

    version: str
    arm: str
    shadow: bool
    main: bool
    predictions: int
    labels: int
    coverage: float
    units: int
    excluded: int
    lag_seconds: dict[str, float]
    metrics: tuple[Metric, ...]
    missing: int
    state: State
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One closed window of one analysis. It never changes; what arrives later is counted in a following window's note.

    Attributes:
        endpoint: The endpoint.
        analysis: Drift, or performance.
        start: First instant of the window (event time, inclusive).
        end: First instant after it.
        version: The version that answered most requests; empty without traffic.
        rows: Predictions of serving arms (drift) or labelled requests (performance).
        state: The verdict; `reason` says why in one sentence with numbers.
        note: What arrived late, or how long there was silence; empty when there is nothing to say.
        watermark: The watermark at closing.
        reference: Id of the reference; None without one.
        result: Features (drift) or groups (performance), as JSON.
        closed_at: When it was closed, by the server's clock.
    """

    endpoint: str
    analysis: Analysis
    start: int
    end: int
    version: str
    rows: int
    state: State
    reason: str
    note: str
    watermark: int
    reference: str | None
    result: dict[str, Any]
    closed_at: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, times as RFC 3339."""
        times = {name: iso(getattr(self, name)) for name in ("start", "end", "watermark", "closed_at")}
        return {**asdict(self), **times}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something a person or a pipeline should look at: all windows of one endpoint, kind and version until it is resolved.

    Attributes:
        id: `alert_…`.
        windows: How many windows it has absorbed, the first included.
        names: The features or metrics at fault in the newest window.
        severity: Score over threshold of the worst of them; 1 is just alarming.
        reason: The newest window's sentence.
        comment: What the person who acknowledged or resolved it said, or why it resolved by itself.
    """

    id: str
    endpoint: str
    kind: Analysis
    version: str
    state: AlertState
    first_window_start: int
    last_window_start: int
    last_window_end: int
    windows: int
    names: tuple[str, ...]
    severity: float
    reason: str
    opened_at: int
    acknowledged_at: int | None = None
    acknowledged_by: str = ""
    resolved_at: int | None = None
    resolved_by: str = ""
    comment: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, times as RFC 3339."""
        instants = ("first_window_start", "last_window_start", "last_window_end", "opened_at", "acknowledged_at", "resolved_at")
        times = {name: None if (at := getattr(self, name)) is None else iso(at) for name in instants}
        return {**asdict(self), **times}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One label as it came: what it belongs to, its value, and when it became known.

    Attributes:
        key: `r:<request id>` or `p:<prediction id>`.
        label: 0, 1, or a number.
        event_time: When the label became known, in microseconds.
    """

    key: str
    label: float
    event_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReceipt:
    """What became of a batch of labels.

    Attributes:
        batch: Id of the batch; None when nothing changed.
        rows: Rows in the batch.
        recorded: Labels that are new.
        corrected: Labels that replaced an older one; the older one is kept as history.
        unchanged: Rows that said what was known, duplicates within the batch included.
        stale: Rows older than the label on record: not taken.
        contradictory: Rows with the time of the label on record and another value: not taken.
        pending: Accepted rows whose prediction has not been seen yet; they count as soon as it is.
        pending_examples: Up to five of their ids.
    """

    batch: int | None
    rows: int
    recorded: int
    corrected: int
    unchanged: int
    stale: int
    contradictory: int
    pending: int
    pending_examples: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)
