"""Checks on a candidate, the policy they are judged by, and the signed verdict they add up to."""

from typing import TYPE_CHECKING, Any

from gateline.gates.forms import manifest_mistakes
from gateline.gates.model import (
    GATE_RUN_PREDICATE,
    STATEMENT_TYPE,
    CheckResult,
    GateRun,
    ModelSubject,
    PolicyRecord,
    Sense,
    Verdict,
    files_digest,
)
from gateline.gates.policy import (
    ChampionPolicy,
    HoldoutPolicy,
    LatencyPolicy,
    ParityPolicy,
    Policy,
    SchemaPolicy,
    SlicesPolicy,
    parse_policy,
    parse_policy_toml,
)
from gateline.gates.report import table

if TYPE_CHECKING:
    from gateline.gates.inputs import Check, GateInputs
    from gateline.gates.service import Gates

__all__ = [
    "GATE_RUN_PREDICATE", "STATEMENT_TYPE", "ChampionPolicy", "Check", "CheckResult", "GateInputs", "GateRun", "Gates", "HoldoutPolicy",
    "LatencyPolicy", "ModelSubject", "ParityPolicy", "Policy", "PolicyRecord", "SchemaPolicy", "Sense", "SlicesPolicy", "Verdict",
    "files_digest", "manifest_mistakes", "parse_policy", "parse_policy_toml", "table",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load what needs NumPy, Polars and SQLAlchemy only when it is asked for."""
    if name == "Gates":
        from gateline.gates.service import Gates

        return Gates
    if name in {"GateInputs", "Check"}:
        from gateline.gates import inputs

        return getattr(inputs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
