"""Chapter 2: features as they were known one hour before departure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateline.features import WindowView
from gateline.kernel.errors import GatelineError, InvalidInput
from gateline.sdk.features import check_feature_set, project_feature_sets, register_feature_set

if TYPE_CHECKING:
    from gateline import FeatureSet
    from gateline.demo.stage import Stage

FEATURE_SET = "flight_delay"
PROBED_ROWS = 40


def tell(stage: Stage) -> None:
    """Register the set, search it for leaks, and try to register one that sees the future."""
    say, more, developer = stage.teller.say, stage.teller.more, stage.client("developer")
    if stage.project is None:
        raise InvalidInput("The project was not copied.")
    feature_set = project_feature_sets(stage.project)[FEATURE_SET]
    version = register_feature_set(developer, feature_set)
    stage.facts["feature_set"] = version
    say(f"{version.id}: {len(version.features)} features over {', '.join(version.dataset_versions.values())}", "ok")
    more(f"weather at the origin, mean delay there over two hours, plane age, schedule; digest {version.digest[:16]}…")
    leaks = check_feature_set(developer, version, seed=stage.options.seed, rows=PROBED_ROWS)
    if leaks:
        raise InvalidInput(f"The set sees the future: {leaks[0].detail}")
    say(f"searched for leaks at {PROBED_ROWS} rows: the future was changed behind each of them, no feature moved", "ok")
    try:
        leaking = register_feature_set(developer, _leaking(feature_set))
        found = check_feature_set(developer, leaking, seed=stage.options.seed, rows=PROBED_ROWS)
        refusal = found[0].detail if found else ""
    except GatelineError as error:
        refusal = error.message
    if not refusal:
        raise InvalidInput("A set that knows delays before the departure was not found out.")
    say("a copy that claims to know each delay at the scheduled time is found out:", "no")
    more(refusal[:220])


def _leaking(feature_set: FeatureSet) -> FeatureSet:
    """Return the set with the delay taken as known when the flight is still at the gate."""
    scheduled = feature_set.spine.columns[feature_set.spine.event_time]
    views = tuple(
        replace(view, source=replace(view.source, columns={**view.source.columns, "departed": scheduled}))
        if isinstance(view, WindowView)
        else view
        for view in feature_set.views
    )
    return replace(feature_set, name=f"{feature_set.name}_leaking", views=views)
