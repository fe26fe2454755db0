"""Steps for Ray, as a project has them. What they do is written down in a folder that all nodes of this one machine see."""

import os
import time
from pathlib import Path
from typing import Annotated

import polars as pl

from gateline import context, each, pipeline, step

_FAR = "ray://auto?far=1"


def note(folder: str, what: str) -> None:
    """Add a line to what happened."""
    with (Path(folder) / "noted").open("a", encoding="utf-8") as file:
        file.write(f"{what} {os.getpid()}\n")


@step
def rows() -> pl.DataFrame:
    return pl.DataFrame({"x": list(range(50_000))})


@step(executor="ray://auto")
def scaled(table: pl.DataFrame, factor: int) -> Annotated[pl.DataFrame, "scaled"]:
    print(f"scaled by {factor} in {Path.cwd().name}")
    return table.with_columns(pl.col("x") * factor)


@step(executor="ray://auto")
def total(tables: list[pl.DataFrame]) -> int:
    return int(sum(table["x"].sum() for table in tables))


@step(executor=_FAR, cache=False)
def patient(folder: str) -> str:
    note(folder, "begun")
    print("patient has begun", flush=True)
    while not (Path(folder) / "go").exists():
        time.sleep(0.1)
    note(folder, "ended")
    return context().idempotency_key


@step(executor=_FAR, cache=False, timeout="2s")
def endless() -> int:
    time.sleep(600)
    return 1


@step(executor=_FAR, cache=False, memory="400MiB")
def greedy() -> int:
    kept = [bytearray(os.urandom(1 << 20)) for _ in range(1000)]
    time.sleep(60)
    return len(kept)


@step(executor=_FAR, cache=False)
def fans_out() -> list[int]:
    import ray

    ray.init(logging_level="error")
    square = ray.remote(num_cpus=0)(lambda value: value * value)
    return ray.get([square.remote(value) for value in range(5)])


@step(cache=False)
def plain(value: int = 1) -> int:
    return value + 1


@step(executor="ray://127.0.0.1:1", cache=False)
def nowhere() -> int:
    return 1


@step(executor="ray://auto?nothing=1", cache=False)
def never() -> int:
    return 1


@pipeline
def waits():
    return never()


@pipeline
def fan():
    return total(scaled.map(table=rows(), factor=each([1, 2, 3])))


@pipeline
def wait(folder: str):
    return patient(folder)


@pipeline
def limits():
    endless()
    greedy()
    return fans_out()


@pipeline
def lost():
    return nowhere()


@pipeline
def moved():
    return plain()
