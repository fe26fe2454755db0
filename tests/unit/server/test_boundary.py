"""The layer around the application: one shape for errors, limits on what comes in, headers on what goes out."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Iterator

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from gateline.kernel import limits
from gateline.kernel.errors import GatelineError, all_errors
from gateline.sdk.transport import InProcessTransport
from gateline.server import boundary, problems
from gateline.server.boundary import Boundary

KINDS = {kind.code: kind for kind in all_errors()}


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=3)
    count: int


def application() -> FastAPI:
    api = FastAPI(openapi_url=None)

    @api.post("/body")
    def take(body: Body) -> dict[str, str]:
        return {"name": body.name}

    @api.get("/raise/{code}")
    def fail(code: str) -> None:
        raise KINDS[code]("It failed.", next_step="Try again.", facts={"which": 1})

    @api.get("/bug")
    def bug() -> None:
        raise ZeroDivisionError("secret detail")

    @api.get("/full")
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    @api.get("/broken-off")
    def broken_off() -> StreamingResponse:
        def pieces() -> Iterator[bytes]:
            yield b"begun"
            raise ZeroDivisionError

        return StreamingResponse(pieces())

    @api.put("/stream")
    async def stream(request: Request) -> int:
        return sum([len(piece) async for piece in request.stream()])

    problems.install(api)
    api.add_middleware(Boundary)
    return api


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(transport=InProcessTransport(application()), base_url="http://test") as client:
        yield client


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert set(document) == set(problems.SCHEMA["required"])
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:gateline:error:{code}"
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_error_of_the_tree_becomes_a_problem_document(http: httpx.Client, kind: type[GatelineError]) -> None:
    document = assert_problem(http.get(f"/raise/{kind.code}"), kind.status, kind.code)
    assert document["detail"] == "It failed."
    assert document["next_step"] == "Try again."
    assert document["facts"] == {"which": 1}


def test_who_is_not_known_learns_how_to_say_who_it_is(http: httpx.Client) -> None:
    assert http.get("/raise/unauthenticated").headers["www-authenticate"] == 'Bearer realm="gateline"'
    assert http.get("/raise/unavailable").headers["retry-after"] == "1"


def test_all_mistakes_of_a_body_are_named_at_once_and_values_are_not_repeated(http: httpx.Client) -> None:
    document = assert_problem(http.post("/body", json={"name": "secret", "colour": 1}), 400, "invalid_input")
    places = {mistake["where"] for mistake in document["facts"]["mistakes"]}  # type: ignore[index]
    assert places == {"body.name", "body.count", "body.colour"}
    assert str(document["detail"]).startswith("The request has 3 mistakes: ")
    assert "secret" not in str(document)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_body_that_is_no_such_json_is_invalid_input(http: httpx.Client, content: bytes) -> None:
    assert_problem(http.post("/body", content=content, headers={"content-type": "application/json"}), 400, "invalid_input")


def test_unknown_paths_and_methods_are_problems_too(http: httpx.Client) -> None:
    assert_problem(http.get("/nothing"), 404, "not_found")
    answer = http.delete("/body")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_an_unforeseen_error_tells_the_client_nothing_and_the_log_everything(http: httpx.Client) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = http.get("/bug", headers={"x-request-id": "my-request.1"})
    document = assert_problem(answer, 500, "error")
    assert "secret detail" not in answer.text
    assert "ZeroDivision" not in answer.text
    assert "my-request.1" in str(document["next_step"])
    failure = next(event for event in logged if event["event"] == "http.failed")
    assert isinstance(failure["exc_info"], ZeroDivisionError)
    assert failure["request_id"] == "my-request.1"


def test_a_full_disk_is_named_as_such(http: httpx.Client) -> None:
    assert_problem(http.get("/full"), 507, "storage_full")


def test_an_answer_that_breaks_off_is_not_passed_off_as_whole() -> None:
    sent: list[str] = []

    bodies = [b""]

    async def receive() -> dict[str, object]:
        if not bodies:
            await asyncio.Event().wait()
        bodies.pop()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(str(message["type"]))

    scope = {
        "type": "http", "method": "GET", "path": "/broken-off", "raw_path": b"/broken-off", "query_string": b"", "headers": [],
        "scheme": "http", "server": ("test", 80), "client": ("test", 1), "http_version": "1.1", "asgi": {"version": "3.0"}, "root_path": "",
    }  # fmt: skip
    with pytest.raises((ZeroDivisionError, BaseExceptionGroup)):
        asyncio.run(application()(scope, receive, send))  # type: ignore[arg-type]
    assert sent.count("http.response.start") == 1


def test_a_body_over_the_limit_is_refused_by_its_length_or_as_it_comes(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "REQUEST_BYTES_MAX", 1000)
    assert http.put("/stream", content=b"x" * 1000).json() == 1000
    assert_problem(http.put("/stream", content=b"x" * 1001), 413, "too_large")
    assert_problem(http.put("/stream", content=(b"x" * 400 for _ in range(3))), 413, "too_large")
    assert_problem(
        http.post("/body", content=(b"1" * 400 for _ in range(3)), headers={"content-type": "application/json"}), 413, "too_large"
    )


def test_uploads_have_their_own_limit() -> None:
    assert boundary.UPLOAD_BYTES_MAX == limits.UPLOAD_BYTES_MAX
    scope = {"type": "http", "path": "/api/v1/files", "headers": []}
    assert boundary.Exchange(scope, None, None)._limit == limits.UPLOAD_BYTES_MAX  # type: ignore[arg-type]
    scope = {"type": "http", "path": "/api/v1/filesystem", "headers": []}
    assert boundary.Exchange(scope, None, None)._limit == limits.REQUEST_BYTES_MAX  # type: ignore[arg-type]


def test_a_length_that_is_no_number_is_refused(http: httpx.Client) -> None:
    assert_problem(http.put("/stream", content=b"x", headers={"content-length": "-1"}), 400, "invalid_input")


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é", "a\tb"])
def test_a_request_id_that_could_harm_the_log_is_replaced(http: httpx.Client, given: str) -> None:
    answer = http.get("/nothing", headers={b"x-request-id": given.encode()})
    assert re.fullmatch(r"req_[0-9a-z]{26}", answer.headers["x-request-id"])


def test_answers_carry_security_headers_and_are_not_kept_by_caches(http: httpx.Client) -> None:
    headers = http.get("/nothing").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "same-origin"
    foreign = http.get("/mlflow/nothing").headers
    assert "content-security-policy" not in foreign
    assert foreign["x-content-type-options"] == "nosniff"


def test_each_request_leaves_one_event_without_query_and_headers(http: httpx.Client) -> None:
    with structlog.testing.capture_logs() as logged:
        http.get("/nothing", params={"token": "gl_secret"}, headers={"authorization": "Bearer gl_secret"})
    (event,) = [one for one in logged if one["event"] == "http.request"]
    assert (event["method"], event["path"], event["status"]) == ("GET", "/nothing", 404)
    assert "gl_secret" not in str(logged)
