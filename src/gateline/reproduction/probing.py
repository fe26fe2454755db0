"""Predicting the same rows by two models, and comparing what comes of it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import GatelineError
from gateline.reproduction.model import LossInterval, Predictions
from gateline.serving import score_matrix
from gateline.stats import log_loss_rows, resample_units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gateline.data import ObjectStore
    from gateline.gates import Policy

    Floats = NDArray[np.float64]

PROBE_ROWS_MAX = 100_000
PREDICTION = "prediction"


def score(objects: ObjectStore, files: Mapping[str, str], rows: pl.DataFrame) -> Floats:
    """Return what a served form predicts, by one thread, as a worker would.

    Raises:
        GatelineError: a file is lost or damaged, it is no served form, or the rows lack a feature.
    """
    with tempfile.TemporaryDirectory(prefix="gateline-form-") as temporary:
        for name, sha256 in files.items():
            target = Path(temporary) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(objects.verified_path(sha256), target)
        return np.asarray(score_matrix(Path(temporary), rows, threads=1), dtype=np.float64)


def sample(rows: pl.DataFrame) -> pl.DataFrame:
    """Return at most `PROBE_ROWS_MAX` rows, evenly spread: the same ones each time."""
    step = -(-rows.height // PROBE_ROWS_MAX)
    return rows if step <= 1 else rows.gather_every(step)


def predicted_by_step(objects: ObjectStore, sha256: str) -> pl.DataFrame | None:
    """Return the frame that a step returned when it holds predictions; None when it does not, or cannot be read."""
    try:
        path = objects.verified_path(sha256)
        if PREDICTION not in pl.read_parquet_schema(path) or not pl.read_parquet_schema(path)[PREDICTION].is_numeric():
            return None
        return sample(pl.read_parquet(path, hive_partitioning=False))
    except (GatelineError, pl.exceptions.PolarsError, OSError):
        return None


def compare_predictions(source: str, expected: Floats, found: Floats) -> Predictions:
    """Return how predictions of the same rows differ; another number of rows differs without end."""
    differing, changed = np.inf, len(expected)
    if expected.shape == found.shape:
        one_missing = np.isnan(expected) != np.isnan(found)
        gaps = np.abs(np.where(expected == found, 0.0, expected - found))
        differing = np.inf if one_missing.any() else float(np.nanmax(gaps, initial=0.0))
        known = np.concatenate([expected, found])
        are_probabilities = bool(((known >= 0) & (known <= 1) | np.isnan(known)).all())
        changed = int(np.count_nonzero((expected >= 0.5) != (found >= 0.5))) if are_probabilities else 0
    return Predictions(
        source=source, rows=len(expected), expected_sha256=_bits(expected), found_sha256=_bits(found), largest_difference=float(differing),
        decisions_changed=changed,
    )  # fmt: skip


def compare_losses(rows: pl.DataFrame, expected: Floats, found: Floats, policy: Policy) -> LossInterval | None:
    """Return the log loss of both on the labelled rows, with the interval of the first; None when it is not defined."""
    if expected.shape != found.shape or not {policy.label, policy.unit} <= set(rows.columns):
        return None
    label = rows.get_column(policy.label).cast(pl.Float64, strict=False).to_numpy()
    usable = np.isin(label, (0.0, 1.0)) & ~np.isnan(expected) & ~np.isnan(found)
    scores = np.concatenate([expected[usable], found[usable]])
    if not usable.any() or ((scores < 0) | (scores > 1)).any():
        return None
    units = np.asarray(rows.get_column(policy.unit).cast(pl.String).fill_null("").to_numpy()[usable], dtype=str)
    losses = log_loss_rows(label[usable], expected[usable])
    interval = resample_units(losses, units, seed=policy.seed, level=policy.level, resamples=policy.resamples)
    again = float(log_loss_rows(label[usable], found[usable]).mean())
    return LossInterval(
        expected=float(losses.mean()), found=again, lower=interval.lower, upper=interval.upper, level=policy.level,
        units=len(np.unique(units)),
    )  # fmt: skip


def _bits(values: Floats) -> str:
    return sha256_bytes(np.ascontiguousarray(values, dtype="<f8").tobytes())
