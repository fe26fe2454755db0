"""The client raises what the server refuses, waits when it is asked to, and never writes half a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from gateline.kernel.errors import ConfigurationError, Conflict, GatelineError, IntegrityFailure, NotFound, Unavailable, all_errors
from gateline.sdk import client as client_module
from gateline.sdk import local as local_module
from gateline.sdk.client import Client
from gateline.sdk.local import Local, open_local, register_local

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATELINE_URL", "GATELINE_TOKEN", "GATELINE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waiting moves a simulated clock, and is written down."""
    waited: list[float] = []
    monkeypatch.setattr(client_module.time, "sleep", waited.append)
    monkeypatch.setattr(client_module.time, "monotonic", lambda: sum(waited))
    return waited


def connect(handler: Handler, **options: str) -> Client:
    return Client(transport=httpx.MockTransport(handler), **options)


def problem(kind: type[GatelineError], **headers: str) -> httpx.Response:
    document = {"code": kind.code, "detail": "It failed.", "next_step": "Try again.", "facts": {"which": 1}, "status": kind.status}
    return httpx.Response(kind.status, json=document, headers={"content-type": "application/problem+json", **headers})


@pytest.mark.parametrize("kind", list(all_errors()), ids=lambda kind: kind.code)
def test_each_problem_comes_back_as_the_error_it_was(kind: type[GatelineError]) -> None:
    with connect(lambda _: problem(kind)) as client, pytest.raises(kind) as caught:
        client.get("/status")
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.next_step, caught.value.facts) == ("It failed.", "Try again.", {"which": 1})


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(500, text="<html>"), GatelineError),
        (httpx.Response(502, text="bad gateway"), Unavailable),
        (httpx.Response(404, json=["odd"]), GatelineError),
        (httpx.Response(409, json={"code": "conflict"}), GatelineError),
        (httpx.Response(302, headers={"location": "http://elsewhere"}), GatelineError),
    ],
)
def test_an_answer_that_is_no_problem_document_is_still_a_clear_error(answer: httpx.Response, kind: type[GatelineError]) -> None:
    with connect(lambda _: answer) as client, pytest.raises(kind, match=f"answered {answer.status_code}"):
        client.get("/status")


def test_an_unknown_code_of_a_newer_server_is_the_root_error() -> None:
    answer = httpx.Response(418, json={"code": "teapot", "detail": "No coffee."})
    with connect(lambda _: answer) as client, pytest.raises(GatelineError, match=r"No coffee\."):
        client.get("/status")


def test_it_waits_as_long_as_an_unavailable_server_asks(waits: list[float]) -> None:
    answers = [
        problem(Unavailable, **{"retry-after": "2"}),
        problem(Unavailable, **{"retry-after": "1"}),
        httpx.Response(200, json={"a": 1}),
    ]
    with connect(lambda _: answers.pop(0)) as client:
        assert client.post("/x", json={"b": 2}) == {"a": 1}
    assert waits == [2, 1]


def test_it_does_not_wait_for_ever(waits: list[float]) -> None:
    with connect(lambda _: problem(Unavailable, **{"retry-after": "7"})) as client, pytest.raises(Unavailable):
        client.get("/x")
    assert waits == [7, 7, 7, 7]


def test_it_does_not_wait_when_it_is_not_asked_to(waits: list[float]) -> None:
    with connect(lambda _: problem(Unavailable)) as client, pytest.raises(Unavailable):
        client.get("/x")
    with connect(lambda _: problem(Conflict, **{"retry-after": "1"})) as client, pytest.raises(Conflict):
        client.get("/x")
    assert waits == []


def test_a_server_that_does_not_answer_is_named_with_what_to_do() -> None:
    with Client(url="http://127.0.0.1:9") as client, pytest.raises(Unavailable) as caught:
        client.get("/status")
    assert "http://127.0.0.1:9 does not answer" in caught.value.message
    assert caught.value.next_step == "Start it with: gateline up"


def test_paths_are_below_the_api_and_the_token_is_sent() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    with connect(handler, url="http://server:1/", token="gl_secret") as client:
        assert client.get("/datasets", params={"limit": 3}) is None
        client.put("/a", json=[1])
        client.delete("/a")
    assert [str(request.url) for request in seen] == [
        "http://server:1/api/v1/datasets?limit=3", "http://server:1/api/v1/a", "http://server:1/api/v1/a",
    ]  # fmt: skip
    assert [request.method for request in seen] == ["GET", "PUT", "DELETE"]
    assert {request.headers["authorization"] for request in seen} == {"Bearer gl_secret"}


def test_url_and_token_come_from_the_environment_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATELINE_URL", "http://environment")
    monkeypatch.setenv("GATELINE_TOKEN", "gl_environment")
    with connect(lambda _: httpx.Response(204)) as client:
        assert (client.url, client.token) == ("http://environment", "gl_environment")
    with connect(lambda _: httpx.Response(204), url="http://given", token="gl_given") as client:
        assert (client.url, client.token) == ("http://given", "gl_given")


def test_the_owners_token_is_sent_only_to_the_server_of_its_own_folder(home: Path) -> None:
    (home / "credentials.json").write_text(json.dumps({"token": "gl_owner"}))
    with Client(url="http://127.0.0.1:1", home=home) as client:
        assert client.token == ""
    (home / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 1}))
    with Client(url="http://127.0.0.1:1", home=home) as client:
        assert client.token == "gl_owner"
    with Client(url="http://127.0.0.1:12", home=home) as client:
        assert client.token == ""


def test_an_upload_announces_its_digest_and_streams_a_file(tmp_path: Path) -> None:
    content = b"a\n" * 2_000_000
    (tmp_path / "data.csv").write_bytes(content)
    seen: list[tuple[str, bytes]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        body = request.read()
        seen.append((request.headers["x-gateline-sha256"], body))
        return httpx.Response(201, json={"sha256": hashlib.sha256(body).hexdigest(), "size_bytes": len(body)})

    with connect(handler) as client:
        assert client.upload(content) == client.upload(tmp_path / "data.csv") == client.upload(str(tmp_path / "data.csv"))
    assert seen == [(hashlib.sha256(content).hexdigest(), content)] * 3


def test_a_retried_upload_sends_the_file_from_its_start_again(tmp_path: Path, waits: list[float]) -> None:
    (tmp_path / "data").write_bytes(b"content")
    bodies: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        return problem(Unavailable, **{"retry-after": "1"}) if len(bodies) == 1 else httpx.Response(201, json={"sha256": "x"})

    with connect(handler) as client:
        client.upload(tmp_path / "data")
    assert bodies == [b"content", b"content"]


def test_a_missing_file_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    with connect(lambda _: httpx.Response(500)) as client, pytest.raises(NotFound, match=r"nothing\.csv"):
        client.upload(tmp_path / "nothing.csv")


def test_a_download_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    content = b"abc" * 1_000_000
    digest = hashlib.sha256(content).hexdigest()
    target = tmp_path / "deep" / "file"
    with connect(lambda _: httpx.Response(200, content=content)) as client:
        assert client.download(digest, target) == target
        assert target.read_bytes() == content
        with pytest.raises(IntegrityFailure):
            client.download("0" * 64, target)
    assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    class BreaksOff(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"abc"
            raise httpx.ReadError("cut")

    with connect(lambda _: httpx.Response(200, stream=BreaksOff())) as client, pytest.raises(Unavailable):
        client.download("0" * 64, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_download_raises_the_servers_error(tmp_path: Path) -> None:
    with connect(lambda _: problem(NotFound)) as client, pytest.raises(NotFound):
        client.download("0" * 64, tmp_path / "file")


def test_without_an_opener_a_server_must_be_named(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(local_module, "_openers", [])
    with pytest.raises(ConfigurationError, match="No server is named"):
        open_local(home)
    with pytest.raises(ConfigurationError):
        Client(home=home)


def test_the_local_folder_is_reached_through_its_server_or_in_process(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    closed: list[Path] = []

    async def application(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(dict(scope["headers"])[b"authorization"].decode()).encode()})

    def opener(folder: Path) -> Local:
        return Local(
            url="http://here",
            token="gl_owner",
            application=application,
            listen=lambda: "http://127.0.0.1:5",
            close=lambda: closed.append(folder),
        )

    monkeypatch.setattr(local_module, "_openers", [])
    register_local(opener)
    with Client(home=home) as client:
        assert client.in_process
        assert client.get("/whoami") == "Bearer gl_owner"
        assert client.address() == "http://127.0.0.1:5"
    assert closed == [home]
