"""A temporary PostgreSQL server that belongs to the test process and dies with it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

START_SECONDS_MAX = 60
SOCKET_PATH_MAX = 100  # the kernel's limit is 107 characters


def find_binaries() -> Path:
    """Return the folder of `initdb` and `postgres`, version 15 first; fail the run when there is none."""
    folders = [Path("/usr/lib/postgresql/15/bin"), *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    on_path = shutil.which("initdb")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.fail(
        "PostgreSQL is missing. Next, as root: apt-get update && apt-get install -y --no-install-recommends postgresql-15", pytrace=False
    )


def _server_user() -> pwd.struct_passwd | None:
    """Return the user that runs the server: PostgreSQL refuses root, so root lends it another one."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.fail(
        "PostgreSQL refuses to run as root and there is neither a user postgres nor nobody. Next: useradd --system postgres", pytrace=False
    )


class PostgresServer:
    """One cluster in a temporary folder, reachable by its unix socket only; its data need not survive anything."""

    def __init__(self) -> None:
        binaries = find_binaries()
        user = _server_user()
        parent = tempfile.gettempdir() if len(tempfile.gettempdir()) < SOCKET_PATH_MAX - 40 else "/tmp"
        self.folder = Path(tempfile.mkdtemp(prefix="gateline-pg-", dir=parent))
        self._databases = 0
        identity: dict[str, object] = {}
        if user is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        try:
            self._run_initdb(binaries, environment, identity)
            self._process = self._start(binaries, environment, identity)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _run_initdb(self, binaries: Path, environment: dict[str, str], identity: dict[str, object]) -> None:
        options = ["--auth=trust", "--username=gateline", "--no-sync", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        done = subprocess.run(
            [binaries / "initdb", *options, "-D", self.folder / "data"],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            **identity,
        )
        if done.returncode != 0:
            pytest.fail(f"initdb failed: {done.stdout}{done.stderr}", pytrace=False)

    def _start(self, binaries: Path, environment: dict[str, str], identity: dict[str, object]) -> subprocess.Popen[bytes]:
        configuration = {
            "listen_addresses": "''",
            "unix_socket_directories": f"'{self.folder}'",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": "80",
            "autovacuum": "off",
            "timezone": "'UTC'",
        }
        lines = [f"{name} = {value}\n" for name, value in configuration.items()]
        with (self.folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(lines)
        command = [str(binaries / "postgres"), "-D", str(self.folder / "data")]
        lifeline = shutil.which("setpriv")
        if lifeline:  # the kernel stops the server when this process dies, however it dies
            command = [lifeline, "--pdeathsig", "QUIT", *command]
        with (self.folder / "server.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, **identity)
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                psycopg.connect(self._conninfo("postgres")).close()
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    process.wait()
                    pytest.fail(f"PostgreSQL did not start: {(self.folder / 'server.log').read_text(encoding='utf-8')}", pytrace=False)
                time.sleep(0.02)
            else:
                return process

    def _conninfo(self, database: str) -> str:
        return f"host={self.folder} user=gateline dbname={database}"

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database of this server."""
        return f"postgresql://gateline@/{database}?host={self.folder}"

    def create(self, template: str = "template1") -> str:
        """Create a database from a template that nobody is connected to; return its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def stop(self) -> None:
        """Stop the server at once and remove its folder."""
        self._process.terminate() if self._process.poll() is None else None
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.send_signal(3)  # SIGQUIT: immediate shutdown, children included
            self._process.wait(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)
