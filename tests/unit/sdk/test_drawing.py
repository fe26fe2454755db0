"""Graphs are drawn from plain Python; what cannot be known yet is refused while they are drawn, not when they run."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import pytest

from gateline import each, pipeline, step
from gateline.kernel.errors import GatelineError, InvalidInput, TooLarge
from gateline.kernel.limits import MAP_ITEMS_MAX, PLAN_NODES_MAX
from gateline.pipelines import plan_mistakes
from gateline.sdk.pipeline import Pipeline


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int], factor: int = 1) -> int:
    return sum(values) * factor


@step
def keep(value: Any) -> Any:
    return value


@step
def is_large(value: int) -> bool:
    return value > 10


@step
def divide(rows: list[int], at: int) -> tuple[Annotated[list[int], "train"], Annotated[list[int], "test"]]:
    return rows[:at], rows[at:]


@step
def scale(value: int, rate: float = 1.0) -> float:
    return value * rate


def drawn(function: Any, **parameters: Any) -> Any:
    """The plan of a pipeline with this function."""
    return Pipeline(function).graph(**parameters)


def ran(function: Any, **parameters: Any) -> Any:
    return Pipeline(function).run(**parameters)


def nodes_of(function: Any) -> dict[str, Any]:
    return {node["name"]: node for node in drawn(function).plan()["nodes"]}


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
    assert found["keep"]["reference"] == f"{__name__}:keep"
    assert found["keep"]["options"] == {
        "cache": True, "retries": 0, "retry_wait_seconds": 0, "timeout_seconds": None, "memory_bytes": None, "cpus": 1,
        "executor": "process", "env": None, "seed": None, "approval": None,
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


DYNAMIC = {
    "if": (lambda one: 1 if one else 2, "decide on", "when="),
    "not": (lambda one: not one, "decide on", "when="),
    "and": (lambda one: one and 1, "decide on", "when="),
    "equal": (lambda one: one == 3, "compare", "when="),
    "unequal": (lambda one: one != 3, "compare", "when="),
    "less": (lambda one: one < 3, "compare", "when="),
    "least": (lambda one: max(one, 2), "compare", "when="),
    "for": (list, "loop over", ".map"),
    "unpack": (lambda one: [*one], "loop over", ".map"),
    "len": (len, "count or search", ".map"),
    "in": (lambda one: 3 in one, "count or search", ".map"),
    "index": (lambda one: one[0], "take 0 of", "Annotated"),
    "slice": (lambda one: one[1:], "take slice", "Annotated"),
    "key": (lambda one: one["auc"], "take 'auc' of", "Annotated"),
    "attribute": (lambda one: one.shape, "read '.shape' of", "step"),
    "own attribute": (lambda one: one.name, "read '.name' of", "step"),
    "hasattr": (lambda one: hasattr(one, "columns"), "read '.columns' of", "step"),
    "method": (lambda one: one.mean(axis=0), "read '.mean' of", "step"),
    "call": (lambda one: one(1), "call", "step"),
    "plus": (lambda one: one + 1, "calculate with", "step"),
    "reflected": (lambda one: 1 - one, "calculate with", "step"),
    "negative": (lambda one: -one, "calculate with", "step"),
    "matrix": (lambda one: one @ one, "calculate with", "step"),
    "either": (lambda one: one | {}, "calculate with", "step"),
    "divmod": (lambda one: divmod(one, 2), "calculate with", "step"),
    "abs": (abs, "calculate with", "step"),
    "text": (str, "write as text", "step"),
    "f-string": (lambda one: f"{one}.parquet", "write as text", "step"),
    "int": (int, "make a number of", "step"),
    "float": (float, "make a number of", "step"),
    "range": (range, "make a number of", "step"),
    "round": (round, "make a number of", "step"),
    "set item": (lambda one: one.__setitem__("a", 1), "change", "step"),
    "with": (lambda one: one.__enter__(), "open", "step"),
}


@pytest.mark.parametrize("name", DYNAMIC)
def test_python_over_a_result_is_refused_with_what_to_write_instead(name: str):
    use, doing, advice = DYNAMIC[name]
    with pytest.raises(InvalidInput) as error:
        drawn(lambda_of(use))
    assert error.value.message.startswith(f"The pipeline tries to {doing}")
    assert "result of step 'numbers', which is not known when the graph is drawn." in error.value.message
    assert advice in error.value.next_step


def lambda_of(use: Any) -> Any:
    def dynamic() -> Any:
        use(numbers(1))

    return dynamic


def test_an_unknown_output_is_refused_with_the_known_ones():
    def wrong() -> Any:
        return keep(divide([1], 1)["validation"])

    with pytest.raises(InvalidInput, match=r"take 'validation' of .*Its outputs are: train, test"):
        drawn(wrong)


def test_several_outputs_are_taken_by_name():
    def whole() -> Any:
        return keep(divide([1], 1))

    with pytest.raises(InvalidInput, match=r"argument 'value' of step 'keep' is the result of step 'divide', which has several outputs"):
        drawn(whole)

    def returned() -> Any:
        return divide([1], 1)

    with pytest.raises(InvalidInput, match=r"output of pipeline 'returned' .*result\['train'\]"):
        drawn(returned)


def test_fewer_values_than_outputs_are_named_when_run():
    @step
    def broken() -> tuple[Annotated[int, "a"], Annotated[int, "b"]]:
        return (1,)  # type: ignore[return-value]

    def run() -> Any:
        return keep(broken()["a"])

    with pytest.raises(InvalidInput, match=r"declares 2 outputs \(a, b\) and returned 1 values"):
        ran(run)


def test_a_result_prints_what_it_stands_for_in_a_debugger():
    seen: list[str] = []

    def look() -> Any:
        seen.append(repr(divide([1], 1)["test"]))

    drawn(look)
    assert seen == ["<result of step 'divide', output 'test'>"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: total(factor=2), r"missing a required argument: 'values'. It takes \(values: 'list\[int\]', factor: 'int' = 1\)"),
        (lambda: total([1], 2, 3), "too many positional arguments"),
        (lambda: total([1], factr=2), "unexpected keyword argument 'factr'"),
        (lambda: total([1], values=[2]), "multiple values for argument 'values'"),
        (lambda: total.map(values=each([[1]]), facter=2), "unexpected keyword argument 'facter'"),
    ],
)
def test_a_step_called_wrongly_is_an_error_when_drawn(call: Any, message: str):
    def wrong() -> Any:
        return call()

    with pytest.raises(InvalidInput, match=message):
        drawn(wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: total.map(values=[1]), "mapped over nothing.*rate=each"),
        (lambda: scale.map(value=each([1, 2]), rate=each([1.0])), "different lengths: 'value' has 2, 'rate' has 1"),
        (lambda: scale.map(value=each([1]), max_parallel=0), "max_parallel of step 'scale' is 0"),
        (lambda: scale.map(value=each([1]), max_parallel=True), "max_parallel of step 'scale' is True"),
        (lambda: scale(each([1])), r"called with each\(…\).*Write scale.map\(…\)"),
        (lambda: keep([each([1])]), r"at \[0\] is a Each.*directly as an argument of .map"),
        (lambda: scale.map(value=each("abc")), r"each\(…\) was given a str"),
        (lambda: scale.map(value=each(5)), r"each\(…\) was given a int"),
        (lambda: scale.map(value=each({"a": 1})), r"each\(…\) was given a dict"),
        (lambda: scale.map(value=each(range(MAP_ITEMS_MAX + 1))), "more than 10,000"),
        (lambda: scale.map(value=each(iter(int, 1))), "more than 10,000 elements"),
        (lambda: scale.map(value=each([math.nan])), r"each\(…\) 'value' of step 'scale' at \[0\] is NaN"),
        (lambda: keep(1, when=True), r"when= of step 'keep' is a bool, not the result of a step.*ordinary `if`"),
        (lambda: keep(1, when=divide([1], 1)), "when= of step 'keep' is the result of step 'divide', which has several outputs"),
    ],
)
def test_control_flow_that_cannot_be_is_refused(call: Any, message: str):
    def wrong() -> Any:
        return call()

    with pytest.raises(InvalidInput, match=message):
        drawn(wrong)


def test_lists_of_different_lengths_known_late_are_refused_when_run():
    def late() -> Any:
        return scale.map(value=each(numbers(3)), rate=each([1.0, 2.0]))

    assert plan_mistakes(drawn(late).plan()) == []
    with pytest.raises(InvalidInput, match="'value' has 3, 'rate' has 2"):
        ran(late)

    def no_list() -> Any:
        return scale.map(value=each(total([1])))

    with pytest.raises(InvalidInput, match="'value' is a int"):
        ran(no_list)


@pytest.mark.parametrize("value", [1, None, "yes", {"passed": False}])
def test_only_true_and_false_decide(value: Any):
    def decided() -> Any:
        return keep(1, when=keep(value))

    with pytest.raises(InvalidInput, match="Step 'keep' decides whether another runs, but returned a"):
        ran(decided)


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        (Colour.RED, "red"),
        (np.float64(0.5), 0.5),
        (np.int32(7), 7),
        (np.bool_(True), True),
        ("x" * 100_000, "x" * 100_000),
        ("é\n\u2028😀", "é\n\u2028😀"),
        (-0.0, -0.0),
        (2**63 - 1, 2**63 - 1),
        ({}, {}),
    ],
)
def test_values_are_plain_json_in_the_plan_and_when_run(value: Any, plain: Any):
    def passed() -> Any:
        return keep(value)

    found = nodes_of(passed)["keep"]["arguments"]["value"]
    assert found == {"value": plain}
    assert type(found["value"]) is type(plain)
    assert ran(passed) == plain


class Unknown:
    """Not JSON."""


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


HOSTILE: dict[str, tuple[Any, str]] = {
    "NaN": (math.nan, "argument 'value' of step 'keep' is NaN, which JSON cannot carry"),
    "infinity": ({"rate": [1.0, math.inf]}, r"at \['rate'\]\[1\] is infinity"),
    "minus infinity": (-math.inf, "minus infinity"),
    "numpy NaN": (np.float32("nan"), "is NaN"),
    "large": (2**63, "more than 64 bits"),
    "huge": (10**5000, "more than 64 bits"),
    "NUL": ("a\x00b", "NUL character"),
    "surrogate": ("\ud800", "half of a surrogate pair"),
    "bytes": (b"abc", "is a bytes.*path from a step"),
    "set": ({1, 2}, r"is a set.*sorted\(value\)"),
    "path": (Path("a"), r"is a PosixPath.*str\(value\)"),
    "time": (datetime(2024, 1, 1, tzinfo=UTC), r"is a datetime.*isoformat\(\)"),
    "decimal": (Decimal(1), r"is a Decimal.*str\(value\)"),
    "array": (np.zeros(3), r"is a ndarray.*tolist\(\)"),
    "frame": (pl.DataFrame({"a": [1]}), "is a DataFrame.*Return it from a step"),
    "object": (Unknown(), "is a Unknown"),
    "class": (Unknown, "is a type"),
    "function": (len, "is a builtin_function_or_method"),
    "step": (numbers, "is a Step"),
    "number as key": ({1: 2}, r"has the key 1, a int.*str\(key\)"),
    "complex": (1j, "is a complex"),
    "deep": (nested(65), "nested deeper than 64 levels"),
    "very deep": (nested(100_000), "nested deeper than 64 levels"),
    "endless": (endless(), "nested deeper than 64 levels"),
    "long": ("x" * (1 << 20), "bytes; 1,048,576 are allowed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_values_that_no_record_can_hold_are_refused_by_name(name: str):
    value, message = HOSTILE[name]

    def passed() -> Any:
        return keep(value)

    with pytest.raises(GatelineError, match=message) as error:
        drawn(passed)
    assert isinstance(error.value, InvalidInput | TooLarge)
    assert len(str(error.value)) < 500


def test_defaults_are_checked_like_arguments():
    @step
    def odd(value: Any = math.nan) -> Any:
        return value

    def wrong() -> Any:
        return odd()

    with pytest.raises(InvalidInput, match="argument 'value' of step 'odd' is NaN"):
        drawn(wrong)


def test_a_loop_that_never_ends_is_stopped():
    def endless_loop() -> Any:
        while True:
            numbers(1)

    with pytest.raises(InvalidInput, match=f"calls more than {PLAN_NODES_MAX:,} steps"):
        drawn(endless_loop)


def test_recursion_is_refused():
    def recursive() -> Any:
        return numbers(recursive())

    with pytest.raises(InvalidInput, match="function of pipeline 'recursive' calls itself without end"):
        drawn(recursive)

    @pipeline
    def again() -> Any:
        return again()

    with pytest.raises(InvalidInput, match="Pipeline 'again' is called inside a pipeline"):
        again.graph()

    @pipeline
    def outer() -> Any:
        return keep(again.run())

    with pytest.raises(InvalidInput, match="Pipeline 'again' is called inside a pipeline"):
        outer.graph()
    with pytest.raises(InvalidInput, match=r"Write again.run\(…\)"):
        again()


def test_a_failed_drawing_leaves_nothing_behind():
    def wrong() -> Any:
        numbers(1)
        raise KeyError("own mistake")

    with pytest.raises(KeyError, match="own mistake"):
        drawn(wrong)
    assert numbers(2) == [0, 1]


def test_ordinary_functions_share_parts_of_pipelines():
    def prepared(count: int) -> Any:
        return total(numbers(count))

    def composed() -> Any:
        return keep([prepared(2), prepared(3)])

    assert list(nodes_of(composed)) == ["numbers", "total", "numbers-2", "total-2", "keep"]
    assert ran(composed) == [1, 3]


def test_a_result_of_another_graph_is_refused():
    kept: list[Any] = []

    def first() -> Any:
        kept.append(numbers(1))

    def second() -> Any:
        return keep(kept[0])

    drawn(first)
    with pytest.raises(InvalidInput, match="belongs to another graph"):
        drawn(second)


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
        cache=False, retries=2, retry_wait="10s", timeout="1h", memory="2GiB", cpus=0.5, executor="ray://head:10001", seed=7, approval="Go?"
    )
    def heavy() -> int:
        return 1

    assert heavy.options.as_dict() == {
        "cache": False, "retries": 2, "retry_wait_seconds": 10, "timeout_seconds": 3600, "memory_bytes": 2 << 30, "cpus": 0.5,
        "executor": "ray://head:10001", "env": None, "seed": 7, "approval": "Go?",
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
