"""What is recorded of where a run happens is what holds when it is asked."""

from __future__ import annotations

import sys

from gateline.sdk.environment import installed_packages


def test_a_package_that_is_installed_while_the_process_runs_is_seen_and_no_caller_changes_what_others_get(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    before = installed_packages()
    assert "made-up" not in before
    before["forged"] = "1"
    folder = tmp_path / "made_up-1.5.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: made_up\nVersion: 1.5\n", encoding="utf-8")
    after = installed_packages()
    assert after["made-up"] == "1.5"
    assert "forged" not in after
    assert list(after) == sorted(after)
