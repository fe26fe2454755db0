"""Small steps to draw pipelines of."""

from __future__ import annotations

from typing import Annotated, Any

from gateline import step
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
