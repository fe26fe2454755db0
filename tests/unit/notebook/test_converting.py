"""A notebook as a project: it gives what the notebook gives, or is refused with the reason."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gateline.cli import main
from gateline.kernel.errors import InvalidInput
from gateline.sdk.notebook import Conversion, convert, read_notebook
from gateline.sdk.project import Project
from tests.support.notebooks import MARKDOWN, written

_numbers = iter(range(100_000))


def converted(folder: Path, *sources: str | tuple[str, list[str]]) -> tuple[Conversion, Path]:
    """Convert a notebook and write its project into a folder of its own; return the conversion and that folder."""
    home = folder / f"n{next(_numbers)}"
    path = written(home / "Study.ipynb", *sources)
    made = convert(read_notebook(path), home)
    for name, content in made.files.items():
        (home / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "project" / name).write_bytes(content)
    return made, home / "project"


def result(folder: Path, **parameters: Any) -> Any:
    """Run the pipeline of a project in this process."""
    for name in ("pipeline", "carry"):
        sys.modules.pop(name, None)
    project = Project.load(folder)
    (name,) = project.settings["pipelines"]
    found = project.pipeline(name).run(**parameters)
    return project.load_object("carry:take")(found)


def in_one_go(*sources: str) -> Any:
    """Return what the last expression of a notebook is when its cells are executed in one namespace: the oracle."""
    names: dict[str, Any] = {"__name__": "oracle"}
    tree = ast.parse("\n".join(one for one in sources if not one.startswith(MARKDOWN)))
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    exec(compile(tree, "oracle", "exec"), names)  # noqa: S102
    return eval(compile(ast.Expression(last.value), "oracle", "eval"), names)  # noqa: S307


NOTEBOOKS = {
    "values, arrays and objects cross": [
        "import numpy as np\nfrom collections import Counter",
        "#md # A",
        "x = np.arange(6).reshape(2, 3)\nc = Counter('aab')\nt = (1, [2])",
        "#md # B",
        "y = x * 2\nc.update('b')\nt[1].append(3)",
        "#md # C",
        "(y.sum().item(), dict(c), t)",
    ],
    "a function of the notebook's variables is repeated": [
        "#md # A",
        "base = [1]\nbase.append(2)\ndef shifted(v):\n    return v + base[-1] + other()\ndef other():\n    return len(base)",
        "#md # B",
        "base.append(10)",
        "#md # C",
        "(shifted(1), base)",
    ],
    "a lambda is a definition": ["#md # A", "k = [3]\nk += [4]\nf = lambda v: v * k[-1]", "#md # B", "g = f(2)", "#md # C", "f(g)"],
    "what is bound only sometimes goes through": [
        "#md # A",
        "x, flag = [1], bool([])",
        "#md # B",
        "if flag:\n    x = [2]",
        "#md # C",
        "for x2 in x:\n    last = x2",
        "#md # D",
        "(x, last)",
    ],
    "a name is bound again": ["#md # A", "x = 1", "#md # B", "x = x + 1", "#md # C", "x = x * 5\ny = x", "#md # D", "(x, y)"],
    "a function defined twice keeps its times": [
        "#md # A",
        "def f():\n    return 1\na = f()",
        "#md # B",
        "def f():\n    return 2\nb = f()",
        "#md # C",
        "(a, b, f())",
    ],
    "texts of several lines keep their margins": [
        "#md # A",
        "parts = ['x']\nt = f'''a\n  b{parts}\n'''\nu = 'y' \\\n    'z'",
        "#md # B",
        "(t, u)",
    ],
    "classes and decorators go to the top": [
        "import functools\n@functools.cache\ndef f(v):\n    return v + 1",
        "class A:\n    'Doc.'\n    w = 2\n    def m(self):\n        return f(self.w)",
        "#md # A",
        "a = A()\na.w = 5",
        "#md # B",
        "a.m()",
    ],
    "names of the template are names of notebooks too": [
        "#md # step",
        "step = 1\npipeline = [2]\ntake = keep = 3",
        "#md # take",
        "settings = step + take\nAny = Annotated = 4",
        "#md # pipeline",
        "(step, pipeline, take, keep, settings, Any, Annotated)",
    ],
    "what no heading introduces": ["x = [1]", "x.append(2)\nx"],
    "headings without letters, and twice": [
        "#md # 数据",
        "x = [1]",
        "#md # Same",
        "y = x + [2]",
        "#md # Same",
        "z = y + x",
        "#md # import",
        "z",
    ],
    "imports within try": [
        "try:\n    import nowhere_to_be_found as w\nexcept ImportError:\n    w = None",
        "#md # A",
        "x = [w]",
        "#md # B",
        "(x, w)",
    ],
    "names differ in case only": ["#md # A", "X = [1]\nx = [2]\n_ = [3]\ngröße = [4]", "#md # B", "(X, x, _, größe)"],
    "comprehensions and walrus": ["#md # A", "v = [1, 2]\nw = [(n := q) for q in v]", "#md # B", "[q * n for q in w for n in v] + [n]"],
    "deleted and bound again": ["#md # A", "x = [1]\ny = [2]\ndel y", "#md # B", "y = x * 2\nx = None", "#md # C", "(x, y)"],
    "later changes through a function": [
        "#md # A",
        "log = []\ndef note(v):\n    log.append(v)",
        "#md # B",
        "note(1)",
        "#md # C",
        "note(2)\nlog",
    ],
}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_pipeline_gives_what_the_notebook_gives(tmp_path: Path, name: str) -> None:
    _, folder = converted(tmp_path, *NOTEBOOKS[name])
    assert result(folder) == in_one_go(*NOTEBOOKS[name])


_NAMES = st.sampled_from(["a", "b", "c", "d"])
_STATEMENT = st.one_of(
    st.builds("{} = [{}, {}]".format, _NAMES, st.integers(0, 9), st.integers(0, 9)),
    st.builds("{} = {} + {}".format, _NAMES, _NAMES, _NAMES),
    st.builds("{} += [{}]".format, _NAMES, st.integers(0, 9)),
    st.builds("{}.append({})".format, _NAMES, st.integers(0, 9)),
    st.builds("if len({}) > {}:\n    {} = {}[:3]".format, _NAMES, st.integers(0, 4), _NAMES, _NAMES),
    st.builds("for i in {}:\n    {} = [i]".format, _NAMES, _NAMES),
    st.builds("def {}f():\n    return sum({}) + len({})".format, _NAMES, _NAMES, _NAMES),
    st.builds("{} = [af(), {}f()]".format, _NAMES, _NAMES),
    st.builds("{}[:2] = {}".format, _NAMES, _NAMES),
    st.just("#md # Section"),
)


@settings(max_examples=150)
@given(st.lists(_STATEMENT, min_size=1, max_size=14))
def test_random_notebooks_give_the_same_as_in_one_go(tmp_path_factory: pytest.TempPathFactory, statements: list[str]) -> None:
    first = ["a, b, c, d = [1], [2], [3], [4]", *(f"def {one}f():\n    return 0" for one in "abcd")]
    last = "([*a], [*b], [*c], [*d], af(), bf(), cf(), df())"
    statements = [f"{one}\n{one.split()[0]} = list({one.split()[0]})[:9]" if " = " in one.split("\n")[0] else one for one in statements]
    sources = [*first, *statements, last]
    expected = in_one_go(*sources)
    _, folder = converted(tmp_path_factory.mktemp("random"), *sources)
    assert result(folder) == expected


def test_tags_name_steps_and_parameters(tmp_path: Path) -> None:
    sources = [
        ("rate = 0.5\nlabel: str = 'x'\nlisted = [1]\nmany = {1}\nmany.add(2)", ["parameters"]),
        "#md # Not a step",
        ("x = [rate]", ["step:Load it"]),
        "x.append(label)",
        ("y = x + listed", ["step:fit"]),
        ("y", ["step:fit"]),
    ]
    made, folder = converted(tmp_path, *sources)
    assert made.steps == ("start", "load-it", "fit")
    assert result(folder) == [0.5, "x", 1]
    assert result(folder, rate=2, listed=[7]) == [2, "x", 7]


def test_what_could_not_be_carried_over_is_said(tmp_path: Path) -> None:
    sources = [
        "%matplotlib inline\nimport numpy as np",
        "#md # A",
        "np.random.seed(1)\nx = np.random.rand(2)\n!ls",
        "#md # B",
        "globals()",
        "open('data.csv')",
    ]
    (tmp_path / "data.csv").write_text("a", encoding="utf-8")
    made = convert(read_notebook(written(tmp_path / "x.ipynb", *sources)), tmp_path)
    assert made.left == (
        "Cell 1: left out, no Python: %matplotlib inline",
        "Cell 3: left out, no Python: !ls",
        "File data.csv: read from the folder where the run starts; copy it there, or register it as a dataset.",
        "Random state: a seed set in one step does not reach another one that runs in a process of its own; seed each.",
        "globals(): names of the notebook are names of a function now.",
    )
    assert all(f"- {one}\n" in made.files["README.md"].decode() for one in made.left)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["#md # only text"], "There is no cell with code."),
        (["x = "], "cell 1: it is no Python"),
        (["y = x", "x = 1"], "cell 1: it needs 'x', which only cell 2 below defines"),
        (["files = !ls", "files"], "cell 2: it needs 'files', which no cell defines (a magic or shell line may have)"),
        (["n = [0]\nn = n[0]\ndef f():\n    global n\n    n += 1\nf()\nn"], "a function assigns 'n' as a global"),
        (["list = list('ab')\nlist"], "'list' of Python is used and then bound"),
        (["#md # A", "when = [1]", "#md # B", "when"], "a variable is called 'when'"),
    ],
)
def test_what_cannot_be_a_project_is_refused_with_the_reason(tmp_path: Path, sources: list[str], said: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        converted(tmp_path, *sources)
    assert said in raised.value.message


def test_a_value_that_cannot_cross_is_named(tmp_path: Path) -> None:
    _, folder = converted(tmp_path, "#md # A", "walk = (n for n in [1, 2])", "#md # B", "next(walk)")
    with pytest.raises(TypeError, match="'walk' is a generator, which cannot go from one step to another"):
        result(folder)


def test_the_command_writes_a_project_whose_own_tests_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "Größe & mehr.ipynb", "import math", "#md # Eins", "x = [math.pi]", "#md # Zwei", "round(x[0], 2)")
    assert main(["init", "--from-notebook", str(path), str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "Steps: eins, zwei\nEverything was carried over.\nWrote 6 files" in told
    assert "gateline run gro-e-mehr" in told or "gateline run groe-mehr" in told
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"], cwd=tmp_path / "out", capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode()
    assert main(["init", "--from-notebook", str(path), str(tmp_path / "out"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "conflict"
    assert result(tmp_path / "out") == 3.14


OUTSIDE = [
    "rows = pd.read_csv('a.csv')",
    "rows = reader('a.csv')",
    "rows = open(PATH).read()",
    "rows = __import__('pathlib').Path('a').read_text()",
    "import requests as r\nrows = r.get('x')",
    "from urllib.request import urlopen\nrows = urlopen(PATH)",
    "rows = helper('https://example.org/a.csv')",
    "rows = [1]\npd.DataFrame(rows).to_csv('b.csv')",
    "rows = [1]\nimport joblib\njoblib.dump(rows, 'b')",
    "rows = [1]\nimport os\nos.system('make')",
    "import sqlite3\nrows = sqlite3.connect('x.db').execute('select 1').fetchall()",
]


@pytest.mark.parametrize("source", OUTSIDE)
def test_a_step_that_reads_or_writes_outside_is_not_cached(tmp_path: Path, source: str) -> None:
    top = "import pandas as pd\nPATH = 'a.csv'\ndef reader(path):\n    return inner(path)\ndef inner(path):\n    return pd.read_csv(path)\n"
    made, _ = converted(tmp_path, f"{top}def helper(x):\n    return x", "#md # A", source, "#md # B", "total = [rows]", "#md # C", "total")
    module = made.files["pipeline.py"].decode()
    assert "@step(cache=False)  # reads or writes files, addresses or databases, which no argument shows\ndef a(" in module
    assert "@step\ndef b(rows)" in module


@pytest.mark.parametrize(
    "source",
    [
        "rows = [1]\nrows.remove(1)",
        "import json\nrows = json.loads('[1]')",
        "rows = pd.DataFrame({'a': [1]}).to_csv()",
        "rows = 'a.csv'.split('.')",
    ],
)
def test_a_step_that_reads_only_its_arguments_is_cached(tmp_path: Path, source: str) -> None:
    made, _ = converted(tmp_path, "import pandas as pd", "#md # A", source, "#md # B", "rows")
    assert "@step\ndef a(" in made.files["pipeline.py"].decode()


@pytest.mark.parametrize(
    ("write", "read", "said"),
    [
        (
            "pd.DataFrame({'a': x}).to_csv('out/clean.csv')",
            "y = pd.read_csv('out/clean.csv')",
            "it reads 'out/clean.csv', which section 'A'",
        ),
        ("with open(PATH, 'w') as file:\n    print(x, file=file)", "y = open(PATH).read()", "it reads 'kept.txt', which section 'A'"),
        ("pd.DataFrame({'a': x}).to_csv(f'{x}.csv')", "y = pd.read_csv('1.csv')", "it reads files, which may be those that section 'A'"),
    ],
)
def test_an_edge_that_goes_through_a_file_is_said_in_output_readme_and_code(tmp_path: Path, write: str, read: str, said: str) -> None:
    made, _ = converted(tmp_path, "import pandas as pd\nPATH = 'kept.txt'", "#md # A", f"x = [1]\n{write}", "#md # B", read, "#md # C", "y")
    (finding,) = (one for one in made.findings if one.code == "hidden-file")
    assert (finding.cell, finding.message.startswith(said)) == (5, True)
    assert any(said in one for one in made.left)
    assert said in made.files["README.md"].decode()
    module = made.files["pipeline.py"].decode()
    comment = module[: module.index("def b(")].rpartition("\n\n")[2]
    assert said.partition(",")[0] in comment
    assert comment.startswith("# it reads")


def test_files_of_different_names_are_no_edge(tmp_path: Path) -> None:
    made, _ = converted(
        tmp_path, "#md # A", "open('a.txt', 'w').close()\nx = [1]", "#md # B", "y = open('b.txt').read(), x", "#md # C", "y"
    )
    assert made.left == ()
