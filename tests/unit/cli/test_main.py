"""How every command answers, fails and ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gateline import cli
from gateline.cli import COMMANDS, main
from gateline.cli.output import ExitCode, client, emit, progress, table
from gateline.kernel.errors import Conflict


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GATELINE_URL", "GATELINE_TOKEN", "GATELINE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@click.command()
@click.argument("what")
@click.pass_context
def probe(ctx: click.Context, what: str) -> None:
    """Do what a test asks for."""
    match what:
        case "answer":
            progress("working")
            emit(ctx, {"answer": 42}, "The answer is 42.")
        case "refuse":
            raise Conflict("It is taken.", next_step="Choose another.", facts={"name": "x"})
        case "fail":
            raise ZeroDivisionError("a bug")
        case "file":
            Path("missing/file").read_text(encoding="utf-8")
        case "gate":
            ctx.exit(ExitCode.GATE_FAILED)
        case "leave":
            sys.exit(ExitCode.ALERT)
        case "interrupt":
            raise KeyboardInterrupt
        case "connect":
            assert client(ctx) is client(ctx)


@pytest.fixture(autouse=True)
def probing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a command for the tests, found as every other is."""
    module = sys.modules[__name__]
    monkeypatch.setitem(COMMANDS, "probe", ("probe:probe", "A command of the tests."))
    real = cli.importlib.import_module
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module if name == "gateline.cli.probe" else real(name))
    probe.params[:] = [one for one in probe.params if one.name == "what"]


def test_the_answer_is_on_standard_output_and_the_rest_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "answer"]) == ExitCode.PASS
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("The answer is 42.\n", "working\n")


@pytest.mark.parametrize("arguments", [["--json", "probe", "answer"], ["probe", "--json", "answer"], ["probe", "answer", "--json"]])
def test_json_is_taken_in_any_place(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == ExitCode.PASS
    assert json.loads(capsys.readouterr().out) == {"answer": 42}


def test_a_refusal_is_one_clear_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "refuse"]) == ExitCode.ERROR
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "gateline: It is taken.\nChoose another.\n")


def test_with_json_a_refusal_is_a_problem_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "refuse", "--json"]) == ExitCode.ERROR
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "type": "urn:gateline:error:conflict", "title": "Conflict", "status": 409, "detail": "It is taken.", "code": "conflict",
        "next_step": "Choose another.", "facts": {"name": "x"},
    }  # fmt: skip
    assert captured.err == "gateline: It is taken.\nChoose another.\n"


def test_a_bug_is_shown_with_what_a_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "fail"]) == ExitCode.ERROR
    err = capsys.readouterr().err
    assert err.startswith("gateline: Gateline failed in a way nobody foresaw: ZeroDivisionError('a bug').\nPlease report it")
    assert "Traceback" in err


def test_a_missing_file_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "file"]) == ExitCode.ERROR
    err = capsys.readouterr().err
    assert err.startswith("gateline: missing/file: No such file or directory.")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("what", "status"), [("gate", ExitCode.GATE_FAILED), ("leave", ExitCode.ALERT), ("interrupt", ExitCode.INTERRUPTED)]
)
def test_commands_end_with_the_status_they_choose(what: str, status: int) -> None:
    assert main(["probe", what]) == status


@pytest.mark.parametrize("arguments", [["nothing"], ["probe"], ["probe", "answer", "--nothing"], ["token", "nothing"], ["--nothing"]])
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert "--help'" in captured.err
    assert captured.out == ""


def test_one_command_uses_one_connection(tmp_path: Path) -> None:
    assert main(["--home", str(tmp_path / "home"), "probe", "connect"]) == ExitCode.PASS


@pytest.mark.parametrize("arguments", [[], ["--help"], ["ledger", "--help"], ["--version"]])
def test_help_and_version_need_no_installation(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments)
    captured = capsys.readouterr()
    assert captured.out or captured.err
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_command_without_importing_any() -> None:
    script = (
        "import sys; from gateline.cli import main; main(['--help']); "
        "heavy = {'sqlalchemy', 'fastapi', 'httpx', 'polars', 'numpy', 'pydantic', 'mlflow', 'uvicorn', 'cedarpy'}; "
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert all(name in done.stdout for name in COMMANDS if name != "probe")


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'httpx', 'pydantic', 'polars', 'numpy', 'click', 'sqlalchemy'}"
    script = f"import sys, gateline; gateline.step; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_can_be_loaded() -> None:
    import gateline

    assert {name for name in gateline.__all__ if getattr(gateline, name) is None} == set()
    assert set(gateline.__all__) <= set(dir(gateline))
    assert gateline.__version__ == "0.1.0"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        gateline.nothing  # noqa: B018


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m gateline --help | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr


def test_tables_are_aligned_and_say_what_is_missing() -> None:
    rows = [{"name": "a", "roles": ["x", "y"]}, {"name": "longer", "roles": None}]
    assert table(rows, ["name", "roles"]).splitlines() == ["name    roles", "a       x, y", "longer  –"]
