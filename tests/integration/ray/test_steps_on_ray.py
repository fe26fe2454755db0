"""Steps as jobs of a Ray cluster of three nodes: nothing runs twice without need, nothing hangs, nothing is left behind."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.ray.conftest import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.ray.conftest import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def noted(folder: Path) -> list[str]:
    """What a step has written down, without process ids."""
    path = folder / "noted"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_mapped_step_runs_on_the_nodes_and_its_tables_come_back(world: World) -> None:
    world.runner()
    run_id = world.ask("fan")
    run = world.over(run_id)
    assert run["state"] == "succeeded", run
    assert world.value(run, "total") == 6 * sum(range(50_000))
    attempts = world.attempts(run_id, "scaled")
    assert {one["outcome"] for one in attempts} == {"succeeded"}
    assert len({one["job"] for one in attempts}) == 3
    assert all(one["job"].startswith(f"{world.nodes.url}/api/jobs/gateline-{run_id}-scaled-") for one in attempts)
    assert all(one["cpu_seconds"] > 0 and one["peak_memory_bytes"] > 1 << 20 for one in attempts)
    assert world.output(run_id, "scaled", 2).startswith("scaled by 3 in")
    assert "gl_" not in str([world.nodes.job(one["job"]) for one in attempts])
    again = world.over(world.ask("fan"))
    assert {step["reused_from"] for step in again["steps"] if step["index"] >= 0} == {run_id}


def test_a_killed_runner_is_not_missed_by_its_job(world: World, tmp_path: Path) -> None:
    world.runner()
    run_id = world.ask("wait", folder=str(tmp_path))
    until(lambda: noted(tmp_path))
    world.kill_runners()
    until(lambda: "patient has begun" in world.output(run_id, "patient"))
    world.runner()
    (tmp_path / "go").touch()
    run = world.over(run_id)
    assert run["state"] == "succeeded"
    assert world.value(run, "patient") == f"{run_id}/patient/0"
    assert noted(tmp_path) == ["begun", "ended"]


def test_a_job_that_waits_is_found_again_by_the_next_runner(world: World, tmp_path: Path) -> None:
    """Two steps hold both nodes, so that the third waits in Ray while its runner dies."""
    world.runner()
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    busy = [world.ask("wait", folder=str(folder)) for folder in folders[:2]]
    until(lambda: all(noted(folder) for folder in folders[:2]))
    waiting = world.ask("wait", folder=str(folders[2]))
    sent = until(lambda: [one["job"] for one in world.attempts(waiting, "patient") if one["job"]])[0]
    until(lambda: "status" in world.nodes.job(sent))
    world.kill_runners()
    world.runner()
    until(lambda: len(world.attempts(waiting, "patient")) == 2)
    for folder in folders:
        (folder / "go").touch()
    runs = [world.over(run_id) for run_id in [*busy, waiting]]
    assert {run["state"] for run in runs} == {"succeeded"}
    assert noted(folders[2]) == ["begun", "ended"]
    first, second = world.attempts(waiting, "patient")
    assert (first["outcome"], first["job"], second["outcome"], second["job"]) == ("lost", sent, "succeeded", sent)


def test_the_step_of_a_killed_node_runs_on_another(world: World, tmp_path: Path) -> None:
    world.runner()
    run_id = world.ask("wait", folder=str(tmp_path))
    until(lambda: noted(tmp_path))
    job = world.nodes.job(world.attempts(run_id, "patient")[0]["job"])
    world.nodes.kill(job["driver_node_id"])
    until(lambda: len(noted(tmp_path)) == 2)
    (tmp_path / "go").touch()
    run = world.over(run_id)
    assert run["state"] == "succeeded"
    first, second = world.attempts(run_id, "patient")
    assert (first["outcome"], second["outcome"]) == ("lost", "succeeded")
    assert first["job"] != second["job"]
    assert noted(tmp_path) == ["begun", "begun", "ended"]
    assert world.nodes.job(second["job"])["driver_node_id"] != job["driver_node_id"]


def test_a_cancelled_run_ends_its_job_within_seconds(world: World, tmp_path: Path) -> None:
    world.runner()
    run_id = world.ask("wait", folder=str(tmp_path))
    until(lambda: noted(tmp_path))
    job = world.attempts(run_id, "patient")[0]["job"]
    world.client.post(f"/pipeline-runs/{run_id}/cancel")
    assert world.over(run_id)["state"] == "cancelled"
    until(lambda: world.nodes.job(job)["status"] == "FAILED")
    assert noted(tmp_path) == ["begun"]
    assert world.attempts(run_id, "patient")[0]["outcome"] == "cancelled"


def test_a_run_whose_job_waits_for_what_no_node_has_can_be_cancelled(world: World) -> None:
    world.runner()
    run_id = world.ask("waits")
    (step,) = until(lambda: [step for step in world.client.get(f"/pipeline-runs/{run_id}")["steps"] if step["job"]])
    until(lambda: world.nodes.job(step["job"]).get("status") == "PENDING")
    world.client.post(f"/pipeline-runs/{run_id}/cancel")
    assert world.over(run_id)["state"] == "cancelled"
    assert [one["outcome"] for one in world.attempts(run_id, "never")] == ["cancelled"]


def test_limits_hold_on_the_nodes_and_a_step_may_use_the_cluster_itself(world: World) -> None:
    world.runner()
    run_id = world.ask("limits")
    run = world.over(run_id)
    outcomes = {node: world.attempts(run_id, node)[0] for node in ("endless", "greedy", "fans-out")}
    assert run["state"] == "failed"
    assert outcomes["endless"]["outcome"] == "timed_out"
    assert outcomes["endless"]["detail"] == "It ran for more than 2 s."
    assert outcomes["greedy"]["outcome"] == "out_of_memory"
    assert outcomes["greedy"]["peak_memory_bytes"] > 400 << 20
    assert outcomes["fans-out"]["outcome"] == "succeeded"
    assert world.value(run, "fans-out") == [0, 1, 4, 9, 16]


def test_gateline_toml_sends_a_step_to_ray_and_an_address_where_nobody_listens_fails(world: World) -> None:
    world.declare('[executors]\nplain = "ray://auto"')
    world.runner()
    moved, lost = world.ask("moved"), world.ask("lost")
    assert world.over(moved)["state"] == "succeeded"
    assert world.attempts(moved, "plain")[0]["job"]
    failure = world.over(lost)["failure"]
    assert "Ray's job server at http://127.0.0.1:1 does not answer" in failure
    assert "Start the cluster with its dashboard" in failure


def test_a_runner_without_ray_says_what_to_install(world: World) -> None:
    world.runner(sys.executable)
    failure = world.over(world.ask("fan"))["failure"]
    assert "Ray is not installed where its runner works" in failure
    assert "Install gateline[ray] here" in failure
