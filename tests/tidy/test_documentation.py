"""The documents say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateline.kernel.errors import GatelineError
from gateline.kernel.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def reference(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")


def error_classes(kind: type[GatelineError] = GatelineError) -> list[type[GatelineError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in error_classes(child))]


def test_the_reference_pages_are_what_the_code_says():
    done = subprocess.run(
        [sys.executable, "scripts/generate_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_error_code_is_documented_and_used_once():
    kinds = [kind for kind in error_classes() if kind is not GatelineError and kind.__module__.startswith("gateline.")]
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert [code for code in codes if f"`{code}`" not in reference("errors")] == []


def test_all_errors_grow_on_one_tree():
    elsewhere = []
    for path in (ROOT / "src" / "gateline").rglob("*.py"):
        if path.name == "errors.py" and path.parent.name == "kernel":
            continue
        text = path.read_text(encoding="utf-8")
        elsewhere += [
            f"{path.relative_to(ROOT)}: {name}" for name in re.findall(r"^class (\w+)\((?:GatelineError|Exception)\)", text, re.MULTILINE)
        ]
    assert not elsewhere


def test_every_setting_is_documented():
    assert [name for name in Settings.model_fields if f"`GATELINE_{name.upper()}`" not in reference("settings")] == []
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_command_explains_itself_and_is_documented():
    import click

    from gateline.cli import root

    def walk(command: click.Command, path: str, context: click.Context) -> list[tuple[str, str]]:
        found = [(path, (command.help or "").strip())]
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None, f"{path} {name} does not load"
                found += walk(child, f"{path} {name}", click.Context(child, info_name=name, parent=context))
        return found

    commands = walk(root, "gateline", click.Context(root, info_name="gateline"))
    assert [path for path, text in commands if not text] == []
    assert [path for path, _ in commands if f"## {path}\n" not in reference("cli")] == []


def test_every_route_declares_its_permission_and_is_documented():
    from gateline.access.model import Permission
    from gateline.server import pages
    from gateline.server.asgi import PREFIX
    from gateline.server.routes import ROUTERS
    from gateline.server.security import PERMISSION, PUBLIC

    known = {permission.value for permission in Permission}
    routes = [(PREFIX, route) for router in ROUTERS for route in router.routes] + [("", route) for route in pages.router.routes]
    assert len(routes) > 20
    undeclared = [
        route.path for _, route in routes if route.openapi_extra.get(PERMISSION) not in known and not route.openapi_extra.get(PUBLIC)
    ]
    assert not undeclared
    assert [prefix + route.path for prefix, route in routes if f"`{prefix}{route.path}`" not in reference("routes")] == []


def test_few_routes_are_public():
    from gateline.server.routes import ROUTERS
    from gateline.server.security import PUBLIC

    public = {route.path for router in ROUTERS for route in router.routes if PUBLIC in route.openapi_extra}
    assert public <= PUBLIC_ROUTES


# Answered without a token: whether the server lives, how it describes itself, and a job that shows a ticket of its own.
PUBLIC_ROUTES = {"/health", "/openapi.json", "/pipeline-work/take"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in targets if not (page.parent / target.split("#")[0]).exists()] == []


def test_every_page_is_in_the_table_of_contents():
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    assert [page for page in pages if page not in contents] == []
    assert [page for page in re.findall(r"[\w/-]+\.md", contents) if not (DOCS / page).exists()] == []


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    wanted = set(re.findall(r"\bmake ([a-z][a-z-]*)", text))
    assert {"demo", "test"} <= wanted <= make_targets()
    for script in re.findall(r"`((?:scripts|\.ci)/[a-z-]+)`", text):
        assert (ROOT / script).stat().st_mode & 0o111, script


def test_the_commands_of_the_readme_are_what_make_would_run():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).splitlines()
    assert {"make demo", "make test"} <= set(blocks)
    for command in [line for line in blocks if line.startswith("make ")]:
        dry = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert dry.returncode == 0, dry.stderr
        assert "scripts/environment" in dry.stdout


def test_gateline_commands_of_the_readme_exist():
    import click

    from gateline.cli import root

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in re.findall(r"(?:^|`)gateline ([a-z ]+?)(?:`| my-|$)", text, re.MULTILINE):
        command: click.Command | None = root
        context = click.Context(root, info_name="gateline")
        for word in line.split():
            assert isinstance(command, click.Group), line
            command = command.get_command(context, word)
            assert command is not None, f"gateline {line}"


def test_the_readme_shows_real_output_of_the_demo():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.split("<!-- demo-output -->")[1].split("<!-- /demo-output -->")[0]
    assert shown.count("\n") > 10


def test_user_visible_changes_have_fragments_of_a_known_kind():
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    wrong = [path.name for path in fragments if not re.fullmatch(r"\d+\.(added|changed|fixed|removed|security)\.md", path.name)]
    assert not wrong
    assert all(path.read_text(encoding="utf-8").strip() for path in fragments)
