"""A small LightGBM model with numeric and categorical columns, and what is needed to serve it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pandas as pd

from gateline.serving import FeatureKind, FeatureSpec, compile_served_form, identity_inputs

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = (
    FeatureSpec(name="dep_delay", kind=FeatureKind.NUMERIC),
    FeatureSpec(name="carrier", kind=FeatureKind.CATEGORICAL),
    FeatureSpec(name="temp", kind=FeatureKind.NUMERIC),
)
CARRIERS = ("AA", "B6", "DL", "UA")


@functools.cache
def training_table(seed: int = 1, rows: int = 3000) -> pd.DataFrame:
    """A table with missing values."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "dep_delay": random.normal(10, 20, rows),
            "carrier": pd.Categorical(random.choice(CARRIERS, rows), categories=CARRIERS),
            "temp": random.normal(15, 10, rows),
        }
    )
    table.loc[random.random(rows) < 0.05, "temp"] = np.nan
    return table


@functools.cache
def booster(seed: int = 1, trees: int = 30) -> lightgbm.Booster:
    """A model of lateness."""
    table, random = training_table(seed), np.random.default_rng(seed)
    chance = 1 / (1 + np.exp(-(table["dep_delay"] - 15) / 10 - (table["carrier"] == "UA") + table["temp"].fillna(0) / 40))
    label = (random.random(len(table)) < chance).astype(int)
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": seed, "min_data_per_group": 5}
    return lightgbm.train(parameters, lightgbm.Dataset(table, label), trees)


def model_text(seed: int = 1, trees: int = 30) -> str:
    return booster(seed, trees).model_to_string()


def form_files(seed: int = 1, *, trees: int = 30, positive: bool = True, **changes: dict[str, Any]) -> dict[str, bytes]:
    """The files of a served form; `changes` replace fields of inputs by column."""
    text = model_text(seed, trees)
    inputs = [
        {"column": one.column, "feature": one.feature, "kind": one.kind, "categories": one.categories} | changes.get(one.column, {})
        for one in identity_inputs(text, ["carrier"])
    ]
    return compile_served_form(text, inputs, positive=positive)


def write_form(directory: Path, files: dict[str, bytes] | None = None) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in (files or form_files()).items():
        (directory / name).write_bytes(content)
    return directory


def plain_rows(table: pd.DataFrame) -> list[list[Any]]:
    """Rows as requests carry them: None where a value is missing."""
    return [[None if pd.isna(value) else value for value in row] for row in table.astype(object).itertuples(index=False)]


ROW = {"dep_delay": 12.5, "carrier": "UA", "temp": 3.0}


def infer_body(**values: Any) -> dict[str, Any]:
    """An Open Inference Protocol request of one row, or of as many as the lists are long."""
    inputs = []
    for name, value in (ROW | values).items():
        data = value if isinstance(value, list) else [value]
        inputs.append({"name": name, "shape": [len(data), 1], "datatype": "BYTES" if name == "carrier" else "FP64", "data": data})
    return {"inputs": inputs}
