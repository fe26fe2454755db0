"""Searches as plain Python: drawn, called in this process, and what is refused of them."""

from __future__ import annotations

import math
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest

from gateline import Pruned, Trial, choices, integers, log_uniform, median, pipeline, search, step, uniform
from gateline.kernel.errors import InvalidInput, StepFailed
from gateline.pipelines import plan_from_dict
from gateline.sdk.fingerprint import read_code
from gateline.sdk.project import Project
from gateline.sdk.sampling import importances, is_hopeless, propose
from gateline.sdk.search import Search, best_of
from gateline.sdk.trials import LocalStudy

if TYPE_CHECKING:
    from collections.abc import Callable

SPACE = {"rate": log_uniform(0.01, 0.3), "leaves": integers(8, 64, step=8), "layers": choices([8], [8, 8], None)}
tried: list[dict[str, Any]] = []


def loss_of(trial: Trial) -> float:
    return float((trial["rate"] - 0.1) ** 2 + abs(trial["leaves"] - 32) / 100 + len(trial["layers"] or []) / 10)


@search(seed=7)
def tune(trial: Trial, offset: float = 0.0) -> float:
    tried.append(trial.parameters)
    return loss_of(trial) + offset


@step
def fit(best: dict[str, Any]) -> dict[str, Any]:
    return dict(best["parameters"])


@pipeline
def train(trials: int = 15) -> Any:
    return fit(tune.search(space=SPACE, trials=trials))


@pytest.fixture(autouse=True)
def _forget() -> None:
    tried.clear()


def search_of(objective: Callable[[Trial], float], **options: Any) -> Search:
    """A search of an objective."""

    def objective_of(trial: Trial) -> float:
        return objective(trial)

    return search(seed=1, **options)(objective_of)


def definition(**changes: Any) -> dict[str, Any]:
    """The definition of the search above."""
    return {**tune.definition, "space": SPACE, **changes}


def local(objective: Callable[[Trial], float], count: int, *, failures: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """The trials of a search in this process."""
    study, wanted = LocalStudy(failures_max=failures), definition(**changes)
    return [study.carry_out(objective, {"trial": {"number": n, "search": wanted}}, "trial") for n in range(count)]


def test_a_plain_call_finds_what_a_run_of_the_graph_finds_and_again_the_same() -> None:
    best = tune.search(space=SPACE, trials=15)
    first = [*tried]
    assert len(first) == 15
    assert all(one["leaves"] % 8 == 0 and one["layers"] in ([8], [8, 8], None) for one in first)
    assert best["value"] == min(loss_of(Trial(one)) for one in first)
    assert best["parameters"] == first[best["number"]]
    tried.clear()
    assert train.run(trials=15) == best["parameters"]
    assert tried == first


def test_a_longer_search_begins_with_the_trials_of_a_shorter_one() -> None:
    tune.search(space=SPACE, trials=12)
    shorter = [*tried]
    tried.clear()
    tune.search(space=SPACE, trials=14)
    assert tried[:12] == shorter


def test_the_sampler_learns() -> None:
    random_best = [local(loss_of, 40, sampler={"kind": "random"}, seed=seed) for seed in range(3)]
    learned = [local(loss_of, 40, seed=seed) for seed in range(3)]

    def mean_of_late(found: list[list[dict[str, Any]]]) -> float:
        return sum(one["value"] for trials in found for one in trials[20:]) / 60

    assert mean_of_late(learned) < 0.7 * mean_of_late(random_best)


def test_a_proposal_depends_on_number_and_trials_before_and_not_on_their_order() -> None:
    trials = [{**one, "last_step": None} for one in local(loss_of, 20)]
    proposed = propose(definition(), 20, trials)
    assert proposed == propose(definition(), 20, trials[::-1])
    assert proposed != propose(definition(), 21, trials)
    assert proposed != propose(definition(seed=8), 20, trials)
    randomly = definition(sampler={"kind": "random"})
    assert propose(randomly, 20, trials) == propose(randomly, 20, [])


def test_trials_under_way_are_considered_and_those_that_failed_are_not() -> None:
    trials = [{**one, "last_step": None} for one in local(loss_of, 20)]
    failed = {"number": 20, "state": "failed", "parameters": trials[0]["parameters"], "value": None, "last_step": None}
    running = {**failed, "state": "running", "parameters": propose(definition(), 21, trials)}
    assert propose(definition(), 21, [*trials, failed]) == propose(definition(), 21, trials)
    assert propose(definition(), 21, [*trials, running]) != propose(definition(), 21, trials)


def test_a_hopeless_trial_is_pruned_and_teaches_what_it_reported() -> None:
    def objective(trial: Trial) -> float:
        for number in range(5):
            trial.report(loss_of(trial) + 1 / (number + 1), number)
            if trial.should_prune():
                raise Pruned
        return loss_of(trial)

    found = local(objective, 20, pruner=median(startup_trials=3, warmup_steps=1))
    pruned = [one for one in found if one["state"] == "pruned"]
    assert 3 <= len(pruned) <= 15
    assert all(math.isfinite(one["value"]) for one in pruned)
    assert {one["state"] for one in found} == {"pruned", "complete"}


def test_pruning_decides_as_optuna_does_over_its_own_trials() -> None:
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
    complete: list[dict[int, float]] = []
    wanted = definition(pruner=median(startup_trials=2, warmup_steps=1))
    decided = []
    for _ in range(30):
        trial, values = study.ask(), {}
        start = trial.suggest_float("start", 0, 1)
        hopeless = False
        for step_number in range(6):
            values[step_number] = start + math.sin(17 * start + step_number)
            trial.report(values[step_number], step_number)
            hopeless = trial.should_prune()
            at_step = [one[step_number] for one in complete if step_number in one]
            assert is_hopeless(wanted, values, step_number, completed=len(complete), at_step=at_step) == hopeless
            decided.append(hopeless)
            if hopeless:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        if not hopeless:
            study.tell(trial, start)
            complete.append(values)
    assert any(decided)


def test_optunas_own_exception_prunes_too() -> None:
    def objective(trial: Trial) -> float:
        trial.report(0.5, 3)
        raise optuna.TrialPruned

    assert local(objective, 1)[0] | {"parameters": {}} == {"number": 0, "state": "pruned", "value": 0.5, "parameters": {}}


@pytest.mark.parametrize(
    ("returned", "told"), [(math.nan, "nan"), (math.inf, "inf"), (None, "NoneType"), ("0.5", "a str"), (True, "a bool")]
)
def test_an_objective_that_returns_no_finite_number_fails_its_trial(returned: Any, told: str) -> None:
    with pytest.raises(StepFailed, match="not a finite number") as caught:
        search_of(lambda _: returned).search(space=SPACE, trials=2)
    assert told in str(caught.value)


def test_as_many_trials_may_fail_as_the_search_allows() -> None:
    def objective(trial: Trial) -> float:
        if trial.number in {1, 2}:
            raise ValueError("no rows")
        return loss_of(trial)

    found = local(objective, 4, failures=2)
    assert [one["state"] for one in found] == ["complete", "failed", "failed", "complete"]
    assert found[1]["failure"] == "ValueError: no rows"
    with pytest.raises(ValueError, match="no rows"):
        search_of(objective).search(space=SPACE, trials=4, failures=1)


def test_a_search_without_a_complete_trial_has_no_best() -> None:
    def objective(_: Trial) -> float:
        raise Pruned

    with pytest.raises(StepFailed, match="None of the 3 trials of the search was completed: pruned"):
        search_of(objective).search(space=SPACE, trials=3)


def test_the_study_says_which_parameter_matters() -> None:
    found = local(lambda trial: (trial["rate"] - 0.1) ** 2 + trial["leaves"] / 1e6, 30)
    best, study = best_of(found, definition())
    assert study["best"] == best
    assert study["trials"] == found
    assert study["importances"]["rate"] > study["importances"]["leaves"]
    assert sum(study["importances"].values()) == pytest.approx(1.0)
    assert importances(definition(), found[:3]) == {}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"space": {}}, "its space is empty"),
        ({"space": None}, "its space is empty"),
        ({"space": {"rate": uniform(0, math.nan)}}, "NaN"),
        ({"space": {"rate": uniform(1, 0)}}, "reaches from 1 down to 0"),
        ({"space": {"rate": [1, 2]}}, "none of uniform"),
        ({"space": {"loss": choices({1, 2})}}, "is a set"),
        ({"trials": 0}, "trials is 0"),
        ({"trials": 1001}, "from 1 to 1,000"),
        ({"trials": 2.5}, "trials is 2.5"),
        ({"failures": -1}, "failures is -1"),
        ({"max_parallel": True}, "max_parallel is True"),
        ({"offsets": 1}, "other arguments than it takes"),
    ],
)
def test_what_cannot_be_searched_is_refused_drawn_and_called(arguments: dict[str, Any], told: str) -> None:
    given = {"space": SPACE, "trials": 2, **arguments}
    with pytest.raises(InvalidInput, match=re.escape(told)):
        tune.search(**given)

    @pipeline
    def wrong() -> Any:
        return tune.search(**given)

    with pytest.raises(InvalidInput, match=re.escape(told)):
        wrong.graph()


def test_searches_are_not_called_or_mapped_in_pipelines() -> None:
    @pipeline
    def called() -> Any:
        return tune(1, 0.0)

    @pipeline
    def unknown() -> Any:
        return tune.search(space=fit({}), trials=2)

    with pytest.raises(InvalidInput, match=r"Write tune\.search\(space="):
        called.graph()
    with pytest.raises(InvalidInput, match=r"Write tune\.search\(space="):
        tune.map(offset=1.0)
    with pytest.raises(InvalidInput, match="the same for all trials"):
        unknown.graph()


def test_functions_that_cannot_be_searched_are_refused() -> None:
    def without(rows: int) -> float:
        return float(rows)

    def reserved(trial: Trial, space: int) -> float:
        return float(space)

    with pytest.raises(InvalidInput, match="has no parameter 'trial'"):
        search()(without)
    with pytest.raises(InvalidInput, match="'space', a word"):
        search()(reserved)
    with pytest.raises(InvalidInput, match="none of random, tpe"):
        search(sampler="grid")(tune.function)
    with pytest.raises(InvalidInput, match="its pruner is 'hyperband'"):
        search(pruner="hyperband")(tune.function)
    with pytest.raises(InvalidInput, match="retries"):
        search(retries=-1)(tune.function)


def test_an_objective_is_called_in_a_test_with_a_trial_of_ones_own() -> None:
    trial = Trial({"rate": 0.1, "leaves": 32, "layers": None})
    assert tune(trial) == 0
    trial.report(0.5, 1)
    assert not trial.should_prune()
    assert (trial.number, trial.last_value) == (0, 0.5)
    with pytest.raises(InvalidInput, match="Its space has: layers, leaves, rate"):
        trial["depth"]


@pytest.mark.parametrize(("value", "number"), [("much", 1), (None, 1), (0.5, -1), (0.5, 1.5), (0.5, True), (0.5, 2**31)])
def test_a_report_that_is_none_is_refused(value: Any, number: Any) -> None:
    with pytest.raises(InvalidInput, match="Trial 0 reports"):
        Trial({}).report(value, number)


def test_the_drawn_plan_is_sound_json_and_returns_the_best() -> None:
    graph = train.graph(trials=3)
    nodes = [node.plan for node in graph.nodes]
    assert [node.name for node in nodes] == ["tune", "tune-best", "fit"]
    assert nodes[2].arguments == {"best": {"node": "tune-best", "output": "best"}}
    assert nodes[1].reference.endswith(":tune.best")
    document = graph.plan()
    assert [node.as_dict() for node in plan_from_dict(document).nodes] == document["nodes"]


FLOWS = """
from gateline import Trial, search, step

@search({options})
def tune(trial: Trial) -> float:
    return {body}

@step
def fit(rate: float) -> float:
    return rate
"""


def code_of(folder: Path, name: str, **parts: str) -> tuple[str, str]:
    """Digests of the code of the search and of the step beside it."""
    project = folder / name
    project.mkdir()
    (project / "gateline.toml").write_text('[project]\nname = "p"\n', encoding="utf-8")
    (project / "flows.py").write_text(textwrap.dedent(FLOWS.format(**parts)), encoding="utf-8")
    loaded = Project.load(project)
    functions = [loaded.load_step(f"flows:{step_name}") for step_name in ("tune", "fit")]
    first, second = (read_code(function, project).digest for function in functions)
    return first, second


def test_arguments_of_the_decorator_are_not_code_and_other_steps_do_not_depend_on_the_search(tmp_path: Path) -> None:
    plain = code_of(tmp_path, "a", options="", body="trial['rate']")
    options = code_of(tmp_path, "b", options="seed=9, retries=3", body="trial['rate']")
    body = code_of(tmp_path, "c", options="", body="trial['rate'] + 1")
    assert options == plain
    assert body[0] != plain[0]
    assert body[1] == plain[1]


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "search.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    (tmp_path / "documented.py").write_text(example[1], encoding="utf-8")
    (tmp_path / "gateline.toml").write_text('[project]\nname = "p"\n[pipelines]\ntrain = "documented:train"\n', encoding="utf-8")
    found = Project.load(tmp_path).pipeline("train").run(trials=15)
    assert found["parameters"].keys() == {"ridge", "degree", "loss"}
    assert found["error"] < 0.2
