"""The lifecycle of a model version, and what a registration, an approval and a promotion need. Pure decisions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from gateline.gates import GateRun, ModelSubject
from gateline.kernel.errors import Conflict
from gateline.registry.model import Approval, State

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.DEVELOPMENT: frozenset({State.CANDIDATE, State.REJECTED}),
    State.CANDIDATE: frozenset({State.STAGING, State.PRODUCTION, State.REJECTED}),
    State.STAGING: frozenset({State.CANDIDATE, State.PRODUCTION, State.REJECTED}),
    State.PRODUCTION: frozenset({State.RETIRED}),
    State.RETIRED: frozenset({State.PRODUCTION, State.REJECTED}),
    State.REJECTED: frozenset(),
}
"""What may follow what. Retired may return to production: that is a rollback to the predecessor."""

PRODUCTION_ENVIRONMENT = "prod"
PRE_PRODUCTION_ENVIRONMENTS = frozenset({"dev", "staging"})
"""Where nobody is served for real; a version placed in any other environment is in production."""

_PLACED = frozenset({State.STAGING, State.PRODUCTION})


def require_transition(version: str, current: State, target: State) -> None:
    """Check that a version may change its state.

    Raises:
        Conflict: it may not; the message names both states and what is possible.
    """
    if target in TRANSITIONS[current]:
        return
    possible = ", ".join(sorted(TRANSITIONS[current])) or "nothing: this state is final"
    raise Conflict(
        f"{version} is {current} and cannot become {target}.",
        next_step=f"From {current} it can become: {possible}.",
        facts={"from": current.value, "to": target.value, "possible": sorted(TRANSITIONS[current])},
    )


def state_in(environment: str) -> State:
    """Return the state of a version that is placed in an environment.

    >>> state_in("staging"), state_in("prod")
    (<State.STAGING: 'staging'>, <State.PRODUCTION: 'production'>)
    """
    return State.STAGING if environment in PRE_PRODUCTION_ENVIRONMENTS else State.PRODUCTION


def state_after_leaving(environment: str, others: Iterable[str]) -> State:
    """Return the state of a version that leaves an environment and stays in `others`.

    Out of production it is retired; out of staging alone it is a candidate again.
    """
    remaining = {state_in(other) for other in others}
    if State.PRODUCTION in remaining:
        return State.PRODUCTION
    if state_in(environment) is State.PRODUCTION:
        return State.RETIRED
    return State.STAGING if remaining else State.CANDIDATE


def metric_mistakes(metrics: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the metrics of a registration.

    >>> metric_mistakes({"auc": float("nan")})
    ["the metric 'auc' is no finite number"]
    """
    if not metrics:
        return ["no metrics"]
    wrong = [
        name
        for name, value in metrics.items()
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)
    ]
    return [f"the metric '{name}' is no finite number" for name in wrong]


def gate_shortfall(run: GateRun | None, subject: ModelSubject) -> str:
    """Return why a gate run does not open the gate for this model; empty when it does.

    The run must have passed, on these very files, from this run and these training rows.
    """
    if run is None:
        return "no gate run was given"
    differs = [
        what
        for what, judged, ours in (
            ("files", run.subject_digest, subject.digest),
            ("run", run.subject.run_id, subject.run_id),
            ("training frame", run.subject.training_frame, subject.training_frame),
            ("end of the training period", run.subject.trained_until, subject.trained_until),
        )
        if judged != ours
    ]
    if differs:
        return f"the gate run {run.id} judged another model: its {', '.join(differs)} differ"
    return "" if run.passed else f"the gate run {run.id} ended with {run.verdict}"


def releasing_approval(approvals: Iterable[Approval], digest: str) -> Approval | None:
    """Return the newest approval that authorises a release of the files with this digest, or None."""
    fit = [one for one in approvals if one.authorises_release and one.subjects.get("model_files") == digest]
    return max(fit, key=lambda one: one.signed_at, default=None)


def require_promotable(version: str, state: State, *, gates_passed: bool, approved: bool, environment: str) -> None:
    """Check that a version may be placed in an environment: gates passed, approved, and a state that allows it.

    Raises:
        Conflict: naming all that is missing, or the state.
    """
    missing = ([] if gates_passed else ["passed gates"]) + ([] if approved else ["approval"])
    if missing:
        raise Conflict(
            f"{version} cannot be placed in {environment}: it has no {' and no '.join(missing)}.",
            next_step="Have it judged and approved first.",
            facts={"missing": missing},
        )
    target = state_in(environment)
    if state is not target and not (state is State.PRODUCTION and target is State.STAGING):
        require_transition(version, state, target)


def is_placed(state: State) -> bool:
    """Whether a version in this state serves somewhere, so that it cannot be turned down before it leaves."""
    return state in _PLACED
