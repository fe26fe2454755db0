"""The in-process transport behaves like the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anyio.to_thread
import httpx
import pytest

from gateline.sdk.transport import InProcessTransport


async def echo(scope, receive, send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"x-path", scope["path"].encode()), (b"x-query", scope["query_string"])],
        }
    )
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    await send({"type": "http.response.body", "body": body[len(body) // 2 :]})


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(transport=InProcessTransport(echo), base_url="http://test") as client:
        yield client


def test_bodies_go_in_and_come_out_whole(http: httpx.Client) -> None:
    content = bytes(range(256)) * 10_000
    answer = http.put("/a/b", params={"q": "1"}, content=content)
    assert answer.content == content
    assert (answer.headers["x-path"], answer.headers["x-query"]) == ("/a/b", "q=1")
    assert http.put("/", content=(content for _ in range(3))).content == content * 3
    with http.stream("PUT", "/", content=content) as streamed:
        assert b"".join(streamed.iter_bytes(1000)) == content


def test_many_threads_may_send_at_once(http: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        sent = [f"{number}".encode() * 1000 for number in range(64)]
        assert list(pool.map(lambda body: http.put("/", content=body).content, sent)) == sent


def test_an_application_that_raises_answers_500() -> None:
    async def broken(scope, receive, send) -> None:
        raise ZeroDivisionError

    with httpx.Client(transport=InProcessTransport(broken), base_url="http://test") as client:
        assert client.get("/").status_code == 500


def test_an_application_that_breaks_off_is_a_broken_connection() -> None:
    async def broken(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ZeroDivisionError

    with (
        httpx.Client(transport=InProcessTransport(broken), base_url="http://test") as client,
        pytest.raises(httpx.RemoteProtocolError, match="broke off"),
    ):
        client.get("/")


def test_requests_one_after_the_other_are_served_by_the_same_thread() -> None:
    """A thread for each would cost more than the request."""
    seen: set[int] = set()

    async def threaded(scope, receive, send) -> None:
        seen.add(await anyio.to_thread.run_sync(threading.get_ident))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with httpx.Client(transport=InProcessTransport(threaded), base_url="http://test") as client:
        for _ in range(5):
            assert client.get("/").status_code == 204
    assert len(seen) == 1


def test_closing_stops_the_thread_and_may_be_repeated() -> None:
    transport = InProcessTransport(echo)
    assert any(thread.name == "gateline-in-process" for thread in threading.enumerate())
    transport.close()
    transport.close()
    deadline = time.monotonic() + 5
    while any(thread.name == "gateline-in-process" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(thread.name == "gateline-in-process" for thread in threading.enumerate())
