"""Reading and checking parity plans: every mistake is named at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateline.kernel.errors import GatelineError, InvalidInput
from gateline.kernel.names import split_version_id, valid_name
from gateline.monitoring.parity_model import ParityPlan
from gateline.monitoring.plans import WINDOW_SECONDS_MAX, is_zone, known_fields, range_mistakes

_SHARES = ("coverage_min", "warn_above", "mismatch_max", "missing_max", "extra_max")


def parity_plan_from_dict(stored: Mapping[str, Any]) -> ParityPlan:
    """Return the plan that `ParityPlan.as_dict` described; fields that are left out take their defaults.

    Raises:
        InvalidInput: names every field that is unknown, missing or out of range.
    """
    known = known_fields("parity", ParityPlan, stored)
    if "feature_set" not in known:
        raise InvalidInput("The parity plan names no feature_set.", next_step="Name the set that the endpoint's features come from.")
    return check_parity_plan(ParityPlan(**known))


def check_parity_plan(plan: ParityPlan) -> ParityPlan:
    """Return the plan when every field is in range.

    Raises:
        InvalidInput: names every field that is not.
    """
    if mistakes := list(_mistakes(plan)):
        raise InvalidInput(f"The parity plan is wrong: {'; '.join(mistakes)}.", next_step="Correct these fields.")
    return plan


def named_set(plan: ParityPlan) -> tuple[str, int | None]:
    """Return name and version of the plan's feature set; None for the newest version."""
    return split_version_id(plan.feature_set) if "@" in plan.feature_set else (plan.feature_set, None)


def _mistakes(plan: ParityPlan) -> Iterator[str]:
    try:
        valid_name("feature set", named_set(plan)[0])
    except (GatelineError, TypeError) as error:
        yield f"feature_set cannot be read: {error.message if isinstance(error, GatelineError) else 'it must be text'}".rstrip(".")
    yield from range_mistakes("sample_share", plan.sample_share, 1e-6, 1)
    yield from range_mistakes("rows_min", plan.rows_min, 1, 10**9, whole=True)
    for name in _SHARES:
        yield from range_mistakes(name, getattr(plan, name), 0, 1)
    yield from range_mistakes("lateness_seconds", plan.lateness_seconds, 0, WINDOW_SECONDS_MAX, whole=True)
    yield from range_mistakes("wait_seconds", plan.wait_seconds, 0, WINDOW_SECONDS_MAX, whole=True)
    yield from range_mistakes("resolve_after_ok", plan.resolve_after_ok, 1, 1_000, whole=True)
    if not is_zone(plan.timezone):
        yield f"timezone '{str(plan.timezone)[:60]}' is not a zone of the IANA database"
