"""Files of an object store, handled in a process of their own.

`deltalake` lets no other Python thread run while it lists, writes or removes single files: with a store that hangs, the whole control plane
would stand still until the store's retries end, three minutes later. The child does one operation at a time, and ends when its parent does.

A request is one line of JSON, then as many bytes of content as it says; the answer is one line of JSON. The options of the store, which may
hold secrets, come with the first request through the pipe, and stand in no list of processes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gateline.kernel.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyarrow.fs import FileSystem

_PIECE_BYTES = 1 << 20


class StoreProcess:
    """A child process that handles the files below one URL; it is started when it is first needed, and again when it has died.

    Args:
        options: What `deltalake` needs to reach the store.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] = lambda: None

    def call(self, operation: str, uri: str, path: str = "", *, to: str = "", content: bytes = b"") -> Any:
        """Do an operation on the file at a path below a URL, and return its answer. Each may be repeated: a child that died is asked again.

        Args:
            operation: One of `put`, `fetch` (into the local file `to`), `has`, `stored` and `remove`.
            uri: The folder.
            path: The file in it.
            to: A local file.
            content: What is put.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: the store does not answer or refuses; the words are those of `deltalake`.
            Unavailable: the child died twice.
        """
        request = {"operation": operation, "uri": uri, "path": path, "to": to, "size": len(content), "options": self._options}
        with self._lock:
            answer = self._ask(request, content) or self._ask(request, content)
        if answer is None:
            raise Unavailable("The process that handles the files of the object store died twice.", next_step="See its log; try again.")
        if "missing" in answer:
            raise FileNotFoundError(answer["missing"])
        if "failed" in answer:
            raise OSError(answer["failed"])
        return answer["value"]

    def _ask(self, request: Mapping[str, Any], content: bytes) -> dict[str, Any] | None:
        child = self._running()
        if child.stdin is None or child.stdout is None:
            return None
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.write(content)
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            self._end()
            self._child = None
            return None
        found: dict[str, Any] = json.loads(line)
        return found

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            command = [sys.executable, "-c", "from gateline.data.apart import main; main()"]
            # a session of its own: an interrupt at the terminal is for its parent
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            self._end = weakref.finalize(self, _end, self._child)
        return self._child


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child; a call under way is cut off, which may be repeated.

    It is killed before its pipes are closed: to close one waits for whoever reads from it, or for room to write what is left.
    """
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # what was still to be written has no reader any more
                pipe.close()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until their end; one that is cut off in the middle, because its sender died, is not begun."""
    from deltalake.exceptions import DeltaError

    while (line := requests.readline()).endswith(b"\n"):
        request = json.loads(line)
        content = requests.read(request["size"])
        if len(content) < request["size"]:
            return
        try:
            answer = {"value": _do(request, content)}
        except FileNotFoundError as error:
            answer = {"missing": str(error)}
        except (OSError, DeltaError) as error:
            answer = {"failed": str(error) or type(error).__name__}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _do(request: Mapping[str, Any], content: bytes) -> Any:
    uri, path, options = request["uri"], request["path"], request["options"]
    match request["operation"]:
        case "put":
            return _put(uri, path, content, options)
        case "fetch":
            with _files(uri, options).open_input_stream(path) as source, Path(request["to"]).open("wb") as file:
                return shutil.copyfileobj(source, file, _PIECE_BYTES)
        case "has":
            return bool(_files(uri, options).get_file_info(path).is_file)
        case "stored":
            return _stored(uri, options)
        case "remove":
            return _files(uri, options).delete_file(path)
        case other:
            raise OSError(f"There is no operation '{other}'.")


def _put(uri: str, path: str, content: bytes, options: Mapping[str, str]) -> None:
    from deltalake._internal import DeltaFileSystemHandler

    # pyarrow would hand over its own buffers, which deltalake refuses
    stream = DeltaFileSystemHandler(uri, dict(options)).open_output_stream(path)
    stream.write(content)
    stream.close()  # type: ignore[attr-defined] # it is there, but not in the stub


def _stored(uri: str, options: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """Return path, size and time of writing (UTC microseconds) of every file."""
    from pyarrow.fs import FileSelector

    listed = _files(uri, options).get_file_info(FileSelector("", recursive=True, allow_not_found=True))
    return [(one.path, one.size, one.mtime_ns // 1000) for one in listed if one.is_file]


def _files(uri: str, options: Mapping[str, str]) -> FileSystem:
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import PyFileSystem

    return PyFileSystem(DeltaStorageHandler(uri, dict(options)))


def main() -> None:
    """Be the child: answer what comes on the standard input until it ends."""
    channel, sys.stdout = sys.stdout.buffer, sys.stderr  # what a library prints must not mix with the answers
    serve(sys.stdin.buffer, channel)
