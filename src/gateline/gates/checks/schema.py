"""Schema: the holdout rows have the columns, types, categories and completeness that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from gateline.gates.forms import FormInput
from gateline.gates.inputs import GateInputs
from gateline.gates.model import CheckResult, Sense, Verdict
from gateline.gates.policy import SchemaPolicy
from gateline.gates.rules import counted

_NAME = "schema"
_SHOWN = 3


def check_schema(inputs: GateInputs) -> list[CheckResult]:
    """Return one exact result: the number of violations, of which none is allowed.

    A violation is a model column that is missing from the holdout or from the training rows, has another type there, holds infinite
    numbers, misses more values than in training (by more than the policy's increase), or has too many values the model has no category
    for.
    """
    if not inputs.frame.height:
        return [CheckResult(name=_NAME, verdict=Verdict.INCONCLUSIVE, sentence="the holdout has no rows, so its schema shows nothing", n=0)]
    violations = [
        violation for one in inputs.form_inputs for violation in _violations(one, inputs.frame, inputs.training, inputs.policy.schema)
    ]
    columns = counted(len(inputs.form_inputs), "model column")
    sentence = f"{counted(len(violations), 'violation')} in {columns} over {counted(inputs.frame.height, 'row')}; required at most 0"
    if violations:
        sentence += ": " + "; ".join(violations[:_SHOWN]) + (f"; and {len(violations) - _SHOWN} more" if len(violations) > _SHOWN else "")
    return [
        CheckResult(
            name=_NAME,
            verdict=Verdict.FAIL if violations else Verdict.PASS,
            sentence=sentence,
            value=float(len(violations)),
            threshold=0.0,
            sense=Sense.AT_MOST,
            n=inputs.frame.height,
            details={"violations": violations, "columns": len(inputs.form_inputs)},
        )
    ]


def _violations(one: FormInput, frame: pl.DataFrame, training: pl.DataFrame, policy: SchemaPolicy) -> Iterator[str]:
    """Yield what is wrong with one column."""
    absent = [which for which, rows in (("holdout", frame), ("training", training)) if one.column not in rows.columns]
    if absent:
        yield f"'{one.column}' is missing from the {' and '.join(absent)} rows"
        return
    ours, theirs = frame.get_column(one.column), training.get_column(one.column)
    if _family(ours.dtype) != _family(theirs.dtype):
        yield f"'{one.column}' is {ours.dtype}, in training {theirs.dtype}"
        return
    missing, before = ours.null_count() / len(ours), theirs.null_count() / max(1, len(theirs))
    if missing - before > policy.null_share_increase_max:
        yield f"'{one.column}' misses {missing:.1%} of its values, in training {before:.1%}"
    if ours.dtype.is_float() and (infinite := int(ours.is_infinite().sum())):
        yield f"'{one.column}' holds {counted(infinite, 'infinite number')}"
    if one.kind == "categorical" and one.categories:
        known = ours.drop_nulls().cast(pl.String)
        unseen = ~np.isin(known.to_numpy(), one.categories)
        share = float(unseen.mean()) if len(known) else 0.0
        if share > policy.unseen_category_share_max:
            example = str(known.to_numpy()[unseen][0])
            yield f"'{one.column}' has {share:.1%} values that are no category of the model, such as '{example}'"


def _family(dtype: pl.DataType) -> str:
    """Return the kind of a type: whole and decimal numbers of every width are one kind, texts and categories another."""
    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "text"
    return str(dtype.base_type())
