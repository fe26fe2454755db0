"""What serving speaks of: endpoints, features, arms, routes, segments and predictions. Plain values, no heavy imports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NewType

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

PredictionId = NewType("PredictionId", str)

CHAMPION = "champion"
"""The name of the arm whose model is in production."""
SERVING_DOCUMENT = "serving.json"
MODEL_FILE = "model.txt"


class Environment(StrEnum):
    """Where an endpoint stands."""

    DEV = "dev"
    STAGING = "staging"
    PROD = "prod"


class FeatureKind(StrEnum):
    """What a feature's values are: numbers, or names out of a list."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


class EventTimeSource(StrEnum):
    """Who says when a prediction's event happened."""

    SERVER = "server"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """One feature that callers of an endpoint send."""

    name: str
    kind: FeatureKind

    def as_dict(self) -> dict[str, str]:
        """Return the fields for JSON."""
        return {"name": self.name, "kind": self.kind.value}


class FormInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model column and the request feature that feeds it.

    Attributes:
        column: The model's name of the column.
        feature: The request feature whose value goes there.
        kind: numeric or categorical.
        categories: For a categorical column, the names in the order of their codes; a name not listed counts as missing.
        scale: For a numeric column, the factor applied to the feature.
        offset: For a numeric column, what is added after scaling.
    """

    column: str
    feature: str
    kind: FeatureKind
    categories: tuple[str, ...] = ()
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address that answers predictions of one model, in one environment, and what it promises.

    Attributes:
        name: Its name, which is also its path.
        model: Name of the registered model whose versions it serves.
        environment: dev, staging or prod.
        features: What callers send, in the order in which the log keeps values.
        latency_ms_p99: The declared 99th percentile of answer time in milliseconds.
        generation: Number of the newest published route; 0 before the first.
        created_at: UTC microseconds.
        created_by: Name of the principal.
    """

    name: str
    model: str
    environment: Environment
    features: tuple[FeatureSpec, ...]
    latency_ms_p99: float
    generation: int
    created_at: int
    created_by: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "name": self.name,
            "model": self.model,
            "environment": self.environment.value,
            "features": [one.as_dict() for one in self.features],
            "latency_ms_p99": self.latency_ms_p99,
            "generation": self.generation,
            "created_at": self.created_at,
            "created_by": self.created_by,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteArm:
    """One model version of a route.

    Attributes:
        name: `champion`, `canary`, or the name of a shadow.
        version: Id of the model version.
        weight: Share of traffic, 0 to 1; of no meaning for a shadow.
        form: The served form: `{"serving.json": sha256, "model.txt": sha256}`, the bytes lying in the object store.
    """

    name: str
    version: str
    weight: float
    form: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"name": self.name, "version": self.version, "weight": self.weight, "form": dict(self.form)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An immutable routing of one endpoint: which version answers which share of entities, and who scores along unseen.

    Attributes:
        endpoint: The endpoint's name.
        generation: 1 for the first route of an endpoint, then counting up.
        salt: Key of the sticky hash; the same salt keeps every entity's place when weights change.
        arms: Exactly one is named `champion`; weights sum to 1.
        shadow: Arms that score every champion row without answering it.
        published_at: UTC microseconds.
        published_by: Name of the principal.
        reason: One sentence.
    """

    endpoint: str
    generation: int
    salt: str
    arms: tuple[RouteArm, ...]
    shadow: tuple[RouteArm, ...]
    published_at: int
    published_by: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "endpoint": self.endpoint,
            "generation": self.generation,
            "salt": self.salt,
            "arms": [arm.as_dict() for arm in self.arms],
            "shadow": [arm.as_dict() for arm in self.shadow],
            "published_at": self.published_at,
            "published_by": self.published_by,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSegment:
    """A closed Parquet file of predictions, read from worker logs exactly once.

    Attributes:
        id: Grows with every segment of the installation; readers remember the last one they saw.
        endpoint: The endpoint's name.
        path: Where the file is, relative to the serving folder.
        sha256: Digest of the file.
        size_bytes: Its size.
        record_count: Rows, shadow rows included.
        min_event_time: Smallest event time in it, UTC microseconds.
        max_event_time: Largest event time in it.
        min_prediction_id: Smallest prediction id in it.
        max_prediction_id: Largest prediction id in it.
        sources: Which bytes of which worker files it holds: `[{"file", "start", "end"}]`.
        created_at: UTC microseconds.
    """

    id: int
    endpoint: str
    path: str
    sha256: str
    size_bytes: int
    record_count: int
    min_event_time: int
    max_event_time: int
    min_prediction_id: str
    max_prediction_id: str
    sources: tuple[dict[str, Any], ...]
    created_at: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {**asdict(self), "sources": list(self.sources)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One logged prediction; the columns are those of `Serving.predictions`."""

    prediction_id: PredictionId
    endpoint: str
    segment: int
    request_id: str
    event_time: int
    event_time_source: EventTimeSource
    received_at: int
    entity: str
    version: str
    generation: int
    arm: str
    weight: float
    shadow: bool
    latency_us: float
    prediction: float | None
    error: str
    features: Mapping[str, float | str | None] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {**asdict(self), "event_time_source": self.event_time_source.value, "features": dict(self.features)}
