"""The server answers while MLflow loads, and one process serves one MLflow."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from gateline.adapters.mlflow import EmbeddedMlflow, State
from gateline.kernel.clock import SystemClock
from gateline.kernel.errors import Unavailable
from gateline.kernel.settings import Settings
from gateline.ledger import Ledger, SigningKey

ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def serving(home, **environment):
    """A server process on a free port; yields its address and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).parent / "serve.py"), str(home), str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def said_when_ready(process):
    """Read what the server prints once MLflow is ready; a library may have written to the same line before."""
    return next(json.loads(line[line.index('{"state"') :]) for line in process.stdout if '{"state"' in line)


def first_answer(url):
    while True:
        try:
            return requests.get(url, timeout=10)
        except requests.ConnectionError:
            time.sleep(0.02)


def test_the_server_answers_while_mlflow_loads_and_mlflow_says_when_to_come_back(tmp_path):
    with serving(tmp_path / "home") as (url, process):
        assert first_answer(f"{url}/health").json()["state"] == "loading"
        reply = requests.get(f"{url}/mlflow/api/2.0/mlflow/experiments/search?max_results=1", timeout=10)
        assert (reply.status_code, reply.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert int(reply.headers["retry-after"]) >= 1
        answered = 0
        while requests.get(f"{url}/health", timeout=10).json()["state"] == "loading":
            answered += 1
            time.sleep(0.1)
        assert answered >= 5
        assert said_when_ready(process)["state"] == "ready"
        assert requests.get(f"{url}/mlflow/api/2.0/mlflow/experiments/search?max_results=1", timeout=10).status_code == 401


def test_mlflow_keeps_its_tables_in_postgresql_when_told_to(tmp_path, postgresql):
    home, database = tmp_path / "home", postgresql.create()
    with serving(home, GATELINE_MLFLOW_URL=postgresql.url(database)) as (url, process):
        assert said_when_ready(process)["state"] == "ready"
        token = json.loads((home / "credentials.json").read_text(encoding="utf-8"))["token"]

        def call(method, path, body):
            headers = {"Authorization": f"Bearer {token}"}
            return requests.request(method, f"{url}/mlflow/api/2.0/mlflow/{path}", json=body, headers=headers, timeout=30)

        experiment = call("POST", "experiments/create", {"name": "on-postgresql"}).json()["experiment_id"]
        run_id = call("POST", "runs/create", {"experiment_id": experiment}).json()["run"]["info"]["run_id"]
        metrics = [{"key": "auc", "value": 0.5, "timestamp": 1, "step": 1}]
        assert call("POST", "runs/log-batch", {"run_id": run_id, "metrics": metrics}).status_code == 200
        assert call("GET", f"runs/get?run_id={run_id}", None).json()["run"]["data"]["metrics"][0]["value"] == 0.5
        assert_both_ways_agree(call, experiment)
        body = {"name": "m", "alias": "production", "version": "1"}
        assert call("POST", "registered-models/alias", body).status_code == 403
    assert not (home / "mlflow" / "mlflow.db").exists()
    postgresql.drop(database)


def assert_both_ways_agree(call, experiment):
    """A batch with a tag goes through MLflow's own code, one without takes the short way."""
    told = []
    for tags in ([], [{"key": "plain", "value": "no"}]):
        run_id = call("POST", "runs/create", {"experiment_id": experiment}).json()["run"]["info"]["run_id"]
        for value in (0, "NaN", -1, "Infinity", 0.25, 0.25):
            for step in (0, 2, 1, -1):
                points = [{"key": "loss", "value": value, "timestamp": 7, "step": step}]
                assert call("POST", "runs/log-batch", {"run_id": run_id, "metrics": points, "tags": tags}).status_code == 200
        history = call("GET", f"metrics/get-history?run_id={run_id}&metric_key=loss", None).json()["metrics"]
        latest = call("GET", f"runs/get?run_id={run_id}", None).json()["run"]["data"]["metrics"]
        told.append((sorted(history, key=str), latest))
    assert told[0] == told[1]
    assert len(told[0][0]) == 20


def test_every_metric_that_was_acknowledged_survives_a_killed_server(tmp_path):
    home, acknowledged = tmp_path / "home", []
    with serving(home) as (url, process):
        assert said_when_ready(process)["state"] == "ready"
        headers = {"Authorization": f"Bearer {json.loads((home / 'credentials.json').read_text(encoding='utf-8'))['token']}"}
        made_run = requests.post(f"{url}/mlflow/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, headers=headers, timeout=30)
        run_id = made_run.json()["run"]["info"]["run_id"]

        def log(first):
            with requests.Session() as session, contextlib.suppress(requests.RequestException):
                for step in range(first, 1_000_000, 4):
                    body = {"run_id": run_id, "key": "loss", "value": step / 7, "timestamp": 1, "step": step}
                    answer = session.post(f"{url}/mlflow/api/2.0/mlflow/runs/log-metric", json=body, headers=headers, timeout=30)
                    if answer.status_code == 200:
                        acknowledged.append(step)

        threads = [threading.Thread(target=log, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        while len(acknowledged) < 400:
            time.sleep(0.01)
        process.kill()
        for thread in threads:
            thread.join(60)
    with sqlite3.connect(home / "mlflow" / "mlflow.db") as connection:
        kept = {row[0] for row in connection.execute("select step from metrics where run_uuid = ?", (run_id,))}
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        latest = connection.execute("select step from latest_metrics where run_uuid = ?", (run_id,)).fetchone()[0]
    assert set(acknowledged) <= kept
    assert latest == max(kept)


def made(sqlite_ledger, home, **settings):
    def nobody(_token):
        raise AssertionError

    return EmbeddedMlflow(Settings(home=home, **settings), sqlite_ledger, nobody, lambda *_: False)


def test_switched_off_it_says_so(sqlite_ledger, home):
    mlflow = made(sqlite_ledger, home, mlflow=False)
    mlflow.start()
    assert mlflow.state is State.OFF
    with pytest.raises(Unavailable, match="GATELINE_MLFLOW"):
        mlflow.run_source.read("0" * 32)


def test_before_it_is_started_nothing_of_mlflow_is_imported(tmp_path):
    code = "import sys, gateline.adapters.mlflow; assert not [name for name in sys.modules if name.split('.')[0] == 'mlflow']"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.filterwarnings("default")
def test_a_second_mlflow_in_one_process_is_refused_and_a_stopped_one_makes_room(served, sqlite_ledger, home):
    second = made(sqlite_ledger, home)
    second.start()
    with pytest.raises(Unavailable, match="process-wide state"):
        second.wait()
    assert second.state is State.FAILED
    second.stop()
    assert served.mlflow.state is State.READY
    assert Ledger(sqlite_ledger.records, SystemClock(), SigningKey.load_or_create(home / "keys")).size() == 0
