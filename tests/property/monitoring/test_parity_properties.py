"""Laws of comparing features: equal tables always agree, and any single altered value is found and named."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gateline.monitoring import ParityPlan, State
from gateline.monitoring.parity_model import Outcome
from gateline.monitoring.parity_rules import compare_feature, outcomes, smape

PLAN = ParityPlan(feature_set="any", rows_min=1, mismatch_max=0.0, missing_max=0.0, extra_max=0.0)
WHOLE = st.integers(-(2**53), 2**53)
FRACTION = st.floats(allow_nan=True, allow_infinity=False)
VALUES = {pl.Int64: WHOLE, pl.Float64: FRACTION, pl.Boolean: st.booleans(), pl.String: st.text(max_size=8)}


@st.composite
def columns(draw):
    """An offline column of any feature type, with missing values."""
    dtype = draw(st.sampled_from(list(VALUES)))
    return pl.Series(draw(st.lists(st.none() | VALUES[dtype], min_size=1, max_size=30)), dtype=dtype)


def as_logged(offline: pl.Series) -> pl.Series:
    """The column as the prediction log keeps it: text, or 64-bit floats."""
    return offline if offline.dtype == pl.String else offline.cast(pl.Float64)


def table(served: pl.Series, offline: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"prediction_id": [f"p{at}" for at in range(len(served))], "served": served, "offline": offline})


@given(columns())
def test_equal_tables_always_agree(offline):
    served = as_logged(offline)
    found = compare_feature("x", table(served, offline), PLAN)
    assert (found.mismatch, found.missing, found.extra, found.state) == (0, 0, 0, State.OK)
    assert found.examples == ()
    assert smape(served, offline) in {None, 0.0}


@given(columns(), st.data())
def test_any_single_altered_value_is_found_and_named(offline, data):
    served = as_logged(offline).to_list()
    place = data.draw(st.integers(0, len(served) - 1))
    before = served[place]
    absent = before is None or before != before  # noqa: PLR0124 - NaN is no value
    if offline.dtype == pl.String:
        other = data.draw(st.none() | st.text(max_size=8))
        assume_other = other != before
    else:
        other = data.draw(st.none() | st.floats(allow_nan=False))
        near = not absent and other is not None and abs(other - before) <= 2e-9 * max(abs(other), abs(before))
        assume_other = not (absent and other is None) and not near
    if not assume_other:
        return
    served[place] = other
    column = pl.Series(served, dtype=pl.String if offline.dtype == pl.String else pl.Float64)
    found = compare_feature("x", table(column, offline), PLAN)
    kind = "extra" if absent else "missing" if other is None else "mismatch"
    assert (found.mismatch + found.missing + found.extra, getattr(found, kind), found.kind) == (1, 1, kind)
    assert found.examples == (f"p{place}",)
    assert found.state is State.ALERT
    assert found.reason.startswith(f"x: {kind} ")


@given(columns(), columns())
def test_every_row_has_exactly_one_outcome_and_the_order_of_rows_is_of_no_account(first, second):
    size = min(len(first), len(second))
    served, offline = as_logged(first).head(size), second.head(size)
    found = outcomes(served, offline)
    assert found.null_count() == 0
    assert set(found.to_list()) <= {kind.value for kind in Outcome}
    assert outcomes(served.reverse(), offline.reverse()).reverse().to_list() == found.to_list()


@given(st.lists(st.tuples(FRACTION | st.none(), FRACTION | st.none()), min_size=1, max_size=30))
def test_smape_stays_within_its_range(pairs):
    found = smape(pl.Series([one for one, _ in pairs], dtype=pl.Float64), pl.Series([two for _, two in pairs], dtype=pl.Float64))
    assert found is None or 0 <= found <= 2
