"""Sending prepared HTTP/1.1 requests as fast as one process can: keep-alive connections, one request in flight on each.

The bytes of every request exist before the clock starts, and answers are parsed by llhttp. What is measured is the server, not the client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httptools
import uvloop

from gateline.kernel.errors import Unavailable

_ATTEMPTS_MAX = 3
_CONNECT_SECONDS = 10.0
_CLOSING_TURNS_MAX = 100
_ANSWER_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Answers:
    """What came back for a batch of requests.

    Attributes:
        statuses: Number of answers for each HTTP status.
        seconds: Wall time of the batch, in seconds.
        latencies_ms: Time of each request from its first byte out to its last byte in, in milliseconds; not in the order of requests.
        resent: Requests sent again because their connection broke before the answer.
        last_body: Body of the last answer with status 200.
        first_failure: Status and body of the first other answer; empty when there was none.
    """

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    resent: int = 0
    last_body: bytes = b""
    first_failure: str = ""

    @property
    def failed(self) -> int:
        """Answers with a status other than 200."""
        return sum(count for status, count in self.statuses.items() if status != 200)


class _Feed:
    """Hands out the requests of one batch and collects their answers."""

    def __init__(self, requests: Sequence[bytes], done: asyncio.Future[None]) -> None:
        self.open: set[Any] = set()
        self.requests = requests
        self.answers = Answers()
        self.done = done
        self._next = 0
        self._again: list[int] = []
        self._attempts: dict[int, int] = {}
        self._open = len(requests)
        if not requests:
            done.set_result(None)

    def take(self) -> int | None:
        """Return the index of the next request to send, or None."""
        if self._again:
            return self._again.pop()
        index = self._next
        if index >= len(self.requests):
            return None
        self._next = index + 1
        return index

    def answered(self, status: int, milliseconds: float, body: bytes) -> None:
        """Count one answer."""
        answers = self.answers
        answers.statuses[status] = answers.statuses.get(status, 0) + 1
        answers.latencies_ms.append(milliseconds)
        if status == 200:
            answers.last_body = body
        elif not answers.first_failure:
            answers.first_failure = f"{status}: {body[:500].decode(errors='replace')}"
        self._open -= 1
        if self._open == 0 and not self.done.done():
            self.done.set_result(None)

    def broken(self, index: int) -> None:
        """Put a request whose connection broke back, or give up after three attempts."""
        self._attempts[index] = self._attempts.get(index, 1) + 1
        if self._attempts[index] > _ATTEMPTS_MAX:
            self.fail(f"A request was sent {_ATTEMPTS_MAX} times and never answered.")
        self.answers.resent += 1
        self._again.append(index)

    def fail(self, why: str) -> None:
        """End the batch with an error."""
        if not self.done.done():
            self.done.set_exception(Unavailable(why, next_step="Look at the server's log in the home folder."))


class _Connection(asyncio.Protocol):
    """One keep-alive connection; the next request goes out when the answer to the last one is complete."""

    def __init__(self, feed: _Feed, lost: Callable[[], None]) -> None:
        self._feed = feed
        self._lost = lost
        self._transport: Any = None
        self._parser: Any = None
        self._body: list[bytes] = []
        self._index: int | None = None
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._feed.open.add(transport)
        self._parser = httptools.HttpResponseParser(self)
        self._send()

    def _send(self) -> None:
        self._index = self._feed.take()
        if self._index is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(self._feed.requests[self._index])

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the answer's body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Count the answer and send the next request."""
        if self._index is None:
            return
        elapsed = (time.perf_counter() - self._sent) * 1000
        self._index = None
        self._feed.answered(self._parser.get_status_code(), elapsed, b"".join(self._body))
        self._body.clear()
        if self._parser.should_keep_alive():
            self._parser = httptools.HttpResponseParser(self)
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not change what is done
        self._feed.open.discard(self._transport)
        if self._index is not None:
            self._feed.broken(self._index)
        if not self._feed.done.done():
            self._lost()


async def _close(feed: _Feed, connecting: set[asyncio.Task[None]]) -> None:
    """End what is still connecting or open, so that nothing is left to the collector."""
    tasks = list(connecting)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for transport in list(feed.open):
        transport.abort()
    for _ in range(_CLOSING_TURNS_MAX):
        if not feed.open:
            return
        await asyncio.sleep(0)


async def _send_all(host: str, port: int, requests: Sequence[bytes], connections: int) -> Answers:
    loop = asyncio.get_running_loop()
    feed = _Feed(requests, loop.create_future())
    pending: set[asyncio.Task[None]] = set()

    async def connect() -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await loop.create_connection(lambda: _Connection(feed, reconnect), host, port)
        except (OSError, TimeoutError) as error:
            feed.fail(f"No connection to the inference workers at {host}:{port}: {error}.")

    def reconnect() -> None:
        task = loop.create_task(connect())
        pending.add(task)
        task.add_done_callback(pending.discard)

    started = time.perf_counter()
    for _ in range(min(connections, max(1, len(requests)))):
        reconnect()
    try:
        async with asyncio.timeout(_ANSWER_SECONDS + len(requests) / 50):
            await feed.done
        feed.answers.seconds = time.perf_counter() - started
    except TimeoutError as error:
        raise Unavailable(f"The inference workers at {host}:{port} left requests unanswered.") from error
    finally:
        await _close(feed, pending)
    return feed.answers


def send_all(host: str, port: int, requests: Sequence[bytes], *, connections: int = 16) -> Answers:
    """Send every request once, in order of their start, and return what came back.

    Args:
        host: Where the server listens.
        port: Its port.
        requests: Whole HTTP/1.1 requests as bytes.
        connections: Connections used side by side; as many requests are in flight.

    Raises:
        Unavailable: nobody listens, or a request stays unanswered after three attempts.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_send_all(host, port, requests, connections))


def http_request(method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    """Return the bytes of one HTTP/1.1 request.

    >>> http_request("POST", "/x", [("host", "a")], b"{}")
    b'POST /x HTTP/1.1\\r\\nhost: a\\r\\ncontent-length: 2\\r\\n\\r\\n{}'
    """
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{method} {path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body
