import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from gateline.kernel.errors import GatelineError, InvalidInput, TooLarge
from gateline.serving.protocol import Answer, RequestDecoder, infer_answer, invocation_answer, invocation_error
from tests.unit.serving.support import FEATURES, ROW, infer_body

DECODER = RequestDecoder(FEATURES, rows_max=5)
VALUES = [12.5, "UA", 3.0]


def infer(body):
    return DECODER.infer(json.dumps(body).encode())


def invocation(body):
    return DECODER.invocation(json.dumps(body).encode())


def refusal(decode, body):
    with pytest.raises(InvalidInput) as refused:
        decode(body)
    return str(refused.value)


def changed(**fields):
    """A sound request whose first input has other fields."""
    body = infer_body()
    body["inputs"][0] |= fields
    return body


def test_names_win_over_order():
    body = infer_body()
    body["inputs"].reverse()
    assert infer(body).rows == [VALUES]
    assert invocation({"dataframe_split": {"columns": ["temp", "dep_delay", "carrier"], "data": [[3.0, 12.5, "UA"]]}}).rows == [VALUES]
    assert invocation({"dataframe_records": [dict(reversed(ROW.items()))]}).rows == [VALUES]


def test_whole_numbers_and_booleans_count_as_numbers_and_null_is_missing():
    assert infer(infer_body(dep_delay=3, temp=None)).rows == [[3.0, "UA", None]]
    assert infer(changed(data=[True], datatype="BOOL")).rows == [[1.0, "UA", 3.0]]
    assert infer(infer_body(carrier=None)).rows == [[12.5, None, 3.0]]
    assert all(
        type(value) is float
        for value in (infer(infer_body(dep_delay=3)).rows[0][0], invocation({"dataframe_records": [ROW | {"temp": 1}]}).rows[0][2])
    )


def test_many_rows_come_flat_or_nested():
    body = infer_body(dep_delay=[1.0, 2.0], carrier=["AA", None], temp=[None, 4])
    expected = [[1.0, "AA", None], [2.0, None, 4.0]]
    assert infer(body).rows == expected
    for tensor in body["inputs"]:
        tensor["data"] = [[value] for value in tensor["data"]]
    assert infer(body).rows == expected
    for tensor in body["inputs"]:
        tensor["shape"] = [2]
    assert infer(body).rows == expected


def test_the_request_carries_its_id_and_entity():
    found = infer(infer_body() | {"id": "r7", "parameters": {"entity_id": "N123", "other": 1}})
    assert (found.request_id, found.entity) == ("r7", "N123")
    assert "entity_id" in refusal(infer, infer_body() | {"parameters": {"entity_id": 7}})


def test_all_wrong_names_are_named_at_once_in_every_shape():
    body = infer_body()
    body["inputs"][0]["name"] = "wind"
    body["inputs"].append(body["inputs"][2])
    split = {"dataframe_split": {"columns": ["wind", "carrier", "temp", "temp"], "data": [[1.0, "AA", 2.0, 2.0]]}}
    for text in (refusal(infer, body), refusal(invocation, split)):
        for words in ("'wind' is unknown", "'dep_delay' is missing", "'temp' is given twice"):
            assert words in text
    assert "'temp' is missing" in refusal(invocation, {"dataframe_records": [{"dep_delay": 1.0, "carrier": "AA"}]})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (changed(datatype="BYTES", data=["x"]), "'dep_delay' has datatype BYTES, not a number type"),
        (changed(data=["x"]), "'dep_delay' is 'x' in row 0, not a number or null"),
        (changed(data=[{}]), "'dep_delay' is {} in row 0"),
        (changed(shape=[2, 1]), "has shape [2, 1] and 1 values"),
        (changed(shape=[]), "has shape [] and 1 values"),
        (changed(shape=[1, 2]), "has shape [1, 2]"),
        (changed(data=[10**400]), "not a number or null"),
        (changed(data=[1.0, 2.0], shape=[2]), "different numbers of rows: [1, 2]"),
        (changed(data=[], shape=[0]), "different numbers of rows: [0, 1]"),
    ],
    ids=range(9),
)
def test_wrong_types_and_shapes_are_refused_by_name(body, words):
    assert words in refusal(infer, body)


def test_text_is_needed_for_a_categorical_feature():
    assert "'carrier' is 7 in row 0, not text or null" in refusal(infer, infer_body(carrier=7))
    assert "'carrier' is True in row 0, not text" in refusal(invocation, {"dataframe_records": [ROW | {"carrier": True}]})
    body = infer_body()
    body["inputs"][1]["datatype"] = "FP64"
    assert "'carrier' has datatype FP64, not BYTES" in refusal(infer, body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"dataframe_split": {"columns": [], "data": []}, "dataframe_records": []},
        {"instances": [[1.0, "UA", 3.0]]},
        {"inputs": {"temp": [1]}},
    ],
    ids=["nothing", "both", "instances", "inputs"],
)
def test_an_invocation_needs_exactly_one_frame(body):
    assert "exactly one of 'dataframe_split' and 'dataframe_records'" in refusal(invocation, body)


def test_a_ragged_frame_is_refused():
    assert "row 1 has 2 values for 3 columns" in refusal(
        invocation, {"dataframe_split": {"columns": list(ROW), "data": [VALUES, VALUES[:2]]}}
    )


def test_too_many_rows_and_no_rows_are_refused():
    with pytest.raises(TooLarge, match="6 rows; at most 5"):
        infer(infer_body(dep_delay=[1.0] * 6, carrier=["AA"] * 6, temp=[1.0] * 6))
    assert "no rows" in refusal(invocation, {"dataframe_records": []})
    assert "no rows" in refusal(infer, infer_body(dep_delay=[], carrier=[], temp=[]))


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(max_size=8),
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.dictionaries(some.sampled_from(["name", "data", "shape", "datatype", "temp", "x"]), inner, max_size=5)
    ),
    max_leaves=12,
)
TENSOR = some.fixed_dictionaries(
    {
        "name": some.sampled_from(["dep_delay", "carrier", "temp", "wind"]),
        "datatype": some.sampled_from(["FP64", "BYTES", "BOOL", "", "FP65"]),
        "shape": some.lists(some.integers(-2, 4), max_size=3),
        "data": some.lists(JSON, max_size=4),
    }
)


@given(
    some.one_of(
        JSON,
        some.fixed_dictionaries({"inputs": some.lists(TENSOR, max_size=5)}),
        some.fixed_dictionaries({"dataframe_records": some.lists(JSON, max_size=3)}),
    )
)
@example({"inputs": [{"name": "temp", "datatype": "FP64", "shape": [1], "data": [[[1.0]]]}]})
def test_no_body_breaks_the_decoders(body):
    content = json.dumps(body).encode()
    for decode in (DECODER.infer, DECODER.invocation):
        try:
            rows = decode(content).rows
        except GatelineError:
            continue
        assert all(type(value) in (float, type(None)) for row in rows for value in (row[0], row[2]))
        assert all(type(row[1]) in (str, type(None)) and len(row) == 3 for row in rows)


@given(some.binary(max_size=60))
def test_no_bytes_break_the_decoders(content):
    for decode in (DECODER.infer, DECODER.invocation):
        with pytest.raises(GatelineError):
            decode(content)


def test_deeply_nested_bodies_are_refused_and_not_followed():
    with pytest.raises(GatelineError):
        DECODER.infer(b'{"inputs":[{"name":"temp","datatype":"FP64","shape":[1],"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}")


def test_answers_have_the_shapes_of_their_protocols():
    answer = Answer("flights", "r1", "flight-delay@3", 4, "canary", ["prd_a", "prd_b"], [0.25, 0.5])
    assert json.loads(infer_answer(answer)) == {
        "model_name": "flights",
        "model_version": "flight-delay@3",
        "id": "r1",
        "parameters": {"prediction_id": "prd_a", "arm": "canary", "generation": 4},
        "outputs": [
            {"name": "prediction", "shape": [2], "datatype": "FP64", "data": [0.25, 0.5]},
            {"name": "prediction_id", "shape": [2], "datatype": "BYTES", "data": ["prd_a", "prd_b"]},
        ],
    }
    found = json.loads(invocation_answer(answer))
    assert (found["predictions"], found["prediction_ids"]) == ([0.25, 0.5], ["prd_a", "prd_b"])
    assert json.loads(invocation_error(400, "no")) == {"error_code": "BAD_REQUEST", "message": "no"}
