"""What a run used is measured, and what it is recorded with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import InvalidInput
from gateline.sdk.resources import Price, ResourceMeter
from gateline.sdk.surroundings import DIFF_BYTES_MAX, Surroundings

MEGABYTE = 1 << 20


def test_time_processor_memory_and_bytes_are_measured_with_children(tmp_path):
    meter = ResourceMeter()
    work = "import sys; x = bytearray(300 << 20); open(sys.argv[1], 'wb').write(bytes(5 << 20)); sum(range(2_000_000))"
    subprocess.run([sys.executable, "-c", work, str(tmp_path / "out")], check=True)
    found = meter.read()
    assert found["resources.cpu_seconds"] > 0
    assert found["resources.duration_seconds"] > 0
    assert found["resources.peak_memory_bytes"] >= 300 * MEGABYTE
    assert found["resources.written_bytes"] >= 5 * MEGABYTE
    assert "resources.estimated_cost" not in found


def test_the_peak_is_that_of_the_time_measured_also_when_another_meter_opens():
    if ResourceMeter().tags()["resources.peak_memory_of"] != "run":
        pytest.fail("this kernel does not let the peak be reset")
    outer = ResourceMeter()
    block = bytearray(256 * MEGABYTE)
    del block
    inner = ResourceMeter()
    assert inner.read()["resources.peak_memory_bytes"] < outer.read()["resources.peak_memory_bytes"]


def test_the_cost_is_hours_times_the_declared_price():
    price = Price.declared({"resources": {"price_per_hour": 3600, "currency": "EUR"}})
    meter = ResourceMeter()
    found = meter.read(price)
    assert found["resources.estimated_cost"] == pytest.approx(found["resources.duration_seconds"])
    assert meter.tags(price)["resources.price_per_hour"] == "3600.0"
    assert Price.declared({}) is None


@pytest.mark.parametrize("price", ["0.4", -1, True, float("nan"), float("inf"), None])
def test_a_price_that_is_none_is_refused(price):
    with pytest.raises(InvalidInput, match="price_per_hour"):
        Price.declared({"resources": {"price_per_hour": price}})


@pytest.fixture
def checkout(tmp_path):
    """A git checkout with one change that is not committed."""

    def git(*words):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@x", *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "train.py").write_text("rounds = 1\n", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "train.py").write_text("rounds = 2  # secret\n", encoding="utf-8")
    return tmp_path


def test_uncommitted_changes_are_digested_always_and_kept_only_when_asked(checkout):
    plain = Surroundings.of(checkout)
    assert plain.tags()["code.dirty"] == "true"
    assert "code.diff" not in plain.files()
    kept = Surroundings.of(checkout, keep_diff=True)
    assert b"rounds = 2  # secret" in kept.files()["code.diff"]
    assert sha256_bytes(kept.files()["code.diff"]) == kept.tags()["code.diff_sha256"] == plain.tags()["code.diff_sha256"]
    declared = '[project]\nname = "p"\n[tracking]\nkeep_diff = true\n[resources]\nprice_per_hour = 2\n'
    (checkout / "gateline.toml").write_text(declared, encoding="utf-8")
    assert "code.diff" in Surroundings.of(checkout).files()
    assert "code.diff" not in Surroundings.of(checkout, keep_diff=False).files()
    assert Surroundings.of(checkout).price == Price(per_hour=2.0, currency="")


def test_changes_that_are_too_large_are_not_kept_and_the_run_says_so(checkout):
    (checkout / "train.py").write_text("x" * (DIFF_BYTES_MAX + 1), encoding="utf-8")
    around = Surroundings.of(checkout, keep_diff=True)
    assert "code.diff" not in around.files()
    assert "more than" in around.tags()["code.diff_omitted"]


def test_a_wrong_declaration_is_refused(checkout):
    (checkout / "gateline.toml").write_text('[project]\nname = "p"\n[tracking]\nkeep_diff = "yes"\n', encoding="utf-8")
    with pytest.raises(InvalidInput, match="keep_diff"):
        Surroundings.of(checkout)
