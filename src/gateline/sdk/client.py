"""The HTTP client: the same calls reach a server, or the local folder in this process."""

from __future__ import annotations

import hashlib
import json as jsonlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from gateline.kernel.canonical import sha256_file
from gateline.kernel.errors import GatelineError, IntegrityFailure, NotFound, Unavailable, error_for
from gateline.kernel.files import fsync_directory, storage_errors
from gateline.sdk.local import open_local
from gateline.sdk.transport import InProcessTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

API = "/api/v1"
TIMEOUT_SECONDS = 120.0
RETRY_SECONDS_MAX = 30.0
_PIECE_BYTES = 1 << 20
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What the client reads from `GATELINE_URL`, `GATELINE_TOKEN` and `GATELINE_HOME`."""

    url: str = ""
    token: str = ""
    home: Path = Path(".gateline")

    @classmethod
    def read(cls) -> ClientSettings:
        """Return the settings of this process."""
        given = os.environ  # noqa: TID251 - each process of a step starts without the library that reads the server's settings
        return cls(given.get("GATELINE_URL", ""), given.get("GATELINE_TOKEN", ""), Path(given.get("GATELINE_HOME", ".gateline")))


class Client:
    """A connection to Gateline.

    Without `url` and `GATELINE_URL` it uses the installation in the local folder: the server that runs on it, or, when none runs, the
    same application in this process. Errors of the server are raised as the classes of `gateline.kernel.errors`. Safe to share between
    threads; close it, or use it in a `with` block.

    Args:
        url: Base URL of a server, such as http://127.0.0.1:8200.
        token: API token; else `GATELINE_TOKEN`, else the owner's token of the local folder.
        home: The local folder; else `GATELINE_HOME`, else `.gateline`.
        transport: An httpx transport to use in place of the network; for tests and embedding.
        patience_seconds: How long requests that cannot have reached the server, or that may be sent twice, are sent again while it does not
            answer, such as during its restart.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        home: Path | str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        patience_seconds: float = 0.0,
    ) -> None:
        settings = ClientSettings.read()
        self.home = Path(home) if home is not None else settings.home
        self._listen: Callable[[], str] | None = None
        self._release: Callable[[], None] | None = None
        self.url = (url or settings.url).rstrip("/")
        self.token = token or settings.token
        self._patience_seconds = patience_seconds
        if not self.url and transport is None:
            transport = self._open_local()
        elif not self.token:
            self.token = _stored_token(self.home, self.url)
        self._in_process = isinstance(transport, InProcessTransport)
        self._http = httpx.Client(
            base_url=self.url or "http://gateline.local",
            transport=transport,
            headers={"authorization": f"Bearer {self.token}"} if self.token else {},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,  # no netrc: it would replace the token
        )

    def _open_local(self) -> httpx.BaseTransport | None:
        """Open the local folder and return how to reach it: None for the network."""
        local = open_local(self.home)
        self.url, self._listen, self._release = local.url, local.listen, local.close
        self.token = self.token or local.token
        return None if local.application is None else InProcessTransport(local.application)

    @property
    def in_process(self) -> bool:
        """Whether the application runs in this process, with no server between."""
        return self._in_process

    def address(self) -> str:
        """Return a URL under which other libraries, such as MLflow's client, reach the same server.

        In process, this starts to listen on a free port of the loopback interface.
        """
        return self.url if self._listen is None else self._listen()

    def get(self, path: str, *, params: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON at a path under /api/v1; raises the server's errors."""
        return self._call("GET", path, params=params)

    def post(self, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """Send JSON to a path under /api/v1 and return the JSON answer; raises the server's errors."""
        return self._call("POST", path, json=json, params=params)

    def put(self, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """Put JSON at a path under /api/v1 and return the JSON answer; raises the server's errors."""
        return self._call("PUT", path, json=json, params=params)

    def patch(self, path: str, *, json: Any = None) -> Any:
        """Send changes as JSON to a path under /api/v1 and return the JSON answer; raises the server's errors."""
        return self._call("PATCH", path, json=json)

    def delete(self, path: str, *, params: Mapping[str, Any] | None = None) -> Any:
        """Delete what is at a path under /api/v1; raises the server's errors."""
        return self._call("DELETE", path, params=params)

    def upload(self, source: Path | str | bytes) -> str:
        """Store a file or bytes on the server and return the SHA-256.

        Raises:
            NotFound: there is no such file here.
            TooLarge: the server's limit was met.
            IntegrityFailure: other bytes arrived.
        """
        if isinstance(source, bytes):
            digest = hashlib.sha256(source).hexdigest()
            body: Callable[[], bytes | Iterator[bytes]] = lambda: source  # noqa: E731
            size = len(source)
        else:
            path = Path(source)
            if not path.is_file():
                raise NotFound(f"There is no file {path}.", next_step="Check the path.")
            digest, size = sha256_file(path), path.stat().st_size
            body = lambda: _read(path)  # noqa: E731
        headers = {"x-gateline-sha256": digest, "content-type": "application/octet-stream", "content-length": str(size)}
        answer = self._send(lambda: self._http.build_request("PUT", f"{API}/files", content=body(), headers=headers))
        return str(answer.json()["sha256"])

    def download(self, sha256: str, to: Path | str) -> Path:
        """Write a stored file to `to`, whole or not at all, and return that path.

        Raises:
            NotFound: the server has no such file.
            IntegrityFailure: other bytes arrived; nothing is written.
        """
        target = Path(to)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        try:
            found = self._receive(f"{API}/files/{sha256}", partial)
            if found != sha256:
                raise IntegrityFailure(f"The file arrived with SHA-256 {found}; {sha256} was asked for.", next_step="Download it again.")
            partial.replace(target)
            fsync_directory(target.parent)
        finally:
            partial.unlink(missing_ok=True)
        return target

    def _receive(self, path: str, to: Path) -> str:
        """Write the body at a path into a file and return its SHA-256."""
        answer, state = self._send(lambda: self._http.build_request("GET", path), stream=True), hashlib.sha256()
        try:
            with storage_errors(to), to.open("wb") as file:
                for piece in answer.iter_bytes(_PIECE_BYTES):
                    state.update(piece)
                    file.write(piece)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        finally:
            answer.close()
        return state.hexdigest()

    def _call(self, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        answer = self._send(lambda: self._http.build_request(method, API + path, json=json, params=params))
        return answer.json() if answer.content else None

    def _send(self, request: Callable[[], httpx.Request], *, stream: bool = False) -> httpx.Response:
        """Send a request until the server is ready for it, at most `RETRY_SECONDS_MAX`; raise what it refuses."""
        begun = time.monotonic()
        while True:
            sent = request()
            try:
                answer = self._http.send(sent, stream=stream)
            except httpx.HTTPError as error:
                harmless = isinstance(error, httpx.ConnectError) or sent.method in {"GET", "PUT"}
                if not harmless or time.monotonic() - begun > self._patience_seconds:
                    raise self._unreachable(error) from error
                time.sleep(_PAUSE_SECONDS)
                continue
            if answer.is_success:
                return answer
            answer.read()
            answer.close()
            pause = _retry_after(answer)
            if answer.status_code != Unavailable.status or pause is None or time.monotonic() + pause > begun + RETRY_SECONDS_MAX:
                raise problem_to_error(answer)
            time.sleep(pause)

    def _unreachable(self, error: httpx.HTTPError) -> Unavailable:
        what = str(error) or type(error).__name__
        return Unavailable(f"The Gateline server at {self.url} does not answer: {what}.", next_step="Start it with: gateline up")

    def close(self) -> None:
        """Close the connection and, in process, what was opened for it."""
        self._http.close()
        if self._release is not None:
            self._release()
            self._release = None

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the client."""
        self.close()


def problem_to_error(answer: httpx.Response) -> GatelineError:
    """Return the error that a problem document (RFC 9457) stands for."""
    try:
        document = answer.json()
        return error_for(document["code"])(document["detail"], next_step=document.get("next_step", ""), facts=document.get("facts", {}))
    except (ValueError, KeyError, TypeError):
        kind = Unavailable if answer.status_code in {502, 503, 504} else GatelineError
        return kind(f"{answer.request.url} answered {answer.status_code} {answer.reason_phrase} without a problem document.")


def _retry_after(answer: httpx.Response) -> float | None:
    """Return the seconds that the server asks to wait, or None when it does not."""
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None


def _stored_token(home: Path, url: str) -> str:
    """Return the owner's token, but only for the very server that runs on this folder: it must not be sent anywhere else."""
    try:
        if jsonlib.loads((home / "server.json").read_text(encoding="utf-8"))["url"].rstrip("/") != url:
            return ""
        return str(jsonlib.loads((home / "credentials.json").read_text(encoding="utf-8"))["token"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
