"""Saved notebooks are read, or refused with one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateline.kernel import limits
from gateline.kernel.errors import InvalidInput, NotFound, TooLarge
from gateline.sdk.notebook import read_notebook, reading
from gateline.sdk.notebook.reading import cells_digest
from tests.support.notebooks import document, written


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no JSON"),
        (b"x = 1\n", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[" * 200_000, "is no JSON"),
        (b"[]", "no number 'nbformat'"),
        (b'{"cells": []}', "no number 'nbformat'"),
        (b'{"nbformat": 3, "worksheets": [{"cells": []}]}', "format 3; format 4 is read"),
        (b'{"nbformat": 5, "cells": []}', "format 5"),
        (b'{"nbformat": 4}', "no list 'cells'"),
        (b'{"nbformat": 4, "cells": {}}', "no list 'cells'"),
        (b'{"nbformat": 4, "cells": [7]}', "Cell 1 of"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": [1]}]}', "neither code nor text"),
        (b'{"nbformat": 4, "cells": [], "metadata": {"kernelspec": {"language": "R"}}}', "a notebook of R"),
    ],
)
def test_what_is_no_notebook_of_python_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.ipynb"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as raised:
        read_notebook(path)
    assert said in raised.value.message


def test_a_missing_notebook_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_notebook(tmp_path / "x.ipynb")
    with pytest.raises(NotFound):
        read_notebook(tmp_path)


@pytest.mark.parametrize(("limit", "value"), [("NOTEBOOK_BYTES_MAX", 100), ("NOTEBOOK_CELLS_MAX", 1), ("NOTEBOOK_SOURCE_BYTES_MAX", 5)])
def test_limits_are_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    path = written(tmp_path / "x.ipynb", "x = 1", "y = 2")
    assert getattr(limits, limit) > value
    read_notebook(path)
    monkeypatch.setattr(reading, limit, value)
    with pytest.raises(TooLarge):
        read_notebook(path)


def test_fifty_megabytes_of_outputs_are_no_obstacle(tmp_path: Path) -> None:
    made = document("x = 1")
    made["cells"][0]["outputs"] = [{"output_type": "display_data", "data": {"image/png": "A" * (50 << 20)}, "metadata": {}}]
    path = tmp_path / "large.ipynb"
    path.write_text(json.dumps(made), encoding="utf-8")
    (cell,) = read_notebook(path).code
    assert cell.output_bytes >= 50 << 20


def test_sources_may_be_lists_of_lines_and_line_ends_do_not_count(tmp_path: Path) -> None:
    one = document("x = 1\ny = 'ü'\n")
    other = document("")
    other["cells"][0]["source"] = ["x = 1\r\n", "y = 'ü'"]
    paths = []
    for number, made in enumerate((one, other)):
        paths.append(tmp_path / f"{number}.ipynb")
        paths[-1].write_text(json.dumps(made), encoding="utf-8")
    first, second = map(read_notebook, paths)
    assert first.code[0].source == second.code[0].source == "x = 1\ny = 'ü'"
    assert first.sha256 == second.sha256


def test_odd_metadata_is_no_obstacle(tmp_path: Path) -> None:
    made = document("x = 1", "#md text", "")
    made["cells"][0] |= {"metadata": [], "execution_count": "1", "outputs": [7, {"output_type": "error", "ename": 3}]}
    made["cells"][1]["metadata"] = {"tags": "step:x"}
    made["cells"].append({"cell_type": "raw", "source": "---"})
    made["metadata"] = None
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(made), encoding="utf-8")
    found = read_notebook(path)
    assert [cell.count for cell in found.code] == [None]
    assert found.code[0].failed == "3"
    assert [cell.tags for cell in found.cells] == [(), (), ()]


def test_the_digest_knows_sources_and_the_order_of_execution() -> None:
    one = cells_digest([(1, "x = 1"), (2, "y = 2")])
    assert one == cells_digest([(1, "x = 1\n"), (2, "y = 2  ")])
    assert len({one, cells_digest([(1, "y = 2"), (2, "x = 1")]), cells_digest([(1, "x = 1"), (3, "y = 2")]), cells_digest([])}) == 4
