"""Chapter 2: features as they were known one hour before departure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateline.kernel.errors import GatelineError, InvalidInput
from gateline.sdk.features import check_feature_view, project_feature_views, register_feature_view

if TYPE_CHECKING:
    from gateline import FeatureView
    from gateline.demo.stage import Stage

VIEW = "flight_delay"
LEAKY_WINDOW = "origin_delay_2h"
PROBED_ROWS = 40


def tell(stage: Stage) -> None:
    """Register the view, search it for leaks, and try to register one that sees the future."""
    say, more, developer = stage.teller.say, stage.teller.more, stage.client("developer")
    if stage.project is None:
        raise InvalidInput("The project was not copied.")
    view = project_feature_views(stage.project)[VIEW]
    version = register_feature_view(developer, view)
    stage.facts["view"] = version
    say(f"{version.id}: {len(version.features)} features over {', '.join(version.dataset_versions.values())}", "ok")
    more(f"weather at the origin, mean delay there over two hours, plane age, schedule; digest {version.digest[:16]}…")
    leaks = check_feature_view(developer, version, seed=stage.options.seed, rows=PROBED_ROWS)
    if leaks:
        raise InvalidInput(f"The view sees the future: {leaks[0].detail}")
    say(f"searched for leaks at {PROBED_ROWS} rows: the future was changed behind each of them, no feature moved", "ok")
    try:
        leaking = register_feature_view(developer, _leaking(view))
        found = check_feature_view(developer, leaking, seed=stage.options.seed, rows=PROBED_ROWS)
        refusal = found[0].detail if found else ""
    except GatelineError as error:
        refusal = error.message
    if not refusal:
        raise InvalidInput("A view that knows delays before the departure was not found out.")
    say("a copy that claims to know each delay at the scheduled time is found out:", "no")
    more(refusal[:220])


def _leaking(view: FeatureView) -> FeatureView:
    """Return the view with the delay taken as known when the flight is still at the gate."""
    parts = tuple(
        replace(part, source=replace(part.source, columns={**part.source.columns, "departed": view.spine.columns[view.spine.event_time]}))
        if part.name == LEAKY_WINDOW
        else part
        for part in view.parts
    )
    return replace(view, name=f"{view.name}_leaking", parts=parts)
