"""A temporary Redis server that belongs to the test process and dies with it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import redis

START_SECONDS_MAX = 30


class RedisServer:
    """One server in a temporary folder, reachable by its unix socket only. Every commit is on disk before it is acknowledged."""

    def __init__(self) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.fail("redis-server is missing. Next: scripts/setup", pytrace=False)
        self.folder = Path(tempfile.mkdtemp(prefix="gateline-redis-"))
        self.url = f"unix://{self.folder}/redis.sock"
        self._command = [
            binary, "--port", "0", "--unixsocket", f"{self.folder}/redis.sock", "--dir", str(self.folder), "--save", "",
            "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no",
        ]  # fmt: skip
        lifeline = shutil.which("setpriv")
        if lifeline:  # the kernel stops the server when this process dies, however it dies
            self._command = [lifeline, "--pdeathsig", "KILL", *self._command]
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        log = self.folder / "server.log"
        with log.open("ab") as output:
            process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                with redis.Redis.from_url(self.url) as connection:
                    connection.ping()
            except redis.RedisError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    process.wait()
                    pytest.fail(f"redis-server did not start: {log.read_text(encoding='utf-8')}", pytrace=False)
                time.sleep(0.02)
            else:
                return process

    def kill(self) -> None:
        """End the server as a power cut would, and start it again."""
        self._process.kill()
        self._process.wait()
        self._process = self._start()

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
