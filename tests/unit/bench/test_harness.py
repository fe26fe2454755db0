"""What benchmarks share: claims that hold by their value, peers that are missing with a reason, results of parts that are not kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench.harness import environments, results
from bench.harness.claims import at_least, at_most, exactly, median
from bench.harness.processes import Failed, measure
from bench.harness.results import Benchmark
from bench.pipelines import contenders
from bench.pipelines.run import CONTENDERS, beside


def test_a_claim_holds_by_its_value_and_not_by_its_rounding() -> None:
    assert not at_most("a", "A.", 5.0001, "ms", 5).holds
    assert at_most("a", "A.", 5.0001, "ms", 5).as_json()["value"] == 5.0
    assert at_least("a", "A.", 4, "x", 4).holds
    assert not exactly("a", "A.", 1, "rows", 0).holds
    assert not at_least("a", "A.", float("nan"), "x", 4).holds


def test_the_median_is_of_one_number_of_each_measurement() -> None:
    assert median([{"seconds": 3.0}, {"seconds": 1.0}, {"seconds": 2.0}]) == 2.0


def test_a_process_that_fails_ends_the_benchmark_with_what_it_said() -> None:
    with pytest.raises(Failed, match="stock_client"):
        measure(Path(sys.executable), "bench.tracking.stock_client", "nothing", 1)


def test_a_peer_that_cannot_be_installed_is_in_the_results_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> Path:
        raise environments.PeerMissing(f"{name} is not in the index")

    monkeypatch.setattr(contenders, "peer", missing)
    theirs = next(one for one in CONTENDERS if one.name == "prefect_inline")
    found = theirs.measure(tmp_path, 20, 1)
    assert found == {"missing": "prefect is not in the index"}
    ours = [{"seconds": [1.0], "run_seconds": [0.5]}]
    assert beside({"gateline_inline": ours, "gateline_process": ours, "prefect_inline": [found]}) == []


def test_only_what_was_measured_is_claimed() -> None:
    ours, theirs = [{"seconds": [1.0, 3.0], "run_seconds": [0.5, 0.5]}], [{"seconds": [30.0], "run_seconds": [12.0]}]
    (claim,) = beside({"gateline_inline": ours, "gateline_process": ours, "airflow_dags_test": theirs})
    assert (claim.id, claim.value, claim.holds) == ("inline_vs_airflow_dags_test", 24.0, True)


def test_results_are_written_whole_and_those_of_a_part_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(results.signal, "signal", lambda *_: None)
    bench = Benchmark("example", peer="1.0")
    bench.claims = [at_most("slow", "Slow.", 2, "s", 1)]
    assert bench.finish(quick=True, keep=False) == 1
    assert not list(tmp_path.rglob("*.json"))
    assert bench.finish(quick=True) == 1
    content = json.loads((tmp_path / "bench" / "results" / "example.json").read_text(encoding="utf-8"))
    assert content["environment"]["quick"] is True
    assert content["environment"]["versions"]["peer"] == "1.0"
    assert [one["holds"] for one in content["claims"]] == [False]
