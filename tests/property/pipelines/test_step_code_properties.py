"""Random projects: a step's digest changes exactly when code changes that its module reaches by imports."""

from __future__ import annotations

import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateline.sdk.fingerprint import read_code

IMPORTS = (
    "import {name}\n",
    "from {name} import value as value_{name}\n",
    "from {name} import *\n",
    "def load_{name}():\n    import {name}\n    return {name}\n",
    "try:\n    import {name}\nexcept ImportError:\n    {name} = None\n",
    "if __debug__:\n    import {name}\n",
    "class Late_{name}:\n    def get(self):\n        from {name} import value\n        return value\n",
    "import importlib\n{name} = importlib.import_module('{name}')\n",
)
HIDDEN = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {name}\n"
STEP = "from gateline import step\n\n@step(retries={number})\ndef fit(x):\n    return x\n"
COSMETIC = (
    ("value = 0", "value  =  0  # the value"),
    ('"""Words."""', '"""Other words."""'),
    ('"""Words."""\n', ""),
    ("value = 0", "\n\nvalue = (0)"),
)

edges = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from([*IMPORTS, HIDDEN])), max_size=10)


def written(folder: Path, found: list[tuple[int, int, str]]) -> None:
    """Write six modules that import each other as the edges say; the step is in m0, and m5 is a package."""
    for number in range(6):
        text = '"""Words."""\n' + "".join(form.format(name=f"m{to}") for of, to, form in found if of == number)
        path = folder / (f"m{number}.py" if number < 5 else "m5/__init__.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "value = 0\n" + (STEP.format(number=1) if number == 0 else ""))


def digest(folder: Path) -> str:
    """The digest of the step in m0, none of the modules having been imported."""

    def fit(x: Any) -> Any:
        return x

    fit.__module__, fit.__qualname__ = "m0", "fit"
    module = types.ModuleType("m0")
    module.__file__ = str(folder / "m0.py")
    before = sys.modules.get("m0")
    sys.modules["m0"] = module
    try:
        return read_code(fit, folder).digest
    finally:
        del sys.modules["m0"]
        if before is not None:
            sys.modules["m0"] = before


def reached(found: list[tuple[int, int, str]]) -> set[int]:
    """The modules that m0 reaches."""
    seen, pending = {0}, [0]
    while pending:
        of = pending.pop()
        new = {to for start, to, form in found if start == of and form != HIDDEN} - seen
        seen |= new
        pending += new
    return seen


@given(edges, st.integers(0, 5), st.sampled_from(COSMETIC))
@settings(max_examples=150)
def test_the_digest_changes_exactly_with_code_that_is_reached(found: list[tuple[int, int, str]], edited: int, cosmetic: tuple[str, str]):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        written(folder, found)
        before = digest(folder)
        path = folder / (f"m{edited}.py" if edited < 5 else "m5/__init__.py")
        text = path.read_text()
        path.write_text(text.replace(*cosmetic).replace("retries=1", "retries=2"))
        assert digest(folder) == before
        path.write_text(text.replace("value = 0", "value = 1"))
        assert (digest(folder) != before) is (edited in reached(found))
