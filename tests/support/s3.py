"""A local S3 (moto) in a process of its own, which can be told to fail or to hold requests back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BUCKET = "gateline"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
_CONTROL = "/_control"
_HOLD_SECONDS = 15


class S3Server:
    """The server, with one bucket.

    Args:
        variables: Environment variables for moto.
    """

    def __init__(self, **variables: str) -> None:
        command = [sys.executable, "-m", "tests.support.s3"]
        environment = {**os.environ, **variables}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{self._process.stdout.readline().strip()}"
        self.client("s3").create_bucket(Bucket=BUCKET)

    def client(self, service: str, **keys: str) -> Any:
        """Return a client of the server."""
        keys = keys or {name.lower(): value for name, value in KEYS.items()}
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", **keys)

    def options(self, **changed: str) -> dict[str, str]:
        """Return what `deltalake` needs to reach it."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", **KEYS, **changed}

    def control(self, **orders: Any) -> dict[str, Any]:
        """Change what happens to requests, and return what has happened: see `Orders`."""
        request = urllib.request.Request(self.url + _CONTROL, data=json.dumps(orders).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def empty(self) -> None:
        """Remove every object."""
        client = self.client("s3")
        for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=one["Key"])

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass(slots=True)
class Orders:
    """What the server does to requests whose method and path begin or contain what is said.

    Attributes:
        method: Which method; empty for every one.
        part: Part of the path; empty for every one.
        status: Answered instead of S3's answer; 0 lets S3 answer.
        hold: Whether such requests wait until `release` is ordered.
        failed: How many were answered by `status`.
        held: How many were held back.
        expired: How many of them were never released.
    """

    method: str = ""
    part: str = ""
    status: int = 0
    hold: bool = False
    failed: int = 0
    held: int = 0
    expired: int = 0


def serve() -> None:
    """Serve until the process is ended."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    inner, orders, gate = DomainDispatcherApplication(create_backend_app), Orders(), threading.Semaphore(0)

    def answer(start: Callable[..., Any], status: str, content: bytes) -> Iterable[bytes]:
        start(status, [("content-type", "application/json"), ("content-length", str(len(content)))])
        return [content]

    def application(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environment["PATH_INFO"] == _CONTROL:
            given = json.loads(environment["wsgi.input"].read(int(environment["CONTENT_LENGTH"])))
            if given.pop("release", False):
                gate.release()
            for name, value in given.items():
                setattr(orders, name, value)
            return answer(start, "200 OK", json.dumps({name: getattr(orders, name) for name in Orders.__slots__}).encode())
        meant = environment["REQUEST_METHOD"].startswith(orders.method) and orders.part in environment["PATH_INFO"]
        if meant and orders.hold:
            orders.held += 1
            orders.expired += not gate.acquire(timeout=_HOLD_SECONDS)
        if meant and orders.status:
            orders.failed += 1
            return answer(start, f"{orders.status} Told", b"")
        return inner(environment, start)

    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
