import os
import signal
import socket
import time

import numpy as np
import polars as pl
import pytest

from gateline.kernel.errors import Conflict, InvalidInput, PortInUse
from gateline.kernel.settings import Settings
from gateline.serving import Fleet, probe_latency
from tests.integration.serving.support import post
from tests.unit.serving.support import ROW, write_form


def test_requests_wait_in_the_socket_while_a_dead_worker_is_replaced(installation, fleet):
    installation.create()
    installation.serve(installation.arm("champion", 1, 1.0), fleet=fleet)
    first = fleet.workers()[0].pid
    os.kill(first, signal.SIGKILL)
    assert post(fleet, installation.tokens["operator"]).status == 200
    (worker,) = fleet.workers()
    assert worker.pid != first
    assert worker.restarts == 1


def test_two_workers_share_the_port_and_write_logs_of_their_own(installation):
    installation.create()
    fleet = Fleet(Settings(home=installation.home, serving_port=0, workers=2))
    fleet.start()
    try:
        installation.serve(installation.arm("champion", 1, 1.0), fleet=fleet)
        assert len({worker.pid for worker in fleet.workers()}) == 2
        for _request in range(60):
            assert post(fleet, installation.tokens["operator"]).status == 200
    finally:
        fleet.stop()
    assert installation.serving.ingest() == 60


def test_workers_keep_serving_without_anybody_else_and_start_again_from_files_alone(installation, fleet):
    installation.create()
    installation.serve(installation.arm("champion", 1, 1.0), fleet=fleet)
    fleet.stop()
    again = Fleet(installation.settings)
    again.start()
    try:
        assert post(again, installation.tokens["operator"]).status == 200
    finally:
        again.stop()


def test_a_full_log_refuses_with_507_and_heals(installation):
    """The quota is that of the worker's process, set from outside while it runs."""
    import resource

    installation.create()
    fleet = Fleet(installation.settings)
    fleet.start()
    try:
        installation.serve(installation.arm("champion", 1, 1.0), fleet=fleet)
        token = installation.tokens["operator"]
        assert post(fleet, token).status == 200
        pid = fleet.workers()[0].pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (500, before[1]))
        answers = [post(fleet, token) for _request in range(5)]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        refused = [answer for answer in answers if answer.status != 200]
        assert refused
        assert {answer.status for answer in refused} == {507}
        assert "no space left" in refused[0].body["error"]
        assert refused[0].headers["retry-after"] == "1"
        assert post(fleet, token).status == 200
    finally:
        fleet.stop()
    assert installation.serving.ingest() == 2 + len(answers) - len(refused)
    assert list(installation.ledger.entries(kind="prediction.log.irregularity.found")) == []


def test_a_port_in_use_is_said_before_anything_starts(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        fleet = Fleet(Settings(home=home, serving_port=taken.getsockname()[1], workers=1))
        with pytest.raises(PortInUse, match="GATELINE_SERVING_PORT"):
            fleet.start()
    assert fleet.workers()[0].pid == 0
    fleet.stop()


def test_a_fleet_of_no_workers_binds_nothing(home):
    fleet = Fleet(Settings(home=home, serving_port=0, workers=0))
    fleet.start()
    with pytest.raises(Conflict):
        _ = fleet.port
    fleet.stop()


def test_a_fleet_is_stopped_quickly_with_idle_connections_open_and_may_be_stopped_twice(installation):
    fleet = Fleet(installation.settings)
    fleet.start()
    with socket.create_connection(("127.0.0.1", fleet.port)) as idle:
        idle.sendall(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200" in idle.recv(100)
        started = time.monotonic()
        fleet.stop()
        assert time.monotonic() - started < 8
    fleet.stop()


def test_the_probe_times_every_request_on_a_real_worker_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    directory = write_form(tmp_path / "form")
    rows = pl.DataFrame([ROW] * 60 + [ROW | {"temp": None}])
    times = probe_latency(directory, rows)
    assert times.shape == (61,)
    assert np.all(times > 0)
    assert list((tmp_path / "temporary").iterdir()) == []
    with pytest.raises(InvalidInput, match="lacks the features carrier"):
        probe_latency(directory, [{"dep_delay": 1.0, "temp": 2.0}])
