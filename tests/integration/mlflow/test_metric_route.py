"""The short way for metrics against MLflow's own: the same answers, the same rows, the same refusals, one commit for many requests."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateline.adapters.mlflow.guard import Acting, acting_as
from gateline.adapters.mlflow.metric_writer import MetricWrite, MetricWriter, Point
from gateline.adapters.mlflow.metrics import parse
from gateline.adapters.mlflow.seal import RunSeal

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future

DEVELOPER = Acting(name="developer", internal=False, request="test")
ROUTE = "/api/2.0/mlflow/runs"

keys = st.sampled_from(["loss", "val/auc", "a b:c", "ünï"]) | st.sampled_from(["", ".", "../x", "a//b", "x?", "k" * 250, "k" * 251, "a\n"])
numbers = st.sampled_from([0, 0.0, -0.0, 1, 0.1, -2.5, 1e308, 5e-324, "NaN", "Infinity", "-Infinity"])
odd_values = st.sampled_from([None, True, "0.5", "high", 10**400, [], {}, "nan"])
times = st.sampled_from([0, 1, 2, 2**62]) | st.sampled_from([-1, 2**63, 1.0, 1.5, "2", None, True])
steps = st.sampled_from([0, 1, -1, 2**62]) | st.sampled_from([2**63, -(2**63), 1.0, "1", None, False])
good_points = st.fixed_dictionaries(
    {"key": st.sampled_from(["loss", "val/auc"]), "value": numbers, "timestamp": st.sampled_from([0, 1, 2])},
    optional={"step": st.sampled_from([-1, 0, 1])},
)
odd_points = st.fixed_dictionaries(
    {},
    optional={"key": keys, "value": numbers | odd_values, "timestamp": times, "step": steps, "model_id": st.just(""), "more": st.just(1)},
)
batches = st.fixed_dictionaries(
    {"metrics": st.lists(good_points, max_size=6) | st.lists(good_points | odd_points, max_size=3)},
    optional={"tags": st.just([]), "params": st.just([])},
)
requests_made = st.lists(st.tuples(st.just("log-batch"), batches) | st.tuples(st.just("log-metric"), good_points | odd_points), max_size=5)


def post(app, route, content, **headers):
    """Send one request to an ASGI app in this process."""

    async def send():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post(f"{ROUTE}/{route}", content=content, headers={"content-type": "application/json"} | headers)

    with acting_as(DEVELOPER):
        return asyncio.run(send())


@pytest.fixture
def new_run(served):
    tracking = served.mlflow.loaded().tracking

    def make():
        with acting_as(DEVELOPER):
            return tracking.create_run("0", "developer", 0, [], "metrics").info.run_id

    return make


def rows_of(served, run_id):
    """What both tables hold of a run."""
    with sqlite3.connect(served.home / "mlflow" / "mlflow.db") as connection:
        return [
            sorted(
                connection.execute(f"select key, value, timestamp, step, is_nan, typeof(value) from {table} where run_uuid = ?", (run_id,))
            )
            for table in ("metrics", "latest_metrics")
        ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(requests=requests_made)
def test_any_requests_leave_the_answers_and_rows_that_mlflow_leaves(served, new_run, requests):
    app = served.mlflow.loaded().app
    ours, theirs = new_run(), new_run()
    for route, document in requests:
        answers = [
            post(one, route, json.dumps({"run_id": run_id, **document}).encode()) for one, run_id in ((app, ours), (app.behind, theirs))
        ]
        assert answers[0].status_code == answers[1].status_code
        assert answers[0].text.replace(ours, "RUN") == answers[1].text.replace(theirs, "RUN")
        assert answers[0].headers["content-type"] == answers[1].headers["content-type"]
    assert rows_of(served, ours) == rows_of(served, theirs)


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", {}), (b"null", {}), (b"[]", {}), (b'"text"', {}), (b"{", {}), (b"\xff\xfe", {}), (b"[" * 100_000, {}),
        (b'{"run_id": "%s", "key": "a", "value": NaN, "timestamp": 1}', {}),
        (b'{"run_id": "%s", "key": "a", "value": 1e999, "timestamp": 1}', {}),
        (b'{"run_id": "%s", "key": "a", "value": 1, "timestamp": 1}', {"content-type": "text/plain"}),
        (b'{"runId": "%s", "key": "a", "value": 1, "timestamp": 1}', {}),
        (b'{"run_uuid": "%s", "key": "a", "value": 1, "timestamp": 1}', {}),
        (b'{"run_id": "%s", "run_uuid": "other", "key": "a", "value": 1, "timestamp": 1}', {}),
        (b'{"run_id": "00000000000000000000000000000000", "key": "a", "value": 1, "timestamp": 1}', {}),
        (b'{"run_id": "no run", "key": "a", "value": 1, "timestamp": 1}', {}),
    ],
)  # fmt: skip
def test_whatever_is_not_plain_is_answered_by_mlflow(served, new_run, content, headers):
    app, run_id = served.mlflow.loaded().app, new_run()
    content = content.replace(b"%s", run_id.encode())
    ours, theirs = (post(one, "log-metric", content, **headers) for one in (app, app.behind))
    assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)


def test_a_deleted_run_and_too_many_values_are_refused_in_mlflows_words(served, new_run):
    app, run_id = served.mlflow.loaded().app, new_run()
    points = [{"key": "a", "value": index, "timestamp": 1, "step": index} for index in range(1_001)]
    answer = post(app, "log-batch", json.dumps({"run_id": run_id, "metrics": points}).encode())
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    with acting_as(DEVELOPER):
        served.mlflow.loaded().tracking.delete_run(run_id)
    answer = post(app, "log-batch", json.dumps({"run_id": run_id, "metrics": points[:1]}).encode())
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert rows_of(served, run_id) == [[], []]


def test_plain_values_do_not_reach_mlflows_handlers(served, new_run, stock, monkeypatch):
    loaded = served.mlflow.loaded()

    async def refused(_scope, _receive, _send):
        raise AssertionError("MLflow's handler was asked")

    run_id = new_run()
    monkeypatch.setattr(loaded.metrics, "behind", refused)
    client = stock.MlflowClient()
    client.log_metric(run_id, "loss", float("nan"), step=3)
    client.log_batch(run_id, metrics=[stock.entities.Metric("auc", float("inf"), 5, index) for index in range(1_000)])
    metrics = served.tracking.read(run_id).metrics
    assert str(metrics["loss"]) == "nan"
    assert metrics["auc"] == 1.7976931348623157e308


def test_a_viewer_a_stranger_and_a_frozen_run_are_refused_on_the_short_way(served, stock):
    with stock.start_run() as run:
        stock.log_metric("loss", 1.0)
    run_id = run.info.run_id
    served.tracking.freeze("developer", run_id)
    body = {"run_id": run_id, "key": "loss", "value": 2.0, "timestamp": 2}
    assert served.request("POST", f"{ROUTE}/log-metric", token="", json=body).status_code == 401
    assert served.request("POST", f"{ROUTE}/log-metric", token=served.viewer, json=body).status_code == 403
    for route, document in (
        ("log-metric", body),
        ("log-batch", {"run_id": run_id, "metrics": [{"key": "loss", "value": 2.0, "timestamp": 2}]}),
    ):
        with served.refusal("frozen"):
            assert served.request("POST", f"{ROUTE}/{route}", json=document).status_code == 403
    big = {"run_id": run_id, "metrics": [{"key": "k" * 200, "value": 1.0, "timestamp": 1, "step": index} for index in range(900)]}
    with served.refusal("frozen"):
        assert served.request("POST", f"{ROUTE}/log-batch", json=big).status_code == 403
    assert served.tracking.read(run_id).metric_points == 1


class NoGuard:
    """A guard that is never asked: nothing is refused by the writer itself."""


def point(step, value=0.5):
    return Point("loss", value, 1, step, False)


def test_requests_that_come_together_are_committed_together_and_each_is_told_the_truth(served, new_run):
    from sqlalchemy import event

    engine, known, gone = served.mlflow.loaded().tracking.engine, [new_run(), new_run()], "f" * 32
    writer = MetricWriter(engine, RunSeal(NoGuard(), lambda _: set()))
    commits = []

    def committed(connection):
        commits.append(connection)

    event.listen(engine, "commit", committed)
    try:
        with ThreadPoolExecutor(21) as pool:
            with writer._committing:
                runs = [*known * 10, gone]
                asked = [pool.submit(writer.write, MetricWrite(run_id=one, points=(point(step),))) for step, one in enumerate(runs)]
                while len(writer._waiting) < len(runs):
                    threading.Event().wait(0.001)
            answers = [one.result(30) for one in asked]
    finally:
        event.remove(engine, "commit", committed)
    assert answers == [True] * 20 + [False]
    assert len(commits) == 1
    assert [len(rows_of(served, run_id)[0]) for run_id in known] == [10, 10]
    assert [row[3] for run_id in known for row in rows_of(served, run_id)[1]] == [18, 19]


def test_a_run_that_is_being_frozen_takes_no_values_and_the_others_of_the_group_do(served, new_run):
    seal, held, free = RunSeal(NoGuard(), lambda _: set()), new_run(), new_run()
    writer = MetricWriter(served.mlflow.loaded().tracking.engine, seal)
    with seal.hold(held):
        assert not writer.write(MetricWrite(run_id=held, points=(point(1),)))
        assert writer.write(MetricWrite(run_id=free, points=(point(1),)))
    assert rows_of(served, held) == [[], []]
    assert writer.write(MetricWrite(run_id=held, points=(point(1),)))


@pytest.mark.parametrize("trouble", ["full", "locked"])
def test_a_database_that_refuses_the_transaction_writes_nothing_and_says_so(served, new_run, trouble):
    from sqlalchemy import create_engine, event

    run_id, path = new_run(), served.home / "mlflow" / "mlflow.db"
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.05})

    @event.listens_for(engine, "connect")
    def no_room(connection, _record):
        if trouble == "full":
            connection.execute(f"pragma max_page_count = {connection.execute('pragma page_count').fetchone()[0]}")

    other = sqlite3.connect(path, isolation_level=None)
    if trouble == "locked":
        other.execute("begin immediate")
    writer = MetricWriter(engine, RunSeal(NoGuard(), lambda _: set()))
    many = tuple(Point(f"{'k' * 200}{index}", 0.5, 1, 1, False) for index in range(1_000))
    assert not writer.write(MetricWrite(run_id=run_id, points=many))
    other.close()
    engine.dispose()
    assert rows_of(served, run_id) == [[], []]


def test_many_clients_at_once_lose_nothing_and_leave_the_latest_value(served, stock):
    with stock.start_run() as run:
        pass
    run_id = run.info.run_id

    def log(step):
        body = {"run_id": run_id, "key": "loss", "value": step / 7, "timestamp": 1, "step": step}
        return served.request("POST", f"{ROUTE}/log-metric", json=body).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(log, range(300))) == {200}
    points, latest = rows_of(served, run_id)
    assert sorted(row[3] for row in points) == list(range(300))
    assert [row[3] for row in latest] == [299]


def test_numbers_that_no_64_bits_hold_are_left_to_mlflow():
    line = '{"run_id": "%s", "key": "loss", "value": %s, "timestamp": %s, "step": %s}'
    assert parse((line % ("a" * 32, "1", "1", "1")).encode(), batch=False) is not None
    for value, timestamp, step in (("1" + "0" * 400, "1", "1"), ("1", str(2**63), "1"), ("1", "1", str(2**63)), ("1" * 5_000, "1", "1")):
        assert parse((line % ("a" * 32, value, timestamp, step)).encode(), batch=False) is None
