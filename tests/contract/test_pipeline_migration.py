"""Runs of the schema before plans stay readable; those that were open are begun anew."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

import gateline
from gateline.data import ObjectStore
from gateline.ledger import Ledger, SigningKey
from gateline.pipelines import Artifact, Pipelines, RunState, StepState
from tests.support.pipelines import WORKER, runner

RUN = "INSERT INTO pipeline_run VALUES (:id, 'train', :state, :parameters, 'By hand.', 'owner', 5, :id, :lease, 0, :result, '')"
STEP = "INSERT INTO step_run VALUES (:run_id, :name, :state, :key, 2, 6, 7, :kind, :sha256, 11, '')"


@pytest.fixture
def pipelines(unmigrated_records, clock, home):
    """A finished run and an open one in the schema of revision 0006, brought to the newest."""
    config = Config()
    config.set_main_option("script_location", f"{gateline.__path__[0]}/migrations")
    with unmigrated_records.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
    with unmigrated_records.engine.begin() as connection:
        for run_id, state, lease in (("done", "succeeded", ""), ("open", "running", "r0")):
            json = {"parameters": '{"rounds":3}', "result": '{"verdict":"pass"}'}
            connection.execute(text(RUN), {"id": run_id, "state": state, "lease": lease, **json})
            step = {"run_id": run_id, "name": "fit", "key": "k" * 64, "kind": "json", "sha256": "a" * 64}
            connection.execute(text(STEP), {**step, "state": "succeeded"})
            connection.execute(text(STEP), {**step, "name": "judge", "state": "failed", "kind": "", "sha256": ""})
    unmigrated_records.migrate()
    return Pipelines(Ledger(unmigrated_records, clock, SigningKey.load_or_create(home / "keys")), ObjectStore(home / "objects"))


def test_a_finished_run_keeps_its_steps_and_their_artifacts(pipelines):
    run = pipelines.get("done")
    assert (run.state, run.result, run.parameters) == (RunState.SUCCEEDED, {"verdict": "pass"}, {"rounds": 3})
    steps = {step.name: step for step in run.steps}
    assert steps["fit"].artifacts == (Artifact(name="", kind="json", sha256="a" * 64, size_bytes=11),)
    assert (steps["fit"].attempts, steps["judge"].state, steps["judge"].artifacts) == (2, StepState.FAILED, ())


def test_an_open_run_waits_to_be_drawn(pipelines):
    assert pipelines.get("open").state is RunState.QUEUED
    assert pipelines.get("open").steps == ()
    drawn = pipelines.desk.claim(WORKER, runner()).draw
    assert drawn is not None
    assert drawn.id == "open"
