"""What is doubtful about a notebook is found, and what is sound is not."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from gateline.cli import main
from gateline.sdk.notebook import Severity, check_notebook, read_notebook
from gateline.sdk.notebook.capture import Executed, check_execution
from gateline.sdk.notebook.checking import __doc__ as table
from gateline.sdk.notebook.names import names_of
from gateline.sdk.notebook.python import read_code
from gateline.sdk.notebook.recording import script
from tests.support.notebooks import document, written

CODES = {
    *("not-python", "used-before-defined", "undefined", "no-code", "out-of-order", "not-run", "run-again", "several-kernels"),
    *("stale-output", "failed", "magic", "star-import", "large-outputs", "never-run", "secret"),
}


def found(path: Path) -> list[tuple[str, int | None]]:
    return [(one.code, one.cell) for one in check_notebook(read_notebook(path))]


@pytest.mark.parametrize(
    ("sources", "counts", "expected"),
    [
        (["x = 1", "#md text", "print(x)"], [1, 2], []),
        (["x = 1", "y = x"], [2, 1], [("out-of-order", 2)]),
        (["a = 1", "b = 1", "c = 1"], [1, 3, 2], [("out-of-order", 3)]),
        (["x = 1", "y = x"], [1, None], [("not-run", 2)]),
        (["x = 1", "y = x"], [None, None], [("never-run", None)]),
        (["x = 1", "y = x"], [1, 3], [("run-again", None)]),
        (["x = 1", "y = x"], [5, 6], [("run-again", None)]),
        (["x = 1", "y = x"], [1, 1], [("several-kernels", None)]),
        (["y = x", "x = 1"], [1, 2], [("used-before-defined", 1)]),
        (["y = x"], [1], [("undefined", 1)]),
        (["x = 1", "del x", "y = x"], [1, 2, 3], [("undefined", 3)]),
        (["x = x + 1"], [1], [("undefined", 1)]),
        (["x = 1 +"], [1], [("not-python", 1)]),
        (["x = '\0'"], [1], [("not-python", 1)]),
        (["await f()"], [1], [("not-python", 1)]),
        (["return 1"], [1], [("not-python", 1)]),
        (["files = !ls", "len(files)"], [1, 2], [("magic", 1), ("undefined", 2)]),
        (["%%bash\nx = 1 +"], [1], [("magic", 1)]),
        (["%%time\nx = 1", "x"], [1, 2], [("magic", 1)]),
        (["from math import *", "y = sin(1)"], [1, 2], [("star-import", 1)]),
        ([], [], [("no-code", None)]),
        (["#md text", "", "  \n"], [None, None], [("no-code", None)]),
        (["größe = 1", "y = größe"], [1, 2], []),
        (["def f():\n    return later", "later = 1", "f()"], [1, 2, 3], []),
        (["def f():\n    return nowhere"], [1], [("undefined", 1)]),
        (["if True:\n    x = 1", "x"], [1, 2], []),
        (["(" * 5000], [1], [("not-python", 1)]),
    ],
)
def test_findings_of_a_saved_notebook(tmp_path: Path, sources: list[str], counts: list[int | None], expected: list[Any]) -> None:
    assert found(written(tmp_path / "x.ipynb", *sources, counts=counts)) == expected


def test_outputs_that_another_execution_left_and_failures_are_found(tmp_path: Path) -> None:
    made = document("x = 1\nx", "y = 2\ny", "1 / 0", counts=[1, 2, 3])
    made["cells"][0]["outputs"] = [{"output_type": "execute_result", "execution_count": 1, "data": {}, "metadata": {}}]
    made["cells"][1]["outputs"] = [{"output_type": "execute_result", "execution_count": 1, "data": {}, "metadata": {}}]
    made["cells"][2]["outputs"] = [{"output_type": "error", "ename": "ZeroDivisionError", "evalue": "", "traceback": []}]
    made["cells"][2]["outputs"].append({"output_type": "stream", "name": "stdout", "text": ["x" * (11 << 20)]})
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(made), encoding="utf-8")
    assert found(path) == [("large-outputs", None), ("stale-output", 2), ("failed", 3)]


def test_every_kind_of_finding_is_in_the_table() -> None:
    assert table is not None
    assert {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")} - {"code", "---"} == CODES


@pytest.mark.parametrize(
    ("source", "reads", "writes"),
    [
        ("x = [a for a in b if a > c]", {"b", "c"}, {"x"}),
        ("x = {k: v for k, v in d.items()}", {"d"}, {"x"}),
        ("for i in range(3):\n    t = i\nprint(t, i)", {"range", "print", "t", "i"}, {"i", "t"}),
        ("with open(p) as f:\n    s = f.read()", {"open", "p"}, {"f", "s"}),
        ("try:\n    import q\nexcept ImportError as e:\n    q = str(e)\nq", {"ImportError", "str"}, {"q"}),
        ("import a.b as c, d.e", set(), {"c", "d"}),
        ("x: int = y", {"int", "y"}, {"x"}),
        ("if (n := len(a)) > 1:\n    b = n", {"len", "a"}, {"n", "b"}),
        ("match a:\n    case [x, *rest]:\n        y = x\n    case {'k': v, **more}:\n        pass", {"a"}, {"x", "rest", "y", "v", "more"}),
        ("class A(B):\n    z = 1\n    w = z + q", {"B", "q"}, {"A"}),
        ("f = lambda u, v=w: u + v", {"w"}, {"f"}),
        ("x, (y, *z) = p", {"p"}, {"x", "y", "z"}),
        ("a.b = c\nd[e] = 1\ng += 1", {"a", "c", "d", "e", "g"}, {"g"}),
        ("print(f'{x!r:{w}}')", {"print", "x", "w"}, set()),
    ],
)
def test_names_are_read_and_written_as_python_does(source: str, reads: set[str], writes: set[str]) -> None:
    names = names_of(ast.parse(source).body)
    assert set(names.reads) == reads
    assert names.writes == writes


def test_magics_are_told_from_python() -> None:
    source = "%load_ext x\nif a:\n    !pip install b \\\n       c\ny = 5 \\\n% 2\ndf?\n?df\nz = %timeit f()\nt = '''\n%not magic\n'''"
    code = read_code(source)
    assert code.magics[0] == "%load_ext x"
    assert read_code("y = 5 \\\n% 2").magics == ()
    kept = read_code("t = '''\n%no magic\n!none\n'''")
    assert (kept.magics, [ast.unparse(one.node) for one in kept.statements]) == ((), ["t = '\\n%no magic\\n!none\\n'"])
    assert read_code("get_ipython().run_line_magic('x', '')\ny = 1").magics == ("get_ipython().run_line_magic('x', '')",)


def test_a_script_of_executed_cells_is_python() -> None:
    text = script([(1, "%matplotlib inline\nx = 1; y = 2"), (2, "x = ="), (4, "# why\nz = x + y")])
    compiled = ast.parse(text)
    assert [ast.unparse(one) for one in compiled.body] == ["x = 1", "y = 2", "z = x + y"]
    assert "# left out: %matplotlib inline" in text
    assert "# x = =" in text
    assert "# why" in text


def test_cells_that_a_kernel_executed_again_are_found() -> None:
    executed = [Executed(count=1, source="x = 1"), Executed(count=2, source="x += 1"), Executed(count=3, source="x += 1")]
    assert [(one.code, one.cell, one.severity) for one in check_execution(executed)] == [("run-again", 3, Severity.WARNING)]
    edited = [Executed(count=1, source="x = 1", cell_id="a"), Executed(count=5, source="x = 2", cell_id="a", failed="ValueError")]
    assert [(one.code, one.cell) for one in check_execution(edited)] == [("failed", 5), ("run-again", 5)]


def test_the_command_answers_in_text_and_json_with_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = written(tmp_path / "sound.ipynb", "%matplotlib inline", "x = 1", counts=[1, 2])
    assert main(["notebook", "check", str(sound)]) == 0
    assert "2 of 2 cells with code were run" in capsys.readouterr().out
    doubtful = written(tmp_path / "doubtful.ipynb", "x = 1", "y = x", counts=[2, 1])
    assert main(["notebook", "check", str(doubtful), "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["findings"][0]["code"] == "out-of-order"
    assert answer["findings"][0]["severity"] == "warning"
    assert main(["notebook", "check", str(doubtful)]) == 3
    assert "warning cell 2: it ran as number 1, before cell 1 above it (number 2). [out-of-order]" in capsys.readouterr().out
    (tmp_path / "no.ipynb").write_text("no", encoding="utf-8")
    assert main(["notebook", "check", str(tmp_path / "no.ipynb")]) == 1
    assert "is no JSON" in capsys.readouterr().err
