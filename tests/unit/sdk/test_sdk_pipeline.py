"""Pipelines as plain Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateline.kernel.errors import InvalidInput, NotFound
from gateline.pipelines import plan_mistakes
from gateline.sdk.pipeline import pipeline, step
from gateline.sdk.project import Project


@step
def numbers(count: int) -> list[int]:
    """Count."""
    return list(range(count))


@step
def total(values: list[int], factor: int = 1) -> int:
    """Add up."""
    return sum(values) * factor


@pipeline
def adding(count: int, factor: int = 2) -> int:
    """Add up twice."""
    values = numbers(count)
    return total(values, factor=factor) if factor else total(values)


def test_a_step_called_outside_a_pipeline_is_a_plain_call() -> None:
    """Nothing is recorded, and a debugger steps in."""
    assert total(numbers(4)) == 6


def test_a_pipeline_runs_as_a_plain_call_too() -> None:
    """With the same result as calling its steps."""
    assert adding.run(count=4, factor=3) == 18


def test_the_graph_names_steps_and_binds_their_arguments() -> None:
    """Defaults included, in an order in which the steps can run."""
    graph = adding.graph(count=4)
    assert [node.name for node in graph.nodes] == ["numbers", "total"]
    assert graph.nodes[1].plan.arguments == {"values": {"node": "numbers"}, "factor": {"value": 2}}
    assert graph.output == {"node": "total"}


def test_the_same_step_twice_gets_two_names() -> None:
    """So that each has its record."""

    @pipeline
    def twice() -> Any:
        return total([total([1]), total([2])])

    assert [node.name for node in twice.graph().nodes] == ["total", "total-2", "total-3"]


@pytest.mark.parametrize("use", [bool, list, lambda result: result.real], ids=["decide", "loop", "read"])
def test_python_that_depends_on_a_result_is_refused_when_the_graph_is_drawn(use: Any) -> None:
    """The message names the step and says where such code belongs."""

    @pipeline
    def dynamic() -> Any:
        use(numbers(1))

    with pytest.raises(InvalidInput, match=r"result of step 'numbers', which is not known.*(step|when=|map)"):
        dynamic.graph()


def test_unknown_parameters_are_named_with_the_known_ones() -> None:
    """So that the mistake can be mended at once."""
    with pytest.raises(InvalidInput, match="count, factor"):
        adding.graph(amount=3)


def test_a_folder_without_a_project_says_how_to_make_one(tmp_path: Path) -> None:
    """And a project names what it declares."""
    with pytest.raises(NotFound, match="gateline init"):
        Project.load(tmp_path)
    (tmp_path / "gateline.toml").write_text('[project]\nname = "p"\n[pipelines]\ntrain = "steps:train"\n')
    with pytest.raises(NotFound, match="It declares: train"):
        Project.load(tmp_path).pipeline("other")
    with pytest.raises(NotFound, match=r"no file steps\.py"):
        Project.load(tmp_path).pipeline("train")


def test_the_pipeline_of_the_explanation_runs_and_has_a_plan(tmp_path: Path) -> None:
    """As the page says."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "explanation" / "pipelines.md").read_text(encoding="utf-8")
    (tmp_path / "gateline.toml").write_text('[project]\nname = "p"\n[pipelines]\ntrain = "explained_flows:train"\n')
    (tmp_path / "explained_flows.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    train = Project.load(tmp_path).pipeline("train")
    assert train.run(limit=5.0) == "released slope 2.0"
    assert train.run(limit=0.1) is None
    assert plan_mistakes(train.graph().plan()) == []
