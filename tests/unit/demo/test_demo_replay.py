"""Requests as bytes, labels as rows, and a client that sends each request exactly once."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import polars as pl
import pytest

from gateline.demo.replay import LABELS_PER_BATCH, Cases, Replay, Target, prediction_id
from gateline.demo.wire import send_all
from gateline.kernel.errors import InvalidInput, Unavailable
from gateline.kernel.limits import LABEL_ROWS_MAX

TARGET = Target(host="127.0.0.1", port=1, endpoint="flight-delay", token="secret")


def cases() -> Cases:
    def at(hour: int) -> datetime:
        return datetime(2013, 4, 1, hour, tzinfo=UTC)

    rows = pl.DataFrame(
        {
            "row_id": ["a", "b", "c"],
            "t": [at(5), at(6), at(7)],
            "label": [1, None, 0],
            "label_available_at": [at(9), None, at(8)],
            "delay": [1.5, None, float("nan")],
            "carrier": ["UA", None, 'A"A'],
        },
        schema_overrides={"label_available_at": pl.Datetime("us", "UTC")},
    )
    return Cases(rows=rows, features={"delay": "numeric", "carrier": "categorical"})


def test_bodies_are_open_inference_requests_in_which_missing_values_are_null():
    bodies = [json.loads(body) for body in cases().bodies(np.arange(3))]
    values = [{one["name"]: one["data"][0] for one in body["inputs"]} for body in bodies]
    assert values == [{"delay": 1.5, "carrier": "UA"}, {"delay": None, "carrier": None}, {"delay": None, "carrier": 'A"A'}]
    assert bodies[0]["inputs"][0] == {"name": "delay", "datatype": "FP64", "shape": [1, 1], "data": [1.5]}
    assert bodies[0]["inputs"][1]["datatype"] == "BYTES"


def test_a_request_carries_token_event_time_and_stable_ids():
    text = cases().requests(TARGET, np.array([1]))[0].decode()
    head, _, body = text.partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0] == "POST /v2/models/flight-delay/infer HTTP/1.1"
    assert "authorization: Bearer secret" in lines
    assert "x-gateline-event-time: 2013-04-01T06:00:00.000000Z" in lines
    assert "x-request-id: b" in lines
    assert "x-gateline-entity: b" in lines
    assert f"content-length: {len(body)}" in lines


def test_labels_carry_the_request_and_the_time_of_arrival():
    assert cases().labels(np.array([0, 2])) == [
        {"request_id": "a", "label": 1, "event_time": 1_364_806_800_000_000},
        {"request_id": "c", "label": 0, "event_time": 1_364_803_200_000_000},
    ]


def test_batches_of_labels_stay_within_the_servers_limit():
    assert LABELS_PER_BATCH <= LABEL_ROWS_MAX


class Server:
    """An HTTP server that answers every request alike, and may break connections first; each connection has a thread of its own."""

    def __init__(self, *, break_first: int = 0, status: int = 200) -> None:
        self.seen: list[str] = []
        self._left, self._lock = break_first, threading.Lock()
        running = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                if running.breaks():
                    self.close_connection = True
                    return
                running.seen.append(name := self.headers["x-request-id"])
                body = json.dumps({"parameters": {"prediction_id": f"prd_{name}"}}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False  # closing waits for every connection
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def breaks(self) -> bool:
        """Whether this connection is to break."""
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def server():
    running: list[Server] = []

    def start(**options: int) -> Server:
        running.append(Server(**options))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def requests(server: Server, count: int) -> list[bytes]:
    target = Target(host="127.0.0.1", port=server.port, endpoint="e", token="t")
    rows = cases().rows
    many = pl.concat([rows.with_columns(row_id=pl.lit(f"{index}") + pl.col("row_id")) for index in range(count // 3)])
    return Cases(rows=many, features=cases().features).requests(target, np.arange(many.height))


def test_every_request_is_answered_once(server):
    running = server()
    answers = send_all("127.0.0.1", running.port, requests(running, 300), connections=8)
    assert answers.statuses == {200: 300}
    assert len(set(running.seen)) == len(running.seen) == 300
    assert len(answers.latencies_ms) == 300
    assert answers.failed == 0


def test_a_request_whose_connection_breaks_is_sent_again(server):
    running = server(break_first=2)
    answers = send_all("127.0.0.1", running.port, requests(running, 30), connections=4)
    assert answers.statuses == {200: 30}
    assert answers.resent == 2


def test_a_server_that_always_breaks_connections_is_reported(server):
    running = server(break_first=10**6)
    with pytest.raises(Unavailable, match="never answered"):
        send_all("127.0.0.1", running.port, requests(running, 3), connections=1)


def test_nobody_listening_is_reported_with_the_address(server):
    running = server()
    many = requests(running, 3)
    port = running.port
    running.stop()
    running.stop = lambda: None
    with pytest.raises(Unavailable, match=str(port)):
        send_all("127.0.0.1", port, many, connections=2)


def test_refusals_are_counted_and_the_first_is_kept(server):
    running = server(status=403)
    answers = send_all("127.0.0.1", running.port, requests(running, 9), connections=3)
    assert answers.statuses == {403: 9}
    assert answers.failed == 9
    assert answers.first_failure.startswith("403: ")


class Labels:
    """Stands where the API client stands, and remembers what is sent when."""

    def __init__(self, server: Server) -> None:
        self.server, self.sent = server, []

    def post(self, path: str, json: dict[str, Any]) -> None:
        self.sent.append((path, [one["request_id"] for one in json["labels"]], len(self.server.seen)))


def test_labels_are_sent_after_their_requests_and_never_for_a_cancelled_flight(server):
    running = server()
    client = Labels(running)
    replay = Replay(cases(), Target(host="127.0.0.1", port=running.port, endpoint="e", token="t"), client)
    replay.play_until(1_364_803_200_000_000 + 1)
    assert sorted(running.seen) == ["a", "b", "c"]
    assert client.sent == [("/endpoints/e/labels", ["c"], 3)]
    replay.play_remaining_labels()
    assert [ids for _, ids, _ in client.sent] == [["c"], ["a"]]
    assert replay.labelled_since(0) == 2
    assert replay.labelled_since(2) == 1
    assert prediction_id(replay.traffic.last_body).startswith("prd_")
    assert replay.traffic.requests == 3


def test_an_answer_without_a_prediction_is_refused():
    with pytest.raises(InvalidInput):
        prediction_id(b"{}")
