"""What checks are given: the rows, the model's scores on them, the policy, and a way to probe a real worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateline.gates.forms import FormInput
from gateline.gates.model import CheckResult, ModelSubject
from gateline.gates.policy import Policy
from gateline.kernel.clock import iso
from gateline.kernel.errors import InvalidInput

Floats = NDArray[np.float64]
Score = Callable[[Path, pl.DataFrame], Floats]
"""Scores rows by the form in a folder: (folder, rows) -> probability of the label for each row."""

Probe = Callable[[Path, pl.DataFrame], Floats]
"""Sends each row as one request to a real worker that serves the form: (folder, rows) -> milliseconds of each request."""


Facts = Callable[[Policy], Mapping[str, Any]]
"""Tells what a check needs to know of the world outside the model: policy in, JSON out; equal as long as nothing has changed."""


@dataclass(frozen=True, kw_only=True)
class GateInputs:
    """Everything a check may look at. Values that cannot be had raise when they are asked for, and the check's verdict is then error.

    Attributes:
        frame: The holdout rows: features, label, dependence unit, time and slice columns; all rows, also those without a label.
        training: The rows the model was trained on, in the same columns.
        policy: The thresholds, and which columns mean what.
        subject: The model judged.
        champion: The version it is compared with, if any.
        form_inputs: The columns of the model.
        score_subject: Returns the model's scores of all rows of `frame`.
        score_champion: Returns the champion's scores of all rows of `frame`; None without a champion.
        probe: Times requests against a real worker that serves the form; rows in, milliseconds out.
        facts: Check to what other domains contribute for it; `{"error": …}` where they could not.
    """

    frame: pl.DataFrame
    training: pl.DataFrame
    policy: Policy
    subject: ModelSubject
    champion: ModelSubject | None
    form_inputs: Sequence[FormInput]
    score_subject: Callable[[], Floats]
    score_champion: Callable[[], Floats] | None
    probe: Callable[[pl.DataFrame], Floats]
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def has_label(self) -> NDArray[np.bool_]:
        """Which rows have a label, shape (rows,)."""
        return self._column(self.frame, "label", "holdout").is_not_null().to_numpy()

    @property
    def unlabelled(self) -> int:
        """Rows without a label, which are left out."""
        return int(np.count_nonzero(~self.has_label))

    @cached_property
    def labels(self) -> Floats:
        """The labels of the labelled rows, 0 or 1, shape (n,)."""
        return _labels(self._column(self.frame, "label", "holdout"), self.policy.label)

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """The dependence unit of each labelled row as a number, shape (n,); the day, the customer."""
        column = self._column(self.frame, "unit", "holdout")
        if missing := column.null_count():
            raise InvalidInput(f"{missing:,} holdout rows have no dependence unit ('{self.policy.unit}')")
        codes = column.rank("dense").cast(pl.Int64).to_numpy()
        return np.asarray(codes[self.has_label], dtype=np.int64)

    @cached_property
    def scores(self) -> Floats:
        """The model's probabilities of the labelled rows, shape (n,), each within 0 to 1."""
        return self._probabilities(self.score_subject(), "the model")

    @cached_property
    def champion_scores(self) -> Floats:
        """The champion's probabilities of the labelled rows, shape (n,)."""
        if self.score_champion is None or self.champion is None:
            raise InvalidInput("no champion was given to compare with")
        return self._probabilities(self.score_champion(), f"the champion {self.champion.version}".strip())

    @cached_property
    def base_rate(self) -> float:
        """The share of label 1 among the training rows: the trivial baseline predicts it for every row."""
        labels = _labels(self._column(self.training, "label", "training"), self.policy.label)
        if not len(labels):
            raise InvalidInput("the training rows have no labels, so there is no base rate")
        return float(labels.mean())

    @cached_property
    def window_start(self) -> int:
        """Time of the earliest holdout row, in UTC microseconds."""
        times = _instants(self._column(self.frame, "time", "holdout"))
        if not len(times):
            raise InvalidInput("the holdout has no times")
        return int(times.min())

    def require_unseen(self) -> None:
        """Check that no dependence unit of the holdout is among the training rows.

        Raises:
            InvalidInput: some are; results on them would flatter the model.
        """
        ours = self._column(self.frame, "unit", "holdout").unique().cast(pl.String)
        theirs = self._column(self.training, "unit", "training").unique().cast(pl.String)
        shared = sorted(set(ours.drop_nulls()) & set(theirs.drop_nulls()))
        if shared:
            examples = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
            raise InvalidInput(
                f"{len(shared):,} of {len(ours):,} {self.policy.noun}s of the holdout are also in the training rows ({examples})"
            )

    def require_later(self, subject: ModelSubject, who: str) -> None:
        """Check that the window begins after the training period of a model.

        Raises:
            InvalidInput: it does not, so the model may have seen these rows.
        """
        if subject is self.subject:
            times = _instants(self._column(self.training, "time", "training"))
            if len(times) and int(times.max()) > subject.trained_until:
                raise InvalidInput(
                    f"{who}'s training period is said to end {iso(subject.trained_until)}, "
                    f"but its training rows reach {iso(int(times.max()))}"
                )
        if subject.trained_until > self.window_start:
            raise InvalidInput(
                f"the window begins {iso(self.window_start)}, before {who}'s training period ends ({iso(subject.trained_until)}); "
                "use a window that neither model was trained on"
            )

    def _column(self, rows: pl.DataFrame, role: str, which: str) -> pl.Series:
        name = getattr(self.policy, role)
        if name not in rows.columns:
            raise InvalidInput(f"the {which} rows have no {role} column '{name}' (columns: {', '.join(rows.columns[:20])})")
        return rows.get_column(name)

    def _probabilities(self, scores: Floats, who: str) -> Floats:
        """Return the scores of the labelled rows, refusing what is no probability."""
        if scores.shape != (self.frame.height,):
            raise InvalidInput(f"{who} gave {scores.shape} scores for {self.frame.height:,} rows")
        chosen = np.asarray(scores, dtype=np.float64)[self.has_label]
        if wrong := int(np.count_nonzero(~np.isfinite(chosen))):
            raise InvalidInput(f"{wrong:,} of {len(chosen):,} scores of {who} are not numbers")
        if wrong := int(np.count_nonzero((chosen < 0) | (chosen > 1))):
            raise InvalidInput(f"{wrong:,} of {len(chosen):,} scores of {who} lie outside 0 to 1")
        return chosen


class Check(Protocol):
    """One question asked of a model. It returns results, also for what is missing; what it cannot do it raises."""

    def __call__(self, inputs: GateInputs, /) -> Sequence[CheckResult]:
        """Return one result or more."""
        ...


def _instants(column: pl.Series) -> NDArray[np.int64]:
    """Return the times that are there as UTC microseconds."""
    if column.dtype == pl.Datetime:
        column = column.dt.cast_time_unit("us").to_physical()
    elif column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us")).to_physical()
    elif not column.dtype.is_integer():
        raise InvalidInput(f"the time column '{column.name}' is {column.dtype}, not a timestamp or whole microseconds")
    return np.asarray(column.drop_nulls().cast(pl.Int64).to_numpy(), dtype=np.int64)


def _labels(column: pl.Series, name: str) -> Floats:
    """Return the labels that are there as 0.0 or 1.0."""
    known = column.drop_nulls()
    if not (known.dtype.is_numeric() or known.dtype == pl.Boolean):
        raise InvalidInput(f"the label column '{name}' is {known.dtype}, not 0 and 1")
    labels = known.cast(pl.Float64).to_numpy()
    if wrong := int(np.count_nonzero(~np.isin(labels, (0.0, 1.0)))):
        raise InvalidInput(f"{wrong:,} of {len(labels):,} labels in '{name}' are neither 0 nor 1")
    return np.asarray(labels, dtype=np.float64)
