"""A real worker process over real HTTP."""

import json
import pathlib
import socket
import subprocess
import sys
import time

import pytest

from gateline.kernel.canonical import sha256_file
from gateline.kernel.errors import Unavailable
from gateline.serving import LoadedForm
from gateline.serving.log import log_files, read_log
from tests.integration.serving.support import post
from tests.unit.serving.support import FEATURES, ROW, form_files, infer_body, write_form

RSS_KILOBYTES_MAX = 90 * 1024
HEAVY = {"polars", "sqlalchemy", "lightgbm", "mlflow", "scipy", "pydantic", "pandas", "fastapi", "starlette", "cedarpy", "numpy"}


@pytest.fixture
def served(installation, fleet):
    installation.create()
    installation.serve(installation.arm("champion", 1, 1.0), fleet=fleet)
    return installation


@pytest.fixture
def token(served):
    return served.tokens["operator"]


def expected(tmp_path, seed=1, row=ROW):
    form = LoadedForm.load(write_form(tmp_path / f"expected-{seed}", form_files(seed)))
    return form.bind(FEATURES).score([row[one.name] for one in FEATURES])


def logged(installation):
    folder = installation.serving.folder / "log" / "flights"
    return [frame for files in log_files(folder).values() for _number, path in files for frame in read_log(path).frames]


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_both_protocols_answer_exactly_the_models_score(served, fleet, token, tmp_path):
    answer = post(fleet, token, infer_body() | {"id": "r1"})
    assert answer.status == 200
    assert answer.body["outputs"][0]["data"] == [expected(tmp_path)]
    assert (answer.body["id"], answer.body["model_name"], answer.body["model_version"]) == ("r1", "flights", "flight-delay@1")
    assert answer.body["parameters"]["arm"] == "champion"
    for body in ({"dataframe_records": [ROW]}, {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())]}}):
        found = post(fleet, token, body, path="/invocations?endpoint=flights")
        assert found.status == 200
        assert found.body["predictions"] == [expected(tmp_path)]
        assert found.body["model_version"] == "flight-delay@1"


def test_every_row_of_a_request_gets_an_id_and_a_record_before_the_answer(served, fleet, token, tmp_path):
    rows = infer_body(dep_delay=[1.0, None], carrier=["AA", "??"], temp=[2.0, 3])
    answer = post(fleet, token, rows, headers={"x-request-id": "req-7", "x-gateline-entity": "N1"})
    (frame,) = logged(served)
    ids = answer.body["outputs"][1]["data"]
    assert frame.prediction_ids == ids
    assert len(set(ids)) == 2
    assert frame.predictions == answer.body["outputs"][0]["data"]
    assert frame.features == [[1.0, "AA", 2.0], [None, "??", 3.0]]
    assert (frame.request_id, frame.entity, frame.version, frame.generation, frame.arm) == ("req-7", "N1", "flight-delay@1", 1, "champion")
    assert (frame.weight, frame.shadow, frame.replayed, frame.event_time) == (1.0, False, False, frame.received_at)
    assert all(latency > 0 for latency in frame.latencies_us)


def test_nobody_without_a_token_that_may_request_gets_an_answer(served, fleet, token):
    assert post(fleet, "").status == 401
    assert post(fleet, "gl_wrong").headers["www-authenticate"] == "Bearer"
    assert post(fleet, served.tokens["auditor"]).status == 401
    assert post(fleet, "", path="/v2/models/unknown/infer").status == 401
    assert post(fleet, token, path="/v2/models/unknown/infer").status == 404
    error = post(fleet, "", {"dataframe_records": [ROW]}, path="/invocations?endpoint=flights")
    assert (error.status, error.body["error_code"]) == (401, "UNAUTHENTICATED")
    assert logged(served) == []


def test_a_revoked_token_stops_working_after_the_next_pass(served, fleet, token):
    served.access.revoke_token("owner", served.access.find_token(token).id)
    assert served.serving.reconcile() == 1
    until(lambda: post(fleet, token).status == 401)


def test_event_time_is_set_only_by_a_replay(served, fleet, token):
    header = {"x-gateline-event-time": "2013-04-01T06:00:00-04:00"}
    refused = post(fleet, token, headers=header)
    assert refused.status == 403
    assert "prediction:replay" in refused.body["error"]
    replayer = served.tokens["replayer"]
    assert post(fleet, replayer, headers=header).status == 200
    for wrong in ("yesterday", "2013-04-01T06:00:00", "1364810400"):
        assert post(fleet, replayer, headers={"x-gateline-event-time": wrong}).status == 400
    (frame,) = logged(served)
    assert (frame.event_time, frame.replayed) == (1_364_810_400_000_000, True)
    assert frame.received_at > frame.event_time


def test_wrong_features_are_refused_by_name_and_not_logged(served, fleet, token):
    body = infer_body()
    body["inputs"][0]["name"] = "wind"
    answer = post(fleet, token, body)
    assert answer.status == 400
    assert "'wind' is unknown" in answer.body["error"]
    assert "'dep_delay' is missing" in answer.body["error"]
    found = post(fleet, token, {"dataframe_records": [ROW | {"temp": "hot"}]}, path="/invocations?endpoint=flights")
    assert (found.status, found.body["error_code"]) == (400, "BAD_REQUEST")
    assert "'temp' is 'hot' in row 0" in found.body["message"]
    for broken in (b"", b"{", b"[]", b"\xff"):
        assert post(fleet, token, broken).status == 400
    assert logged(served) == []


def test_limits_hold(served, fleet, token):
    assert post(fleet, token, b"x" * (8 * 1024 * 1024 + 1)).status == 413
    many = 10_001
    assert post(fleet, token, infer_body(dep_delay=[1.0] * many, carrier=["AA"] * many, temp=[1.0] * many)).status == 413
    assert post(fleet, token, headers={"x-other": "y" * 17_000}).status == 413
    assert post(fleet, token, headers={"x-request-id": "y" * 300}).status == 400
    assert post(fleet, token, headers={"Content-Encoding": "gzip"}).status == 400
    assert post(fleet, token).status == 200


def test_a_chunked_body_without_length_is_limited_too(served, fleet, token):
    with socket.create_connection(("127.0.0.1", fleet.port), timeout=20) as connection:
        head = f"POST /v2/models/flights/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        try:
            for _piece in range(10):
                connection.sendall(chunk)
            answer = connection.recv(200)
        except ConnectionError:
            answer = connection.recv(200)
    assert b"413" in answer.split(b"\r\n")[0]


def test_health_and_metadata_are_public_and_say_the_truth(served, fleet):
    for path in ("/v2/health/live", "/v2/health/ready", "/ping", "/v2", "/v2/models/flights/ready"):
        assert post(fleet, "", path=path, method="GET").status == 200, path
    metadata = post(fleet, "", path="/v2/models/flights", method="GET").body
    assert [(one["name"], one["datatype"]) for one in metadata["inputs"]] == [("dep_delay", "FP64"), ("carrier", "BYTES"), ("temp", "FP64")]
    assert post(fleet, "", path="/v2/models/none/ready", method="GET").status == 404
    assert post(fleet, "", path="/nothing", method="GET").status == 404
    assert post(fleet, "", path="/invocations", method="GET").status == 405


def test_a_canary_row_is_also_scored_by_the_champion_under_the_same_id(served, fleet, token, tmp_path):
    served.serve(served.arm("champion", 1, 0.5), served.arm("canary", 2, 0.5), fleet=fleet)
    answers = [post(fleet, token, headers={"x-gateline-entity": f"N{number}"}).body for number in range(40)]
    canary = {one["parameters"]["prediction_id"] for one in answers if one["parameters"]["arm"] == "canary"}
    champion = {one["parameters"]["prediction_id"] for one in answers if one["parameters"]["arm"] == "champion"}
    assert canary
    assert champion
    until(lambda: len(logged(served)) == 40 + len(canary))
    frames = logged(served)
    paired = {frame.prediction_ids[0]: frame for frame in frames if frame.shadow}
    assert set(paired) == canary
    assert {frame.arm for frame in paired.values()} == {"champion"}
    assert {frame.predictions[0] for frame in paired.values()} == {expected(tmp_path, 1)}
    assert {frame.predictions[0] for frame in frames if frame.arm == "canary"} == {expected(tmp_path, 2)}
    assert all(one["outputs"][0]["data"] == [expected(tmp_path, 2 if one["parameters"]["arm"] == "canary" else 1)] for one in answers)
    again = [post(fleet, token, headers={"x-gateline-entity": f"N{number}"}).body["parameters"]["arm"] for number in range(40)]
    assert again == [one["parameters"]["arm"] for one in answers]


def test_a_shadow_scores_every_champion_row_and_answers_none(served, fleet, token, tmp_path):
    served.serve(served.arm("champion", 2, 1.0), fleet=fleet, shadow=(served.arm("predecessor", 1, 0.0),))
    answers = [post(fleet, token).body for _number in range(5)]
    assert {one["model_version"] for one in answers} == {"flight-delay@2"}
    until(lambda: len(logged(served)) == 10)
    shadows = [frame for frame in logged(served) if frame.shadow]
    assert [frame.arm for frame in shadows] == ["predecessor"] * 5
    assert {frame.predictions[0] for frame in shadows} == {expected(tmp_path, 1)}
    assert [frame.prediction_ids[0] for frame in shadows] == [one["parameters"]["prediction_id"] for one in answers]


def test_a_damaged_form_keeps_the_old_route_and_says_why(served, fleet, token, tmp_path):
    document = served.serving.folder / "route-flights.json"
    damaged = write_form(tmp_path / "damaged", form_files(2))
    digests = {path.name: sha256_file(path) for path in damaged.iterdir()}
    (damaged / "model.txt").write_bytes((damaged / "model.txt").read_bytes() + b"\n")
    snapshot = json.loads(document.read_bytes()) | {"generation": 2}
    snapshot["arms"][0]["form"] = {"directory": str(damaged), "files": digests}
    document.write_text(json.dumps(snapshot))
    with pytest.raises(Unavailable, match="differs from its digest"):
        fleet.wait_loaded("flights", 2, seconds=1.0)
    assert post(fleet, token).body["model_version"] == "flight-delay@1"
    (worker,) = served.serving.state("flights")["workers"]
    assert worker["generation"] == 1
    assert digests["model.txt"] in worker["error"]
    write_form(damaged, form_files(2))
    until(lambda: _generation(served) == 2)
    document.write_text("{")
    until(lambda: "cannot be read" in served.serving.state("flights")["workers"][0]["error"])
    assert post(fleet, token).body["model_version"] == "flight-delay@1"
    served.publish(served.arm("champion", 2, 1.0))
    until(lambda: post(fleet, token).body["model_version"] == "flight-delay@2")
    until(lambda: served.serving.state("flights")["workers"][0]["error"] == "")


def _generation(served):
    return served.serving.state("flights")["workers"][0]["generation"]


def test_a_damaged_copy_is_replaced_from_the_object_store(served, fleet, token):
    arm = served.arm("champion", 2, 1.0)
    served.serve(arm, fleet=fleet)
    served.serve(served.arm("champion", 1, 1.0), fleet=fleet)
    copy = served.serving.folder / "forms" / arm.form["serving.json"] / "model.txt"
    copy.write_bytes(b"tree\nnonsense")
    served.serve(arm, fleet=fleet)
    assert post(fleet, token).body["model_version"] == "flight-delay@2"


def test_switching_routes_under_load_fails_no_request(served, fleet, token):
    arms = {f"flight-delay@{seed}": served.arm("champion", seed, 1.0) for seed in (1, 2)}
    for _round in range(3):
        for version, arm in arms.items():
            served.publish(arm)
            until(lambda version=version: _answered(fleet, token) == version)


def _answered(fleet, token):
    """The version that answered one request, which must not fail."""
    answer = post(fleet, token)
    assert answer.status == 200, answer.body
    return answer.body["model_version"]


def test_a_worker_is_small_and_loads_nothing_heavy(served, fleet, token):
    for _request in range(200):
        post(fleet, token)
    pid = fleet.workers()[0].pid
    with pathlib.Path(f"/proc/{pid}/status").open(encoding="utf-8") as status:
        memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert memory < RSS_KILOBYTES_MAX
    code = "import sys, gateline.serving.worker; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {
        "polars",
        "sqlalchemy",
        "lightgbm",
        "mlflow",
        "scipy",
        "pydantic",
        "pandas",
        "fastapi",
        "starlette",
        "cedarpy",
        "numpy",
    }
