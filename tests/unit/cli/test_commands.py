"""The commands of access, ledger, status, doctor and init, on a local folder."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from gateline.cli import checks, main
from gateline.cli.output import ExitCode
from gateline.kernel.clock import DAY, SystemClock
from gateline.kernel.settings import Settings
from gateline.local import ServerLock


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GATELINE_URL", "GATELINE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GATELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    monkeypatch.setenv("GATELINE_PORT", "0")
    monkeypatch.setenv("GATELINE_SERVING_PORT", "0")


@pytest.fixture
def gateline(capsys: pytest.CaptureFixture[str]):
    """Run a command and return its exit status and its JSON answer."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        status = main([*arguments, "--json"])
        out = capsys.readouterr().out
        return status, json.loads(out) if out else None

    return run


def test_a_principal_gets_a_token_that_can_be_revoked(gateline, capsys: pytest.CaptureFixture[str]) -> None:
    assert gateline("principal", "create", "checker", "--role", "validator", "--role", "auditor") == (
        0, {"name": "checker", "kind": "person", "roles": ["auditor", "validator"]},
    )  # fmt: skip
    assert gateline("principal", "create", "robot", "--role", "runner", "--service")[1]["kind"] == "service"
    assert [one["name"] for one in gateline("principal", "list")[1]] == ["checker", "owner", "robot"]

    assert main(["token", "create", "checker", "--days", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("gl_")
    assert captured.out.count("\n") == 1
    assert captured.out.strip() not in captured.err
    (token,) = gateline("token", "list", "checker")[1]
    assert gateline("token", "revoke", token["id"])[1]["revoked_at"]
    assert gateline("token", "revoke", "tok_none")[1]["code"] == "not_found"


def test_a_wrong_role_is_wrong_usage(gateline) -> None:
    status, problem = gateline("principal", "create", "x", "--role", "pilot")
    assert status == ExitCode.USAGE
    assert "'pilot' is not one of" in problem["detail"]
    assert gateline("principal", "create", "x")[0] == ExitCode.USAGE


def test_the_ledger_is_shown_signed_and_verified(gateline, capsys: pytest.CaptureFixture[str]) -> None:
    gateline("principal", "create", "checker", "--role", "auditor")
    shown = gateline("ledger", "show", "--limit", "1")[1]
    assert [entry["subject"] for entry in shown["entries"]] == ["checker"]
    assert gateline("ledger", "show", "--kind", "access.token.created")[1]["entries"][0]["actor"] == "system"
    assert gateline("ledger", "checkpoint")[1]["size"] == 3
    assert gateline("ledger", "verify")[1]["sound"]
    assert main(["ledger", "show"]) == 0
    assert "access.principal.created" in capsys.readouterr().out


def test_a_changed_entry_is_named_with_exit_status_one(gateline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    gateline("ledger", "checkpoint")
    database = sqlite3.connect(tmp_path / "home" / "records.db")
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        database.execute(f'DROP TRIGGER "{name}"')
    database.execute("UPDATE ledger_entry SET actor = 'nobody' WHERE seq = 1")
    database.commit()
    database.close()
    status, found = gateline("ledger", "verify")
    assert status == ExitCode.ERROR
    assert 1 in {problem["seq"] for problem in found["problems"]}
    assert main(["ledger", "verify"]) == ExitCode.ERROR
    assert "NOT sound" in capsys.readouterr().out
    bad = {check["name"] for check in gateline("doctor")[1]["checks"] if not check["good"]}
    assert bad == {"ledger"}


def test_status_tells_records_from_a_server(gateline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = gateline("status")[1]
    assert found["server"] is None
    assert found["home"] == str(tmp_path / "home")
    assert main(["status"]) == 0
    assert capsys.readouterr().out.startswith("No server runs on this folder")
    with ServerLock(tmp_path / "home") as lock:
        lock.announce("http://127.0.0.1:9")
        status, problem = gateline("status")
    assert (status, problem["code"]) == (ExitCode.ERROR, "unavailable")


def test_doctor_changes_nothing_on_a_machine_without_installation(gateline, tmp_path: Path) -> None:
    status, found = gateline("doctor")
    assert (status, found["good"]) == (0, True)
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_everything_in_order_after_a_start(gateline) -> None:
    gateline("status")
    status, found = gateline("doctor")
    assert (status, found["good"]) == (0, True)
    assert [check["name"] for check in found["checks"]] == [
        "python", "packages", "variables", "settings", "home", "disk", "keys", "server", "port", "serving port", "records", "clock",
        "ledger",
    ]  # fmt: skip


def test_doctor_names_each_trouble_with_what_to_do(gateline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gateline("status")
    (tmp_path / "home" / "credentials.json").chmod(0o644)
    monkeypatch.setenv("GATELINE_PROT", "1")
    monkeypatch.setattr(checks, "FREE_BYTES_MIN", 1 << 60)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("GATELINE_PORT", str(taken.getsockname()[1]))
        status, found = gateline("doctor")
    assert status == ExitCode.ERROR
    bad = {check["name"]: check for check in found["checks"] if not check["good"]}
    assert set(bad) == {"variables", "disk", "keys", "port"}
    assert "GATELINE_PROT" in bad["variables"]["finding"]
    assert "chmod 600" in bad["keys"]["next_step"]
    assert all(check["next_step"] for check in bad.values())


def test_doctor_stops_at_settings_it_cannot_read(gateline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATELINE_PORT", "many")
    monkeypatch.setenv("GATELINE_WORKERS", "-1")
    status, found = gateline("doctor")
    assert status == ExitCode.ERROR
    trouble = found["checks"][-1]
    assert trouble["name"] == "settings"
    assert "GATELINE_PORT" in trouble["finding"]
    assert "GATELINE_WORKERS" in trouble["finding"]


def test_doctor_reports_records_that_do_not_open(gateline, tmp_path: Path) -> None:
    gateline("status")
    (tmp_path / "home" / "keys" / "token.key").write_bytes(b"short")
    found = gateline("doctor")[1]
    bad = {check["name"]: check for check in found["checks"] if not check["good"]}
    assert set(bad) == {"records"}
    assert "token.key holds 5 bytes" in bad["records"]["finding"]


def test_a_clock_behind_the_ledger_or_before_this_software_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SystemClock().now()
    assert checks.clock(None).good
    assert checks.clock(now).good
    assert not checks.clock(now + DAY).good
    monkeypatch.setattr(SystemClock, "now", lambda _: 0)
    assert not checks.clock(None).good


def test_a_missing_or_old_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "requires", lambda _: ["click>=1", "click<1", "no-such-package-at-all>=1", "never; python_version < '3'"])
    found = checks.packages()
    assert not found.good
    assert "no-such-package-at-all is missing" in found.finding
    assert "wanted <1" in found.finding
    assert "never" not in found.finding


def test_a_home_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.os, "access", lambda *_: False)
    assert not checks.home_folder(Settings(home=tmp_path / "deep" / "home")).good


def test_init_writes_a_project_and_never_overwrites(gateline, tmp_path: Path) -> None:
    folder = tmp_path / "my project"
    status, written = gateline("init", str(folder))
    assert status == 0
    assert set(written["files"]) == {
        ".gitignore", "README.md", "features.py", "gateline.toml", "make_data.py", "pipeline.py", "tests/test_features.py",
    }  # fmt: skip
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(before) == len(written["files"])
    (folder / "pipeline.py").write_text("mine")
    status, problem = gateline("init", str(folder))
    assert (status, problem["code"]) == (ExitCode.ERROR, "conflict")
    assert "pipeline.py" in problem["detail"]
    assert (folder / "pipeline.py").read_text() == "mine"
