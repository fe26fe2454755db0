"""What cannot be known yet, or kept by any record, is refused while a graph is drawn, not when it runs."""

from __future__ import annotations

import math
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
from tests.support.flows import divide, drawn, keep, nodes_of, numbers, ran, scale, total

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
