"""The law of the logical digest: equal for equal rows in any order, layout and engine, and for nothing else."""

from __future__ import annotations

import io
import math
from datetime import UTC, date, datetime

import polars as pl
import pyarrow.parquet
from hypothesis import assume, given
from hypothesis import strategies as st

from gateline.data import Column, ColumnType
from gateline.data.logical import logical_digest
from gateline.data.reading import POLARS_TYPES, columns_of

VALUES = {
    ColumnType.INT64: st.integers(-(2**63), 2**63 - 1),
    ColumnType.FLOAT64: st.floats(),
    ColumnType.STRING: st.text(max_size=5),
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.DATE: st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    ColumnType.DATETIME: st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    ColumnType.NAIVE_DATETIME: st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
}


@st.composite
def frames(draw, rows_min=0):
    kinds = draw(st.lists(st.sampled_from(list(ColumnType)), min_size=1, max_size=4))
    schema = {f"c{place}": POLARS_TYPES[kind] for place, kind in enumerate(kinds)}
    rows = draw(st.lists(st.tuples(*(st.none() | VALUES[kind] for kind in kinds)), min_size=rows_min, max_size=12))
    return pl.DataFrame(rows, schema=schema, orient="row")


def digest_of(frame):
    return logical_digest(frame, columns_of(frame))


@given(frames(), st.randoms(use_true_random=False))
def test_any_permutation_gives_the_same_digest(frame, random):
    order = list(range(frame.height))
    random.shuffle(order)
    assert digest_of(frame[order]) == digest_of(frame)


@given(frames(rows_min=1), st.data())
def test_any_split_into_files_gives_the_same_digest(frame, data):
    cut = data.draw(st.integers(0, frame.height))
    files = []
    for part in (frame[cut:], frame[:cut]):
        files.append(io.BytesIO())
        part.write_parquet(files[-1])
        files[-1].seek(0)
    assert digest_of(pl.concat([pl.read_parquet(file) for file in files])) == digest_of(frame)


@given(frames(rows_min=1))
def test_what_another_engine_wrote_gives_the_same_digest(frame):
    content = io.BytesIO()
    pyarrow.parquet.write_table(frame.to_arrow(), content, row_group_size=3, use_dictionary=False, compression="snappy")
    content.seek(0)
    assert digest_of(pl.read_parquet(content)) == digest_of(frame)
    assert digest_of(pl.from_arrow(pyarrow.parquet.read_table(content))) == digest_of(frame)


@given(frames(rows_min=1), st.data())
def test_any_changed_value_gives_another_digest(frame, data):
    column = data.draw(st.sampled_from(frame.columns))
    kind = next(one.dtype for one in columns_of(frame) if one.name == column)
    row = data.draw(st.integers(0, frame.height - 1))
    before, after = frame[column][row], data.draw(st.none() | VALUES[kind])
    assume(not same(before, after))
    values = frame[column].to_list()
    values[row] = after
    changed = frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))
    assert digest_of(changed) != digest_of(frame)


@given(frames(rows_min=1))
def test_a_duplicate_a_missing_row_another_name_or_type_give_another_digest(frame):
    schema = columns_of(frame)
    last = schema[-1]
    others = {digest_of(frame), digest_of(pl.concat([frame, frame[:1]])), digest_of(frame[1:])}
    others.add(digest_of(frame.rename({last.name: "other"})))
    wider = [*schema[:-1], Column(name=last.name, dtype=next(kind for kind in ColumnType if kind != last.dtype), nullable=last.nullable)]
    others.add(logical_digest(frame, wider))
    assert len(others) == 5


def test_zeros_and_nans_of_any_sign_and_payload_are_one_value():
    strange = pl.Series("x", [0x7FF8000000000001, -1], dtype=pl.Int64).to_frame().select(pl.col("x").reinterpret(dtype=pl.Float64))
    assert strange["x"].is_nan().all()
    assert digest_of(strange) == digest_of(pl.DataFrame({"x": [math.nan, -math.nan]}))
    assert digest_of(pl.DataFrame({"x": [-0.0]})) == digest_of(pl.DataFrame({"x": [0.0]}))


def test_missing_is_neither_zero_nor_empty():
    for present, kind in ((0, pl.Int64), (0.0, pl.Float64), (math.nan, pl.Float64), ("", pl.String), (False, pl.Boolean)):
        some, none = pl.DataFrame({"x": [present]}, schema={"x": kind}), pl.DataFrame({"x": [None]}, schema={"x": kind})
        assert digest_of(some) != digest_of(none)


def test_texts_do_not_run_into_each_other():
    assert digest_of(pl.DataFrame({"x": ["ab", "c"]})) != digest_of(pl.DataFrame({"x": ["a", "bc"]}))


def test_the_digest_is_the_documented_one():
    """Computed once by hand from the documented encoding: it must never change."""
    import hashlib

    from gateline.kernel.canonical import digest

    frame = pl.DataFrame({"n": [2, None], "s": ["é", "a"]})
    n = hashlib.sha256(b"\x02" + (0).to_bytes(8, "little") + (2).to_bytes(8, "little")).hexdigest()
    s = hashlib.sha256(b"\x03" + (1).to_bytes(8, "little") + (2).to_bytes(8, "little") + "aé".encode()).hexdigest()
    expected = {"schema": [["n", "int64"], ["s", "string"]], "row_count": 2, "columns": [n, s]}
    assert digest_of(frame) == digest("dataset.rows", expected)


def same(left, right):
    return left == right or (isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right))
