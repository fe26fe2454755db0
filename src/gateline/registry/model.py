"""Model versions, the states they pass through, approvals, and the history of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, NewType

from gateline.gates import ModelSubject
from gateline.kernel.clock import Instant

ModelVersionId = NewType("ModelVersionId", str)

APPROVAL_PREDICATE = "urn:gateline:approval:1"
_STATEMENT_SCHEMA = "https://in-toto.io/Statement/v1"


class State(StrEnum):
    """Where a model version stands. `rules.TRANSITIONS` says what follows what."""

    DEVELOPMENT = "development"
    CANDIDATE = "candidate"
    STAGING = "staging"
    PRODUCTION = "production"
    RETIRED = "retired"
    REJECTED = "rejected"


class Meaning(StrEnum):
    """What a signature means (21 CFR 11.50(a)(3)). Only `approval` authorises a release."""

    REVIEW = "review"
    APPROVAL = "approval"
    RESPONSIBILITY = "responsibility"
    AUTHORSHIP = "authorship"


class HistoryKind(StrEnum):
    """What happened to a version."""

    REGISTERED = "registered"
    STATE_CHANGED = "state_changed"
    PLACED = "placed"
    REMOVED = "removed"
    APPROVED = "approved"
    APPROVAL_REFUSED = "approval_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One immutable version of a model; only its state changes.

    Attributes:
        id: Name and number, such as `flight-delay@3`.
        digest: Identity of the served form: the digest of `files`.
        files: Manifest of the served form, {path: sha256}.
        state: Where it stands.
        run_id: The tracked run that trained it.
        run_digest: Digest of that run's snapshot.
        gate_run_id: The gate run that judged it; empty when none did.
        gates_passed: Whether that gate run passed on this very form, run and training frame.
        gates_reason: Why not, when it did not.
        feature_set: Id of the feature set version.
        feature_set_digest: Its digest.
        dataset_versions: Dataset version id to its digest.
        training_frame: SHA-256 of the rows it was trained on.
        metrics: Metric name to value.
        owner: Who answers for it.
        trained_from: Begin of the training period in UTC microseconds.
        trained_until: End of the training period in UTC microseconds (exclusive).
        description: Words for people.
        created_at: UTC microseconds.
        created_by: The author: the principal that registered it.
    """

    id: ModelVersionId
    name: str
    version: int
    digest: str
    files: Mapping[str, str]
    state: State
    run_id: str
    run_digest: str
    gate_run_id: str
    gates_passed: bool
    gates_reason: str
    feature_set: str
    feature_set_digest: str
    dataset_versions: Mapping[str, str]
    training_frame: str
    metrics: Mapping[str, float]
    owner: str
    trained_from: Instant
    trained_until: Instant
    description: str
    created_at: Instant
    created_by: str

    @property
    def form(self) -> Mapping[str, str]:
        """The manifest of the served form, as routes carry it."""
        return self.files

    def subject(self) -> ModelSubject:
        """Return the version as a gate judges it, or compares with it."""
        return ModelSubject(
            run_id=self.run_id, files=self.files, training_frame=self.training_frame, trained_until=self.trained_until, version=self.id
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "files": dict(self.files), "state": self.state.value, "dataset_versions": dict(self.dataset_versions),
            "metrics": dict(self.metrics),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ModelVersion:
        """Return the version that `as_dict` wrote; other keys are ignored."""
        known: dict[str, Any] = {one.name: document[one.name] for one in fields(cls)}
        known |= {"id": ModelVersionId(known["id"]), "state": State(known["state"])}
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An electronic signature under one model version.

    Attributes:
        id: Record id.
        model_version: Id of the version.
        principal: The person that signed.
        roles: The roles it held when signing.
        meaning: What the signature means.
        comment: Why.
        signed_at: UTC microseconds.
        subjects: The digests it is bound to: model files, run, gate run, policy, feature set, datasets, training frame.
        envelope: DSSE envelope over an in-toto statement of the above.
    """

    id: str
    model_version: ModelVersionId
    principal: str
    roles: tuple[str, ...]
    meaning: Meaning
    comment: str
    signed_at: Instant
    subjects: Mapping[str, Any]
    envelope: dict[str, Any] = field(default_factory=dict)

    @property
    def authorises_release(self) -> bool:
        """Whether a release may rest on it."""
        return self.meaning is Meaning.APPROVAL

    def content(self) -> dict[str, Any]:
        """Return all fields but the signature."""
        return {
            "id": self.id, "model_version": self.model_version, "principal": self.principal, "roles": list(self.roles),
            "meaning": self.meaning.value, "comment": self.comment, "signed_at": self.signed_at, "subjects": dict(self.subjects),
        }  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, signature included."""
        return {**self.content(), "envelope": self.envelope}

    def statement(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Return the in-toto statement (v1) that is signed: its subjects are the model's files."""
        return {
            "_type": _STATEMENT_SCHEMA,
            "subject": [{"name": path, "digest": {"sha256": sha256}} for path, sha256 in sorted(files.items())],
            "predicateType": APPROVAL_PREDICATE,
            "predicate": self.content(),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Approval:
        """Return the approval that `as_dict` wrote."""
        known: dict[str, Any] = {one.name: document[one.name] for one in fields(cls)}
        known |= {"roles": tuple(known["roles"]), "meaning": Meaning(known["meaning"])}
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One thing that happened to a version: who, when, what and why.

    Attributes:
        model_version: Id of the version.
        kind: What happened.
        at: UTC microseconds.
        actor: Who caused it.
        from_state: State before; empty at registration.
        to_state: State after.
        environment: The environment concerned, if any.
        reason: Why, in words.
    """

    model_version: ModelVersionId
    kind: HistoryKind
    at: Instant
    actor: str
    from_state: str
    to_state: str
    environment: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {one.name: str(value) if isinstance(value := getattr(self, one.name), StrEnum) else value for one in fields(self)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> HistoryEntry:
        """Return the entry that `as_dict` wrote."""
        known: dict[str, Any] = {one.name: document[one.name] for one in fields(cls)}
        known |= {"kind": HistoryKind(known["kind"])}
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A named model.

    Attributes:
        name: Its name.
        versions: Number of versions registered.
        environments: Environment to the version placed there.
    """

    name: str
    versions: int
    environments: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"name": self.name, "versions": self.versions, "environments": dict(self.environments)}
