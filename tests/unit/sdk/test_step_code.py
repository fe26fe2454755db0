"""The code that a step's result depends on is read from its text: what can change the result changes the key, and nothing else does."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.pipelines import key_argument, step_key
from gateline.sdk.fingerprint import StepCode, code_digest, read_code
from gateline.sdk.loading import ProjectFinder, changed_sources
from gateline.sdk.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOWS = '''
"""What this file is for."""
import math

from gateline import pipeline, step
from tools import grow

LIMIT = 3


def bounded(x):
    """Say so."""
    return min(x, LIMIT)


@step(retries=1)
def first(x: int = 1) -> int:
    """Say so."""
    return grow(x) + bounded(x)  # more


@step
def second(x: int) -> int:
    return x * 2


@pipeline
def train():
    return second(first())
'''
TOOLS = '"""Growing."""\nimport deeper\n\n\ndef grow(x):\n    return deeper.more(x)\n'
DEEPER = "def more(x):\n    return x + 1\n"


class Folder:
    """A project on disk whose files can be edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write({"gateline.toml": '[project]\nname = "p"\n', "flows.py": FLOWS, "tools.py": TOOLS, "deeper.py": DEEPER})

    def write(self, files: dict[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text()
        assert old in text
        self.write({file: text.replace(old, new)})

    def load(self, reference: str = "flows:first") -> Any:
        return Project.load(self.folder).load_object(reference)

    def code(self, reference: str = "flows:first") -> StepCode:
        """The code of a step as it is on disk now, in a process that has loaded nothing yet."""
        self.forget()
        return read_code(self.load(reference).function, self.folder)

    def files(self, reference: str = "flows:first") -> set[str]:
        return {path.relative_to(self.folder).as_posix() for path in self.code(reference).files}

    def forget(self) -> None:
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(str(self.folder)):
                del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Folder]:
    """A project of three files."""
    path, finders = list(sys.path), list(sys.meta_path)
    folder = Folder((tmp_path / "project with space").resolve())
    yield folder
    folder.forget()
    sys.path[:], sys.meta_path[:] = path, finders


CHANGES = {
    "own body": ("flows.py", "grow(x) + bounded(x)", "grow(x) - bounded(x)"),
    "own default": ("flows.py", "x: int = 1", "x: int = 2"),
    "own annotation": ("flows.py", "x: int = 1", "x: float = 1"),
    "constant": ("flows.py", "LIMIT = 3", "LIMIT = 4"),
    "helper": ("flows.py", "min(x, LIMIT)", "max(x, LIMIT)"),
    "decorator of a helper": ("flows.py", "def bounded", "@math.ulp\ndef bounded"),
    "another decorator of the step": ("flows.py", "@step(retries=1)", "@step(retries=1)\n@keep"),
    "imported": ("tools.py", "deeper.more(x)", "deeper.more(x) * 2"),
    "imported by imported": ("deeper.py", "x + 1", "x + 2"),
    "name of the file": ("flows.py", "from tools import grow", "from deeper import more as grow"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_can_change_the_result_changes_the_digest(project: Folder, name: str):
    if "another" in name:
        project.edit("flows.py", "LIMIT = 3", "LIMIT = 3\ndef keep(f): return f")
    if "helper" in name:
        project.edit("flows.py", "import math", "import types\nmath = types.SimpleNamespace(ulp=lambda f: f)")
    before = project.code().digest
    project.edit(*CHANGES[name])
    assert project.code().digest != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("flows.py", "@step(retries=1)", "@step(retries=5, memory='2GiB')"),
        ("flows.py", "@step(retries=1)", "@step"),
        ("flows.py", '"""Say so."""', '"""Say it otherwise."""'),
        ("flows.py", '    """Say so."""\n', ""),
        ("flows.py", '"""What this file is for."""', ""),
        ("flows.py", "# more", "# less"),
        ("flows.py", "LIMIT = 3\n", "LIMIT    =   3\n\n\n"),
        ("flows.py", "return x * 2", "return x * 3"),
        ("flows.py", "@step\ndef second", "@step(cache=False)\ndef second"),
        ("flows.py", "return second(first())", "return second(first(2))"),
        ("tools.py", '"""Growing."""', "# nothing"),
        ("deeper.py", "return x + 1", "return (x + 1)  # one"),
    ],
)
def test_what_cannot_change_the_result_keeps_the_digest(project: Folder, file: str, old: str, new: str):
    before = project.code().digest
    project.edit(file, old, new)
    assert project.code().digest == before


def test_files_that_a_step_does_not_import_do_not_count(project: Folder):
    project.write({"notes.py": "A = 1\n", "data.csv": "a,b\n"})
    before = project.code()
    assert project.files() == {"flows.py", "tools.py", "deeper.py"}
    project.write({"notes.py": "A = 2\n", "data.csv": "b\n"})
    assert project.code().digest == before.digest


def test_imports_inside_functions_count_before_they_are_made(project: Folder):
    project.edit("flows.py", "    return grow(x)", "    from late import later\n    return later(x) + grow(x)")
    project.write({"late.py": "def later(x):\n    return x\n"})
    before = project.code()
    assert "late" not in sys.modules
    assert "late.py" in project.files()
    project.write({"late.py": "def later(x):\n    return -x\n"})
    assert project.code().digest != before.digest


def test_a_step_that_the_step_calls_counts_and_others_do_not(project: Folder):
    project.edit("flows.py", "return grow(x)", "return second(x) + grow(x)")
    before = project.code().digest
    project.edit("flows.py", "return x * 2", "return x * 3")
    after = project.code().digest
    assert after != before
    project.edit("flows.py", "return second(first())", "return second(first(7))")
    assert project.code().digest == after


def test_steps_of_other_modules_count_when_they_are_named(project: Folder):
    shared = "from gateline import step as task\n\n@task\ndef clean(x): return x\n\n@task(retries=1)\ndef other(x): return x\n"
    project.write({"shared.py": shared})
    project.edit("flows.py", "import math", "from shared import clean as tidy")
    unused = project.code().digest
    project.edit("shared.py", "def clean(x): return x", "def clean(x): return -x")
    assert project.code().digest == unused, "imported for the pipeline alone"
    project.edit("flows.py", "return grow(x)", "return tidy(x) + grow(x)")
    used = project.code().digest
    project.edit("shared.py", "def clean(x): return -x", "def clean(x): return +x")
    assert project.code().digest != used
    used = project.code().digest
    project.edit("shared.py", "def other(x): return x", "def other(x): return -x")
    assert project.code().digest == used


def test_a_decorator_of_that_name_from_elsewhere_is_code(project: Folder):
    project.write({"other.py": "def step(f): return f\n"})
    project.edit("flows.py", "import math", "import other")
    project.edit("flows.py", "@step\ndef second", "@other.step\ndef second")
    before = project.code().digest
    project.edit("flows.py", "return x * 2", "return x * 3")
    assert project.code().digest != before


def test_import_cycles_end(project: Folder):
    project.edit("deeper.py", "def more", "import tools\n\n\ndef more")
    before = project.code()
    assert project.files() == {"flows.py", "tools.py", "deeper.py"}
    project.edit("deeper.py", "x + 1", "x + 3")
    assert project.code().digest != before.digest


def test_packages_count_with_their_inits_and_relative_imports(project: Folder):
    project.write({
        "pack/__init__.py": "SIZE = 1\n",
        "pack/flow.py": (
            "from gateline import step\nfrom . import near\nfrom .inner.far import reach\nfrom .. import outside\n\n"
            "@step\ndef fit(x: int) -> int:\n    return near.one(x) + reach(x)\n"
        ),
        "pack/near.py": "def one(x): return x\n",
        "pack/inner/__init__.py": "",
        "pack/inner/far.py": "from ..sister import two\ndef reach(x): return two(x)\n",
        "pack/sister.py": "def two(x): return x\n",
        "pack/unused.py": "",
    })  # fmt: skip
    project.edit("pack/flow.py", "from .. import outside\n", "")
    expected = {"pack/__init__.py", "pack/flow.py", "pack/near.py", "pack/inner/__init__.py", "pack/inner/far.py", "pack/sister.py"}
    assert project.files("pack.flow:fit") == expected
    for file in sorted(expected - {"pack/flow.py"}):
        before = project.code("pack.flow:fit").digest
        project.write({file: (project.folder / file).read_text() + "\nNEW = 1\n"})
        assert project.code("pack.flow:fit").digest != before, file


def test_folders_without_init_are_packages_too(project: Folder):
    project.write({"space/part.py": "def grow(x): return x\n"})
    project.edit("flows.py", "from tools import grow", "from space.part import grow")
    assert project.files() == {"flows.py", "space/part.py"}
    module = project.load("space.part:grow")
    assert module(3) == 3
    project.edit("space/part.py", "return x", "return -x")
    assert [path.name for path in changed_sources()] == ["part.py"]


def test_star_imports_count_whole_packages(project: Folder):
    project.write({"pack/__init__.py": "__all__ = ['a', 'b']\n", "pack/a.py": "A = 1\n", "pack/b.py": "B = 1\n", "other.py": ""})
    project.edit("flows.py", "from tools import grow", "from tools import *\nfrom pack import *")
    assert project.files() == {"flows.py", "tools.py", "deeper.py", "pack/__init__.py", "pack/a.py", "pack/b.py"}


def test_conditional_imports_count_and_those_for_type_checkers_do_not(project: Folder):
    for name in ("fast", "slow", "typed", "untyped", "never"):
        project.write({f"{name}.py": "def run(x): return x\n"})
    project.edit(
        "flows.py", "import math",
        "import typing\nfrom typing import TYPE_CHECKING\ntry:\n    import fast\nexcept ImportError:\n    import slow\n"
        "if TYPE_CHECKING:\n    import typed\nelse:\n    import untyped\nif typing.TYPE_CHECKING:\n    import never\n",
    )  # fmt: skip
    assert project.files() == {"flows.py", "tools.py", "deeper.py", "fast.py", "slow.py", "untyped.py"}


def test_imports_by_a_written_name_are_followed_and_others_count_all_modules(project: Folder):
    project.write({"plug.py": "A = 1\n", "more/far.py": "B = 1\n", ".venv/lib/site-packages/big.py": "C = 1\n"})
    project.edit("flows.py", "import math", 'import importlib\nimportlib.import_module("plug")')
    assert project.files() == {"flows.py", "tools.py", "deeper.py", "plug.py"}
    project.edit("flows.py", '.import_module("plug")', '.import_module("pl" + "ug")')
    assert project.files() == {"flows.py", "tools.py", "deeper.py", "plug.py", "more/far.py"}


def test_a_step_named_by_text_counts(project: Folder):
    project.edit("flows.py", "return grow(x)", 'return globals()["second"](x) + grow(x)')
    before = project.code().digest
    project.edit("flows.py", "return x * 2", "return x * 3")
    assert project.code().digest != before


@pytest.mark.parametrize("call", ['globals()["sec" + "ond"]', 'getattr(sys.modules[__name__], f"sec{str()}ond")', 'eval("second(x) + 0")'])
def test_a_step_that_is_called_by_a_computed_name_counts(project: Folder, call: str):
    project.edit("flows.py", "grow(x) + bounded(x)", f"{call} if x else sys")
    project.edit("flows.py", "import math", "import math, sys")
    before = project.code().digest
    project.edit("flows.py", "return x * 2", "return x * 3")
    assert project.code().digest != before


def test_docstrings_count_where_code_reads_them(project: Folder):
    project.edit("flows.py", "return grow(x)", "return len(bounded.__doc__) + grow(x)")
    before = project.code().digest
    project.edit("flows.py", '"""Say so."""\n    return min', '"""Say it otherwise."""\n    return min')
    assert project.code().digest != before


def test_files_that_are_no_source_count_by_their_bytes(project: Folder):
    suffix = ".abi3.so"
    project.write({f"native{suffix}": b"\x7fELF 1"})
    project.edit("flows.py", "    return grow(x)", "    import native\n    return grow(x)")
    before = project.code()
    assert f"native{suffix}" in project.files()
    project.write({f"native{suffix}": b"\x7fELF 2"})
    assert project.code().digest != before.digest


def test_the_same_code_elsewhere_has_the_same_digest(project: Folder, tmp_path: Path):
    other = Folder(tmp_path / "elsewhere")
    before = project.code().digest
    assert other.code().digest == before
    other.forget()


def test_two_steps_of_one_file_differ(project: Folder):
    assert project.code("flows:first").digest != project.code("flows:second").digest


def test_a_file_that_is_no_python_is_named(project: Folder):
    for content in ("def (", b"\xff\xfe\x00", "x = 1\x00", "(" * 1000 + ")" * 1000):
        project.write({"broken.py": content})
        project.edit("flows.py", "    return grow(x)", "    import broken\n    return grow(x)")
        with pytest.raises(InvalidInput, match=r"broken\.py is no valid Python"):
            project.code()
        project.write({"flows.py": FLOWS})


def test_expressions_too_deep_to_be_walked_count_by_their_bytes(project: Folder):
    deep = "TOTAL = " + " + ".join(["1"] * 5_000) + "\n"
    project.write({"deep.py": deep})
    project.edit("flows.py", "    return grow(x)", "    import deep\n    return grow(x)")
    before = project.code().digest
    project.write({"deep.py": deep.replace("= 1", "= 2")})
    assert project.code().digest != before


def test_sources_in_other_encodings_are_read_as_python_reads_them(project: Folder):
    project.write({"tools.py": "# -*- coding: latin-1 -*-\nNAME = 'é'\ndef grow(x): return x\n".encode("latin-1")})
    before = project.code().digest
    project.write({"tools.py": "# -*- coding: latin-1 -*-\nNAME = 'è'\ndef grow(x): return x\n".encode("latin-1")})
    assert project.code().digest != before


def test_a_module_that_changed_while_loaded_is_refused(project: Folder):
    function = project.load().function
    code_digest(function, project.folder)
    project.edit("deeper.py", "x + 1", "x + 2")
    assert [path.name for path in changed_sources() if path.is_relative_to(project.folder)] == ["deeper.py"]
    with pytest.raises(Conflict, match=r"deeper\.py changed after this process had loaded it.*Restart the runner"):
        code_digest(function, project.folder)
    project.edit("deeper.py", "x + 2", "x + 1")
    code_digest(function, project.folder)


def test_an_edit_of_the_same_size_and_time_is_noticed(project: Folder):
    assert project.load()(1) == 3
    path = project.folder / "deeper.py"
    times = path.stat()
    project.edit("deeper.py", "x + 1", "x + 9")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(Conflict, match=r"deeper\.py changed"):
        code_digest(project.load().function, project.folder)
    project.forget()
    assert project.load()(1) == 11, "no compiled file of the earlier text is used"
    assert not list(project.folder.rglob("*.pyc"))


def test_a_module_that_changed_before_it_was_imported_late_is_noticed_afterwards(project: Folder):
    project.edit("flows.py", "    return grow(x)", "    from late import later\n    return later(x) + grow(x)")
    project.write({"late.py": "def later(x):\n    return x\n"})
    step = project.load()
    code = read_code(step.function, project.folder)
    project.write({"late.py": "def later(x):\n    return -x\n"})
    code.check_loaded()
    step(1)
    with pytest.raises(Conflict, match=r"late\.py changed"):
        code.check_loaded()


def test_changes_that_do_not_concern_a_step_do_not_stop_it(project: Folder):
    project.load("flows:train")
    second = project.load("deeper:more")
    project.write({"apart.py": "A = 1\n"})
    project.load("apart:A")
    project.write({"apart.py": "A = 2\n"})
    code_digest(project.load().function, project.folder)
    assert second(1) == 2


def test_a_deleted_module_is_told(project: Folder):
    function = project.load().function
    (project.folder / "deeper.py").unlink()
    assert [path.name for path in changed_sources() if path.is_relative_to(project.folder)] == ["deeper.py"]
    project.edit("tools.py", "import deeper", "deeper = None")
    with pytest.raises(Conflict, match=r"tools\.py"):
        code_digest(function, project.folder)


def test_code_that_was_read_from_no_file_has_no_key(project: Folder, monkeypatch: pytest.MonkeyPatch):
    function = project.load().function
    monkeypatch.setattr(sys.modules["flows"], "__file__", str(project.folder / "gone.py"))
    with pytest.raises(InvalidInput, match="code of 'first' was not read from a file"):
        read_code(function, project.folder)


def test_two_projects_with_modules_of_one_name_do_not_mix(project: Folder, tmp_path: Path):
    other = Folder(tmp_path / "other")
    other.write({"deeper.py": "def more(x):\n    return x + 100\n"})
    assert project.load()(1) == 3
    assert other.load()(1) == 102
    assert project.load()(1) == 3
    assert [one.folder for one in sys.meta_path if isinstance(one, ProjectFinder)][:1] == [project.folder]
    other.forget()


@pytest.mark.parametrize(
    ("files", "reference", "kind", "message"),
    [
        ({}, "steps:train", NotFound, r"has no file steps\.py"),
        ({}, "a.b:train", NotFound, r"has no file a/b\.py"),
        ({}, "../flows:train", NotFound, "has no file"),
        ({}, "flows:absent", NotFound, "flows of project 'p' has no 'absent'"),
        ({"json.py": "A = 1\n"}, "json:A", InvalidInput, "named like a module of Python or Gateline"),
        ({"gateline.py": "A = 1\n"}, "gateline:A", InvalidInput, "named like a module of Python or Gateline"),
        ({"bad.py": "def (\n"}, "bad:A", InvalidInput, r"bad\.py is no valid Python"),
        ({"need.py": "import not_there_at_all\n"}, "need:A", InvalidInput, r"need\.py imports 'not_there_at_all', which is not installed"),
    ],
)
def test_references_that_lead_nowhere_say_why(project: Folder, files: dict[str, str | bytes], reference: str, kind: Any, message: str):
    project.write(files)
    with pytest.raises(kind, match=message):
        project.load(reference)


KEY: dict[str, Any] = {"code": "c", "environment": "e", "arguments": {"x": {"value": 1}}, "seed": None, "run_id": ""}


@pytest.mark.parametrize(
    "change",
    [
        {"code": "d"},
        {"environment": "f"},
        {"arguments": {"x": {"value": 2}}},
        {"arguments": {"y": {"value": 1}}},
        {"arguments": {"x": {"value": "1"}}},
        {"arguments": {"x": {"value": True}}},
        {"arguments": {"x": {"artifact": "a", "kind": "json"}}},
        {"arguments": {"x": {"list": [{"value": 1}]}}},
        {"seed": 0},
        {"run_id": "r1"},
    ],
    ids=str,
)
def test_each_ingredient_changes_the_key(change: dict[str, Any]):
    assert step_key(**KEY) == step_key(**{**KEY, "arguments": dict(KEY["arguments"])})
    assert step_key(**{**KEY, **change}) != step_key(**KEY)


def test_arguments_of_a_plan_become_parts_of_a_key():
    argument = {"fields": {"rows": {"list": [{"node": "split", "output": "train"}, {"item": "part"}]}, "rate": {"value": 0.1}}}
    found = key_argument(argument, lambda name, output: {"artifact": f"{name}/{output}", "kind": "frame"}, lambda name: {"value": name})
    assert found == {
        "fields": {"rows": {"list": [{"artifact": "split/train", "kind": "frame"}, {"value": "part"}]}, "rate": {"value": 0.1}}
    }
