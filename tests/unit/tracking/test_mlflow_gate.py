"""The parts of the MLflow gate that need no MLflow: route list, tokens, artifact owners, the seal."""

from __future__ import annotations

import base64
import threading

import pytest

from gateline.access import Permission
from gateline.adapters.mlflow.asgi import token_of
from gateline.adapters.mlflow.loading import database_url
from gateline.adapters.mlflow.routes import permission_for
from gateline.adapters.mlflow.seal import RunSeal, owner_of
from gateline.kernel.errors import Unauthenticated

RUN, MODEL = "a" * 32, "m-" + "b" * 32


class Refusal(Exception):
    """What the guard raises here."""


class Guard:
    def refuse(self, what, *, subject, reason, next_step):
        raise Refusal(f"{what}: {reason} {next_step}")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", Permission.MLFLOW_READ),
        ("HEAD", "/health", Permission.MLFLOW_READ),
        ("GET", "/static-files/main.js", Permission.MLFLOW_READ),
        ("POST", "/graphql", Permission.MLFLOW_READ),
        ("POST", "/api/2.0/mlflow/runs/search", Permission.MLFLOW_READ),
        ("POST", "/ajax-api/2.0/mlflow/logged-models/search", Permission.MLFLOW_READ),
        ("POST", "/api/2.0/mlflow/registered-models/get-latest-versions", Permission.MLFLOW_READ),
        ("GET", f"/api/2.0/mlflow/logged-models/{MODEL}", Permission.MLFLOW_READ),
        ("GET", f"/api/2.0/mlflow-artifacts/artifacts/1/{RUN}/artifacts/a/b.txt", Permission.MLFLOW_READ),
        ("PUT", f"/api/2.0/mlflow-artifacts/artifacts/1/{RUN}/artifacts/a/b.txt", Permission.MLFLOW_WRITE),
        ("DELETE", "/ajax-api/2.0/mlflow/registered-models/alias", Permission.MLFLOW_WRITE),
        ("PATCH", f"/api/2.0/mlflow/logged-models/{MODEL}", Permission.MLFLOW_WRITE),
        ("POST", "/ajax-api/2.0/mlflow/upload-artifact", Permission.MLFLOW_WRITE),
        ("POST", "/api/2.0/mlflow/upload-artifact", None),
        ("PUT", "/api/2.0/mlflow/runs/search", None),
        ("OPTIONS", "/api/2.0/mlflow/runs/search", None),
        ("GET", "/api/2.0/mlflow/runs/get/", None),
        ("GET", "//api/2.0/mlflow/runs/get", None),
        ("GET", "/api/2.0/mlflow/RUNS/get", None),
        ("GET", "/gateway/x", None),
        ("POST", "/v1/traces", None),
        ("GET", "/api/2.0/mlflow-artifacts/presigned/1/x", None),
        ("POST", "/ajax-api/3.0/mlflow/ui-telemetry", None),
    ],
)
def test_only_listed_routes_are_served_and_searches_are_reads(method, path, expected):
    assert permission_for(method, path) is expected


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer  ", "Basic !!", "Basic " + base64.b64encode(b"only").decode(), "Digest x"])
def test_headers_without_a_token_are_unauthenticated(header):
    with pytest.raises(Unauthenticated, match="MLFLOW_TRACKING_TOKEN"):
        token_of(header)


def test_tokens_may_hold_colons():
    assert token_of("Basic " + base64.b64encode(b"me:a:b").decode()) == "a:b"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"1/{RUN}/artifacts/x", (RUN, "", "x")),
        (f"/1/{RUN}/artifacts/", (RUN, "", "")),
        (f"1/models/{MODEL}/artifacts/a/b\nc", ("", MODEL, "a/b\nc")),
    ],
)
def test_the_owner_of_an_artifact_is_read_from_its_path(path, found):
    owner = owner_of(path)
    assert (owner.run_id, owner.model_id, owner.rest) == found


@pytest.mark.parametrize(
    "path", ["", "1", f"1/{RUN}", f"1/{RUN}/other/x", "1/models", f"1/traces/{RUN}/artifacts/x", f"x/1/{RUN}/artifacts/y"]
)
def test_other_paths_have_no_owner(path):
    assert owner_of(path) is None


def test_a_postgresql_url_gets_the_driver_we_ship(tmp_path):
    assert database_url(tmp_path, "postgresql://u:p@h/db") == "postgresql+psycopg://u:p@h/db"
    assert database_url(tmp_path, "") == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_frozen_run_refuses_writes_and_a_yes_is_asked_once():
    asked = []
    seal = RunSeal(Guard(), lambda run_ids: asked.extend(run_ids) or run_ids & {"frozen"})
    for _ in range(2):
        with pytest.raises(Refusal, match="Start a new run"), seal.writing("frozen", "A write"):
            pass
        with seal.writing("open", "A write"):
            pass
    assert asked == ["frozen", "open", "open"]


def test_a_hold_waits_for_writes_under_way_and_refuses_new_ones():
    seal = RunSeal(Guard(), lambda _: set())
    writing, finish, held = threading.Event(), threading.Event(), threading.Event()

    def write():
        with seal.writing("run", "A write"):
            writing.set()
            finish.wait(10)

    def freeze():
        with seal.hold("run"):
            held.set()

    writer, freezer = threading.Thread(target=write), threading.Thread(target=freeze)
    writer.start()
    assert writing.wait(10)
    freezer.start()
    while True:
        try:
            with seal.writing("run", "A late write"):
                pass
        except Refusal:
            break
    assert not held.is_set()
    finish.set()
    assert held.wait(10)
    writer.join()
    freezer.join()
    with seal.writing("run", "A write after the hold"):
        pass
