"""Workers are killed in the middle of load; what was acknowledged must be on record, once."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateline.serving import Fleet
from gateline.serving.log import log_files
from tests.integration.serving.support import Installation
from tests.unit.serving.support import infer_body

KILLS = 5
CALLERS = 4
LOAD_SECONDS = 0.4


@pytest.fixture
def installation(home, sqlite_ledger):
    found = Installation(home, sqlite_ledger)
    found.create()
    found.publish(found.arm("champion", 1, 0.5), found.arm("canary", 2, 0.5))
    return found


class Caller(threading.Thread):
    """Sends requests until told to stop, and keeps a journal of the ids it was given."""

    def __init__(self, port: int, token: str, stop: threading.Event) -> None:
        super().__init__()
        self._port, self._token, self._halt = port, token, stop
        self.acknowledged: list[str] = []
        self.refused: list[int] = []

    def run(self) -> None:
        body = json.dumps(infer_body())
        while not self._halt.is_set():
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)) as connection:
                    while not self._halt.is_set():
                        connection.request("POST", "/v2/models/flights/infer", body, {"Authorization": f"Bearer {self._token}"})
                        answer = connection.getresponse()
                        content = json.loads(answer.read())
                        if answer.status == 200:
                            self.acknowledged.append(content["parameters"]["prediction_id"])
                        else:
                            self.refused.append(answer.status)
            except (OSError, http.client.HTTPException, ValueError):
                continue  # this request was not acknowledged; the next connection waits in the listening socket


@pytest.mark.slow
def test_no_acknowledged_prediction_is_missing_or_doubled_after_kills_under_load(installation):
    fleet, stop = Fleet(installation.settings), threading.Event()
    fleet.start()
    callers = [Caller(fleet.port, installation.tokens["operator"], stop) for _caller in range(CALLERS)]
    try:
        fleet.wait_loaded("flights", 1)
        for caller in callers:
            caller.start()
        for kill in range(KILLS):
            before = sum(len(caller.acknowledged) for caller in callers)
            deadline = time.monotonic() + 30
            while sum(len(caller.acknowledged) for caller in callers) < before + 50:
                assert time.monotonic() < deadline, "the worker does not answer"
                time.sleep(0.01)
            time.sleep(LOAD_SECONDS * (kill + 1) / KILLS)
            installation.serving.ingest()  # segments are made while the worker writes, too
            os.kill(fleet.workers()[0].pid, signal.SIGKILL)
            deadline = time.monotonic() + 30
            while fleet.workers()[0].restarts <= kill or fleet.workers()[0].status is None:
                assert time.monotonic() < deadline, "the worker was not replaced"
                time.sleep(0.01)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
        fleet.stop()
    while installation.serving.ingest():
        pass
    journal = [one for caller in callers for one in caller.acknowledged]
    table = installation.serving.predictions("flights", columns=["prediction_id", "arm", "shadow"])
    answered = table.filter(~table["shadow"])["prediction_id"].to_list()
    assert len(journal) > KILLS * 50
    assert len(set(answered)) == len(answered)
    assert set(journal) - set(answered) == set()
    assert table.n_unique(["prediction_id", "arm"]) == table.height
    assert len(log_files(installation.serving.folder / "log" / "flights")["w0"]) == KILLS + 1
    assert [status for caller in callers for status in caller.refused] == []
    entries = installation.ledger.entries(kind="prediction.log.irregularity.found")
    assert all(entry.payload["missing_frames"] == 0 for entry in entries), "a kill may tear the last frame, never lose one before it"
    installation.serving.verify_segments("flights")


def test_stopping_in_order_loses_nothing_either_not_even_shadow_rows(installation):
    fleet, stop = Fleet(installation.settings), threading.Event()
    fleet.start()
    fleet.wait_loaded("flights", 1)
    caller = Caller(fleet.port, installation.tokens["operator"], stop)
    caller.start()
    deadline = time.monotonic() + 30
    while len(caller.acknowledged) < 100:
        assert time.monotonic() < deadline, "the worker does not answer"
        time.sleep(0.01)
    stop.set()
    caller.join()
    pid = fleet.workers()[0].pid
    fleet.stop()
    assert not Path(f"/proc/{pid}").exists()
    installation.serving.ingest()
    table = installation.serving.predictions("flights", columns=["prediction_id", "arm", "shadow"])
    assert set(caller.acknowledged) <= set(table.filter(~table["shadow"])["prediction_id"])
    canary = set(table.filter(table["arm"] == "canary")["prediction_id"])
    assert canary
    assert set(table.filter(table["shadow"])["prediction_id"]) == canary


SUPERVISOR = """
import sys, time
from pathlib import Path
from gateline.kernel.settings import Settings
from gateline.serving import Fleet
fleet = Fleet(Settings(home=Path(sys.argv[1]), serving_port=0, workers=2))
fleet.start()
print(*[worker.pid for worker in fleet.workers()], flush=True)
time.sleep(600)
"""


def test_workers_end_with_a_supervisor_that_was_killed(home):
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(home)], stdout=subprocess.PIPE, text=True) as supervisor:
        pids = [int(pid) for pid in supervisor.stdout.readline().split()]
        assert len(pids) == 2
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        supervisor.kill()
        deadline = time.monotonic() + 15
        while any(_lives(pid) for pid in pids):
            assert time.monotonic() < deadline, "a worker outlived its supervisor"
            time.sleep(0.02)


def _lives(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
