"""A project with a search, written into a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SETTINGS = '[project]\nname = "searching"\n[pipelines]\ntrain = "flows:train"\nrandom = "flows:random_search"\n'
_FLOWS = """
import time
from pathlib import Path
from gateline import Pruned, Trial, choices, integers, log_uniform, median, pipeline, search, step

SPACE = {"rate": log_uniform(0.01, 0.3), "leaves": integers(8, 64), "layers": choices([8], [8, 8], None)}
BEGUN = Path(__file__).with_name("begun.txt")


def loss_of(trial: Trial, offset: float) -> float:
    layers = trial["layers"] or []
    return (trial["rate"] - 0.1) ** 2 + abs(trial["leaves"] - 30) / 100 + len(layers) / 10 + offset


@step
def offset() -> float:
    return 1.0


@search(pruner=median(startup_trials=3, warmup_steps=1), seed=7, retries=1)
def tune(trial: Trial, offset: float, pause: float = 0.0) -> float:
    with BEGUN.open("a") as file:
        file.write(f"{trial.number} {trial['rate']!r}\\n")
    loss = loss_of(trial, offset)
    for step_number in range(4):
        time.sleep(pause)
        trial.report(loss + 1 / (step_number + 1), step_number)
        if trial.should_prune():
            raise Pruned
    return loss


@search(sampler="random", direction="maximize", seed=3)
def draw(trial: Trial, pause: float = 0.0) -> float:
    time.sleep(pause)
    return trial["rate"]


@step
def fit(best: dict) -> dict:
    return {"number": best["number"], "value": best["value"], **best["parameters"]}


@pipeline
def train(trials: int = 8, max_parallel: int = 1, pause: float = 0.0):
    return fit(tune.search(offset=offset(), pause=pause, space=SPACE, trials=trials, max_parallel=max_parallel))


@pipeline
def random_search(trials: int = 8, max_parallel: int = 2, pause: float = 0.0):
    return fit(draw.search(space={"rate": log_uniform(0.01, 0.3)}, pause=pause, trials=trials, max_parallel=max_parallel))
"""


def write_searching(folder: Path) -> None:
    """Write the project."""
    folder.mkdir(parents=True)
    (folder / "gateline.toml").write_text(_SETTINGS, encoding="utf-8")
    (folder / "flows.py").write_text(_FLOWS, encoding="utf-8")
