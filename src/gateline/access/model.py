"""Principals, roles, permissions and decisions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateline.kernel.clock import iso

if TYPE_CHECKING:
    from gateline.kernel.clock import Instant


class PrincipalKind(StrEnum):
    """What stands behind a principal: a human being, or a program."""

    PERSON = "person"
    SERVICE = "service"


class Role(StrEnum):
    """A bundle of permissions; `policies.cedar` says which."""

    VIEWER = "viewer"
    DEVELOPER = "developer"
    VALIDATOR = "validator"
    OPERATOR = "operator"
    ADMIN = "admin"
    AUDITOR = "auditor"
    BUSINESS_OWNER = "business_owner"
    RUNNER = "runner"
    REPLAYER = "replayer"
    WORKER = "worker"


OWNER = "owner"
OWNER_ROLES = frozenset({Role.ADMIN, Role.DEVELOPER, Role.OPERATOR, Role.AUDITOR})
"""The person who installs Gateline may do everything on it but approve: that takes a second person."""

SERVICE_ROLES = frozenset({Role.RUNNER, Role.REPLAYER, Role.WORKER})
"""Roles made for programs; a person never holds one."""


class Permission(StrEnum):
    """One thing a caller may be allowed to do. Every route declares exactly one."""

    DATASET_READ = "dataset:read"
    DATASET_WRITE = "dataset:write"
    DATASET_FETCH = "dataset:fetch"
    DATASET_PIN = "dataset:pin"
    DATASET_VACUUM = "dataset:vacuum"
    CONTRACT_REVIEW = "contract:review"
    FEATURE_READ = "feature:read"
    FEATURE_WRITE = "feature:write"
    RUN_READ = "run:read"
    RUN_WRITE = "run:write"
    GATE_READ = "gate:read"
    GATE_RUN = "gate:run"
    MODEL_READ = "model:read"
    MODEL_REGISTER = "model:register"
    MODEL_APPROVE = "model:approve"
    MODEL_RELEASE = "model:release"
    ROLLOUT_READ = "rollout:read"
    ROLLOUT_CONTROL = "rollout:control"
    ENDPOINT_READ = "endpoint:read"
    ENDPOINT_WRITE = "endpoint:write"
    PREDICTION_REQUEST = "prediction:request"
    PREDICTION_REPLAY = "prediction:replay"
    PREDICTION_READ = "prediction:read"
    LABEL_WRITE = "label:write"
    MONITOR_READ = "monitor:read"
    MONITOR_WRITE = "monitor:write"
    PIPELINE_READ = "pipeline:read"
    PIPELINE_RUN = "pipeline:run"
    PIPELINE_APPROVE = "pipeline:approve"
    PIPELINE_WORK = "pipeline:work"
    LEDGER_READ = "ledger:read"
    ACCESS_ADMIN = "access:admin"
    MLFLOW_READ = "mlflow:read"
    MLFLOW_WRITE = "mlflow:write"
    SYSTEM_READ = "system:read"
    SYSTEM_ADMIN = "system:admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody, or some program, that Gateline knows by name."""

    name: str
    kind: PrincipalKind
    roles: frozenset[Role]

    def as_dict(self) -> dict[str, Any]:
        """Return the principal as JSON-able values, roles in alphabetical order."""
        return {"name": self.name, "kind": self.kind.value, "roles": sorted(self.roles)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer to "may this principal do this?".

    Attributes:
        allowed: Whether the policies allow it. An evaluation that failed is never allowed.
        reasons: Ids of the policies that decided, or of the failure (`no-permit`, `evaluation-error`).
        sentence: The decision in plain words, for people.
    """

    allowed: bool
    reasons: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of an API token. The secret itself is shown once and never stored."""

    id: str
    principal: str
    created_at: Instant
    created_by: str
    expires_at: Instant | None
    revoked_at: Instant | None

    def as_dict(self) -> dict[str, Any]:
        """Return the token's record as JSON-able values, times as RFC 3339 text."""
        return {
            "id": self.id,
            "principal": self.principal,
            "created_at": iso(self.created_at),
            "created_by": self.created_by,
            "expires_at": None if self.expires_at is None else iso(self.expires_at),
            "revoked_at": None if self.revoked_at is None else iso(self.revoked_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGrant:
    """What an inference worker needs to recognise a token without asking the control plane.

    Attributes:
        hash: Hex HMAC-SHA256 of the secret under the installation's token key (see `hash_token`).
        permissions: Those of `prediction:request` and `prediction:replay` that the principal has.
        expires_at: UTC microseconds after which the token is worthless; None when it does not expire.
    """

    hash: str
    principal: str
    permissions: frozenset[Permission]
    expires_at: Instant | None
