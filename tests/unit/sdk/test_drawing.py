"""Graphs are drawn from plain Python."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from gateline import each, step
from gateline.kernel.errors import InvalidInput
from gateline.pipelines import plan_mistakes
from tests.support.flows import divide, drawn, is_large, keep, nodes_of, numbers, ran, scale, total


def test_a_plan_says_all_that_an_engine_needs():
    def train() -> Any:
        parts = divide(numbers(5), at=3)
        sums = scale.map(value=each(parts["train"]), rate=each([0.5, 1.0, 2.0]), max_parallel=2)
        return keep(sums, when=is_large(total(parts["test"])))

    plan = drawn(train).plan()
    assert plan_mistakes(plan) == []
    assert plan["format"] == 1
    assert plan["pipeline"] == "train"
    assert plan["output"] == {"node": "keep"}
    found = {node["name"]: node for node in plan["nodes"]}
    assert list(found) == ["numbers", "divide", "scale", "total", "is-large", "keep"]
    assert found["divide"]["arguments"] == {"rows": {"node": "numbers"}, "at": {"value": 3}}
    assert found["divide"]["outputs"] == [{"name": "train", "kind": "json"}, {"name": "test", "kind": "json"}]
    assert found["scale"]["arguments"] == {"value": {"item": "value"}, "rate": {"item": "rate"}}
    assert found["scale"]["over"] == {"value": {"node": "divide", "output": "train"}, "rate": {"value": [0.5, 1.0, 2.0]}}
    assert found["scale"]["max_parallel"] == 2
    assert found["keep"]["when"] == {"node": "is-large"}
    assert found["keep"]["reference"] == "tests.support.flows:keep"
    assert found["keep"]["options"] == {
        "cache": True, "retries": 0, "retry_wait_seconds": 0, "timeout_seconds": None, "memory_bytes": None, "cpus": 1,
        "executor": "process", "env": None, "seed": None, "approval": None, "approval_timeout_seconds": None,
    }  # fmt: skip
    assert "over" not in found["keep"]
    assert "when" not in found["scale"]


def test_run_calls_steps_maps_and_skips():
    def train(count: int) -> Any:
        first, second = divide(numbers(count), at=2)
        large = is_large(total(second))
        doubled = scale.map(value=each(second), rate=2.0)
        kept = keep(doubled, when=large)
        return keep([kept, first, {"all": doubled}])

    assert ran(train, count=8) == [[4.0, 6.0, 8.0, 10.0, 12.0, 14.0], [0, 1], {"all": [4.0, 6.0, 8.0, 10.0, 12.0, 14.0]}]
    assert ran(train, count=4) is None, "what depends on a skipped step is skipped, and so is the result"


def test_a_mapped_step_can_be_mapped_again_and_over_nothing():
    def twice(values: list[int]) -> Any:
        return scale.map(value=each(scale.map(value=each(values))), rate=3.0)

    assert ran(twice, values=[1, 2]) == [3.0, 6.0]
    assert ran(twice, values=[]) == []


def test_outputs_of_a_mapped_step_are_lists():
    def pairs() -> Any:
        parts = divide.map(rows=each([[1, 2, 3], [4, 5, 6]]), at=1)
        return keep([parts["train"], parts["test"]])

    assert ran(pairs) == [[[1], [4]], [[2, 3], [5, 6]]]


def test_outside_a_pipeline_when_and_map_are_plain_calls():
    assert total([1, 2], when=True) == 3
    assert total([1, 2], when=False) is None
    assert scale.map(value=each([1, 2]), rate=2.0) == [2.0, 4.0]
    assert scale.map(value=each([1, 2]), when=False) is None
    with pytest.raises(InvalidInput, match="when= of step 'total' is a int, not true or false"):
        total([1], when=1)


def test_results_inside_lists_and_dictionaries_are_inputs():
    def gathered() -> Any:
        return keep({"a": [numbers(2), 5], "b": {"c": total([1])}, "d": [1, 2]})

    assert nodes_of(gathered)["keep"]["arguments"]["value"] == {
        "fields": {
            "a": {"list": [{"node": "numbers"}, {"value": 5}]},
            "b": {"fields": {"c": {"node": "total"}}},
            "d": {"value": [1, 2]},
        }
    }
    assert ran(gathered) == {"a": [[0, 1], 5], "b": {"c": 1}, "d": [1, 2]}


def test_names_of_nodes_are_unique_whatever_steps_are_called():
    @step
    def numbers_2() -> int:
        return 2

    other = step(numbers.function)

    def named() -> Any:
        return keep([numbers(1), numbers_2(), numbers(2), other(3), numbers_2()])

    assert [node.name for node in drawn(named).nodes] == ["numbers", "numbers-2", "numbers-3", "numbers-4", "numbers-2-2", "keep"]


def test_graphs_are_drawn_side_by_side_in_threads():
    def slow(count: int) -> Any:
        return keep([numbers(one) for one in range(count)])

    sizes: dict[int, int] = {}

    def draw(count: int) -> None:
        sizes[count] = len(drawn(slow, count=count).nodes)

    threads = [threading.Thread(target=draw, args=(count,)) for count in (5, 50, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == {5: 6, 50: 51, 500: 501}


def test_steps_that_other_processes_cannot_find_run_but_have_no_plan():
    @step
    def hidden() -> int:
        return 4

    def local() -> Any:
        return keep(hidden())

    assert ran(local) == 4
    with pytest.raises(InvalidInput, match=r"step 'hidden' is defined inside a function .*top level of a file"):
        drawn(local).plan()


def _doubled() -> int:
    return 1


doubled_first = step(_doubled)


@step
def same_name() -> int:
    return 1


first_of_that_name = same_name


@step  # type: ignore[no-redef]
def same_name() -> int:
    return 2


def test_a_step_hidden_by_another_of_its_name_has_no_plan():
    def uses_first() -> Any:
        return first_of_that_name()

    assert ran(uses_first) == 1
    with pytest.raises(InvalidInput, match=r"step 'same-name' is hidden by another 'same_name' in module"):
        drawn(uses_first).plan()

    def uses_function() -> Any:
        return doubled_first()

    assert nodes_of(uses_function)["doubled"]["reference"] == f"{__name__}:_doubled"


class Unknown:
    """No function."""


async def _asynchronous() -> int:
    return 1


def _generator() -> Any:
    yield 1


@pytest.mark.parametrize("made", [_asynchronous, _generator, len, Unknown, "text".upper, Unknown()])
def test_what_is_no_plain_function_is_no_step(made: Any):
    with pytest.raises(InvalidInput, match="cannot be a step: it is no plain function"):
        step(made)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda value: value, "step name '<lambda>' is not allowed"),
        (lambda *values: values, "step name '<lambda>'"),
    ],
)
def test_lambdas_have_no_name(made: Any, message: str):
    with pytest.raises(InvalidInput, match=message):
        step(made)


def test_parameters_without_a_name_of_their_own_are_refused():
    def many(*frames: Any, **named: Any) -> Any: ...
    def positional(one: Any, /) -> Any: ...
    def when_taken(when: Any) -> Any: ...
    def parallel_taken(max_parallel: Any) -> Any: ...

    with pytest.raises(InvalidInput, match=r"takes \*frames: .*, \*\*named: .*Take a list or a dictionary"):
        step(many)
    with pytest.raises(InvalidInput, match="takes one"):
        step(positional)
    for function, word in ((when_taken, "when"), (parallel_taken, "max_parallel")):
        with pytest.raises(InvalidInput, match=f"has a parameter '{word}'"):
            step(function)


def test_what_a_pipeline_returns_is_a_result_or_nothing():
    def constant() -> Any:
        return 3

    def nothing() -> Any:
        numbers(1)

    with pytest.raises(InvalidInput, match="Pipeline 'constant' returns a int"):
        drawn(constant)
    assert drawn(nothing).plan()["output"] is None
    assert ran(nothing) is None


def test_a_plan_without_steps_is_refused():
    def empty() -> Any:
        return None

    with pytest.raises(InvalidInput, match="it has 0 nodes"):
        drawn(empty).plan()
    assert ran(empty) is None


def test_a_plan_that_is_too_large_is_refused():
    def wide() -> Any:
        for _ in range(10):
            keep("x" * 1_000_000)

    with pytest.raises(InvalidInput, match=r"plan has [\d,]+ bytes; 8,388,608 are allowed"):
        drawn(wide).plan()


def test_errors_of_a_step_come_through_run_as_they_are():
    @step
    def fails() -> int:
        raise ZeroDivisionError("by hand")

    def failing() -> Any:
        return fails()

    with pytest.raises(ZeroDivisionError, match="by hand"):
        ran(failing)


def test_options_are_read_as_people_write_them():
    @step(
        cache=False,
        retries=2,
        retry_wait="10s",
        timeout="1h",
        memory="2GiB",
        cpus=0.5,
        executor="ray://head:10001",
        seed=7,
        approval="Go?",
        approval_timeout="2d",
    )
    def heavy() -> int:
        return 1

    assert heavy.options.as_dict() == {
        "cache": False, "retries": 2, "retry_wait_seconds": 10, "timeout_seconds": 3600, "memory_bytes": 2 << 30, "cpus": 0.5,
        "executor": "ray://head:10001", "env": None, "seed": 7, "approval": "Go?", "approval_timeout_seconds": 172800,
    }  # fmt: skip


def test_all_wrong_options_are_named_at_once():
    with pytest.raises(InvalidInput) as error:
        step(retries=-1, timeout="soon", memory="much", cpus=math.nan, executor="cloud", seed=True, approval="", retry=3)(numbers.function)  # type: ignore[call-overload]
    for part in (
        "retries is -1",
        "'soon' is no span",
        "'much' is no size",
        "cpus is nan",
        "executor is 'cloud'",
        "seed is True",
        "approval is ''",
        "no option 'retry'",
    ):
        assert part in str(error.value)


def test_the_decorator_keeps_what_the_function_says():
    assert numbers.__doc__ is None
    assert divide.__name__ == "divide"
    assert numbers.__wrapped__ is numbers.function  # type: ignore[attr-defined]
