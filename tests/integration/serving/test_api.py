"""Endpoints and predictions as users reach them: REST API, SDK and command line, with a real worker behind."""

import json

import pytest

from gateline.app import build
from gateline.cli import main
from gateline.kernel.clock import parse_iso
from gateline.kernel.errors import Conflict, Denied, InvalidInput, NotFound, Unauthenticated, Unavailable
from gateline.kernel.settings import Settings
from gateline.sdk.client import Client
from gateline.sdk.serving import Predictor, create_endpoint, endpoint, endpoints, prediction, prediction_lineage
from gateline.sdk.transport import InProcessTransport
from gateline.server.asgi import create_app
from gateline.serving import RouteArm
from tests.unit.serving.support import FEATURES, ROW, form_files

KINDS = {one.name: one.kind.value for one in FEATURES}


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    app = build(Settings(home=tmp_path_factory.mktemp("api") / "home", serving_port=0, workers=1, mlflow=False, log_level="error"))
    app.access.ensure_owner()
    yield app
    app.fleet.stop()
    app.records.close()


def client_of(application, token):
    """A client of its own: closing it closes its transport."""
    return Client(url="http://gateline.local", token=token, transport=InProcessTransport(create_app(application)))


@pytest.fixture(scope="module")
def owner(application):
    with client_of(application, application.access.ensure_owner()) as client:
        yield client


@pytest.fixture(scope="module")
def served(application, owner):
    """An endpoint that answers."""
    create_endpoint(owner, "flights", model="flight-delay", features=KINDS, latency_ms_p99=20.0)
    form = {name: application.objects.put_bytes(content).sha256 for name, content in form_files(1).items()}
    with application.ledger.transaction("operator") as tx:
        application.serving.publish_route(tx, "flights", [RouteArm(name="champion", version="flight-delay@1", weight=1.0, form=form)])
    application.serving.reconcile()
    application.fleet.start()
    application.fleet.wait_loaded("flights", 1)
    return application


def test_an_endpoint_is_created_listed_and_shown(owner):
    made = create_endpoint(owner, "quiet", model="flight-delay", features=KINDS, latency_ms_p99=5.0, environment="dev")
    assert made["features"][1] == {"name": "carrier", "kind": "categorical"}
    assert create_endpoint(owner, "quiet", model="flight-delay", features=KINDS, latency_ms_p99=5.0, environment="dev") == made
    assert "quiet" in [one["name"] for one in endpoints(owner)]
    shown = endpoint(owner, "quiet")
    assert (shown["route"], shown["records"], shown["watermark"]) == (None, 0, None)
    with pytest.raises(Conflict):
        create_endpoint(owner, "quiet", model="other", features=KINDS, latency_ms_p99=5.0, environment="dev")
    with pytest.raises(NotFound):
        endpoint(owner, "nowhere")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"},
        {"latency_ms_p99": 0},
        {"environment": "moon"},
        {"features": []},
        {"surprise": 1},
        {"features": [{"name": "a", "kind": "b"}]},
    ],
    ids=str,
)
def test_a_wrong_declaration_is_refused(owner, change):
    body = {"name": "wrong", "model": "m", "features": [{"name": "a", "kind": "numeric"}], "latency_ms_p99": 1.0} | change
    with pytest.raises(InvalidInput):
        owner.post("/endpoints", json=body)


def test_only_who_may_write_endpoints_creates_them(application):
    application.access.create_principal("owner", "a-viewer", ["viewer"])
    with client_of(application, application.access.create_token("owner", "a-viewer")) as viewer:
        assert isinstance(endpoints(viewer), list)
        with pytest.raises(Denied):
            create_endpoint(viewer, "x", model="m", features=KINDS, latency_ms_p99=1.0)


def test_a_prediction_is_requested_from_a_worker_and_found_in_the_records(served, owner):
    served.access.create_principal("owner", "the-replayer", ["replayer"], "service")
    token = served.access.create_token("owner", "the-replayer")
    served.serving.reconcile()
    with Predictor(served.fleet.url, "flights", token) as predictor:
        answers = _first_answer(predictor)
        assert len({one.prediction_id for one in answers}) == 2
        found = prediction(owner, answers[1].prediction_id)
        assert found["event_time"] == parse_iso("2013-04-01T10:00:00Z")
        assert found["event_time_source"] == "replay"
        assert (found["prediction"], found["entity"], found["request_id"]) == (answers[1].prediction, "N1", "r1")
        assert found["features"] == ROW | {"temp": None}
        with pytest.raises(InvalidInput, match="'wind' is unknown"):
            predictor.predict([ROW | {"wind": 1.0}])
    behind = prediction_lineage(owner, answers[0].prediction_id)
    assert behind["lineage"]["nodes"][0]["id"] == "flight-delay@1"
    shown = endpoint(owner, "flights")
    assert shown["route"]["arms"][0]["version"] == "flight-delay@1"
    assert shown["workers"][0]["generation"] == 1
    assert shown["watermark"] == parse_iso("2013-04-01T10:00:00Z")


REPLAYED = parse_iso("2013-04-01T06:00:00-04:00")


def _first_answer(predictor, event_time=REPLAYED):
    """The answer to two rows; a fresh token works as soon as the worker has read the new snapshot."""
    for _attempt in range(1000):
        try:
            return predictor.predict([ROW, ROW | {"temp": None}], entity="N1", request_id="r1", event_time=event_time)
        except Unauthenticated:
            continue
    raise AssertionError("the token never worked")


def test_workers_that_are_not_there_are_named():
    with Predictor("http://127.0.0.1:9", "flights", "gl_x") as predictor, pytest.raises(Unavailable, match="127.0.0.1:9"):
        predictor.predict([ROW])


def test_the_command_line_creates_shows_and_asks(served, tmp_path, monkeypatch, capsys):
    served.serving.reconcile()
    home = tmp_path / "home"
    monkeypatch.setenv("GATELINE_HOME", str(home))
    monkeypatch.setenv("GATELINE_MLFLOW", "false")

    def run(*arguments):
        status = main(["--json", "endpoint", *arguments])
        return status, capsys.readouterr()

    options = ["--model", "flight-delay", "--feature", "temp", "--feature", "carrier:categorical", "--latency-ms-p99", "10"]
    status, shown = run("create", "flights", *options)
    assert status == 0
    assert [one["kind"] for one in json.loads(shown.out)["features"]] == ["numeric", "categorical"]
    assert [one["name"] for one in json.loads(run("list")[1].out)] == ["flights"]
    assert json.loads(run("show", "flights")[1].out)["route"] is None
    assert main(["endpoint", "show", "flights"]) == 0
    assert "no version is released to it" in capsys.readouterr().out
    assert run("prediction", "prd_none")[0] == 1
    assert run("predict", "flights", "not json")[0] == 1
    token = served.access.create_token("owner", "owner")
    served.serving.reconcile()
    monkeypatch.setenv("GATELINE_TOKEN", token)
    with Predictor(served.fleet.url, "flights", token) as predictor:
        _first_answer(predictor, event_time=None)
    status, shown = run("predict", "flights", json.dumps(ROW), "--address", served.fleet.url)
    assert status == 0
    assert json.loads(shown.out)["version"] == "flight-delay@1"
