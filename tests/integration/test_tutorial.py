"""The tutorials run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).resolve().parents[2] / "docs" / "tutorials").glob("*.md"))
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_there_are_tutorials():
    assert [path.stem for path in TUTORIALS] == ["feature-set", "notebook-to-pipeline"]


@pytest.mark.parametrize("path", [path for path in TUTORIALS if path.stem == "feature-set"], ids=lambda path: path.stem)
def test_the_code_of_a_tutorial_runs_in_one_session(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    names: dict[str, object] = {"__name__": path.stem}
    for number, code in enumerate(_BLOCK.findall(path.read_text(encoding="utf-8")), 1):
        exec(compile(code, f"{path.name}, block {number}", "exec"), names)  # noqa: S102 - the documents are ours
    printed = capsys.readouterr().out
    assert "orders@1 5 payments@1 4" in printed
    assert "late_payment@1 ['last_amount', 'payments_1d', 'payments_7d', 'paid_1d', 'paid_7d', 'amount', 'amount_over_last']" in printed
    assert "sees the future" in printed
    rows = {row["row_id"]: row for row in names["rows"].iter_rows(named=True)}
    assert rows["o2"]["payments_1d"] == 1
    assert rows["o2"]["last_amount"] == 40
    assert rows["o4"]["paid_7d"] == 110
