"""Chapter 6: real inference workers serve the version; the first weeks of April are replayed through HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from gateline.demo.chapters.approval import set_reference
from gateline.demo.chapters.online import tell_online
from gateline.demo.replay import Cases, Replay, Target
from gateline.demo.runs import artifact
from gateline.demo.sampling import sample_positions
from gateline.demo.stage import HOST
from gateline.demo.wire import send_all
from gateline.kernel.clock import DAY, HOUR, SECOND, Instant, parse_iso
from gateline.kernel.errors import Denied, StepFailed

if TYPE_CHECKING:
    from gateline.demo.stage import Stage

FIRST_DAY = "2013-04-01"
REPLAY_FROM = parse_iso("2013-04-01T04:00:00Z")
END = parse_iso("2014-01-01T05:00:00Z")
WEEK = 7 * DAY
WARM_UP_WEEKS = 2
AFTER_ALLOWANCE = 12 * HOUR
"""How far the replay goes on after the labels of a week are in, so that the platform sees that their time is over."""


def tell(stage: Stage) -> None:
    """Prepare the requests, show that event times need a permission, and replay two weeks."""
    say = stage.teller.say
    set_reference(stage, stage.facts["champion"], stage.facts["first"]["reference"])
    flights = _flights(stage)
    cases = _cases(stage, flights)
    tell_online(stage, flights)
    target = Target(host=HOST, port=stage.serving_port, endpoint=stage.model, token=stage.tokens["replayer"])
    _refuse_others(stage, cases, target)
    stops = [label_stop(stage, end) for end in week_ends()]
    stage.replay = Replay(cases, target, stage.client("replayer"), stops=stops)
    stage.replay.play_until(stops[WARM_UP_WEEKS - 1] + AFTER_ALLOWANCE)
    traffic = stage.replay.traffic
    say(
        f"{traffic.requests:,} requests of the first two weeks answered at {traffic.rate:,.0f} per second: "
        f"p50 {traffic.quantile_ms(0.5):.1f} ms, p99 {traffic.quantile_ms(0.99):.1f} ms with {target.connections} in flight",
        "ok",
    )
    say(f"{traffic.labels:,} labels arrived, each when its flight had landed; cancelled and diverted flights get none", "ok")


def week_ends() -> list[Instant]:
    """Return the ends of the whole weeks from April on."""
    return [REPLAY_FROM + number * WEEK for number in range(1, (END - REPLAY_FROM) // WEEK + 1)]


def label_stop(stage: Stage, end: Instant) -> Instant:
    """Return until when labels count for the week that ends at `end`."""
    return end + int(stage.settings["monitor"]["label_allowance_seconds"]) * SECOND


def _flights(stage: Stage) -> pl.DataFrame:
    """Return the flights from April on, from the very frame that the pipeline computed."""
    feature_set = stage.facts["feature_set"]
    path = stage.client("developer").download(
        artifact(stage.facts["first_run"], "features"), stage.options.home / "cache" / "flights.parquet"
    )
    names = [one.name for one in feature_set.features]
    wanted = list(dict.fromkeys(["row_id", "t", "unit", "label", "label_available_at", *names]))
    return pl.read_parquet(path, columns=wanted).filter(pl.col("unit") >= FIRST_DAY).sort("t", "row_id")


def _cases(stage: Stage, flights: pl.DataFrame) -> Cases:
    """Return a sample of the flights."""
    kinds = {one.name: str(one.kind) for one in stage.facts["feature_set"].features}
    chosen = flights[sample_positions(flights.height, stage.options.requests, stage.options.seed)]
    unlabelled = chosen.get_column("label").null_count()
    stage.teller.say(
        f"{chosen.height:,} of {flights.height:,} flights from April to December are replayed; {unlabelled:,} of them never get a label",
        "ok",
    )
    return Cases(rows=chosen, features=kinds)


def _refuse_others(stage: Stage, cases: Cases, target: Target) -> None:
    """Show that a caller without the replay permission cannot set an event time."""
    outsider = replace(target, token=stage.tokens["developer"])
    answers = send_all(target.host, target.port, cases.requests(outsider, np.arange(1, dtype=np.int64)), connections=1)
    if set(answers.statuses) != {Denied.status}:
        raise StepFailed(f"A request that sets its event time without permission got {answers.statuses}: {answers.first_failure}")
    stage.teller.say("a request that sets its event time without the replay permission: 403", "no")
