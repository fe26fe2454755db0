"""Runs over REST and on the command line, on the embedded MLflow: search, comparison, histories, tags and notes; and hostile input."""

from __future__ import annotations

import json
import math

import pytest

from gateline.cli.output import Session
from gateline.cli.run import group
from gateline.kernel.errors import Conflict, Denied, GatelineError, InvalidInput, NotFound
from gateline.sdk.client import Client
from gateline.sdk.tracking import tracked_run

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future

EXPERIMENT = "grid ü"


@pytest.fixture(scope="module")
def client(served):
    with Client(url=served.url.removesuffix("/mlflow"), token=served.developer) as made:
        yield made


@pytest.fixture(scope="module")
def grid(client):
    """Three finished runs that differ in depth, auc and one tag."""
    found = []
    for depth, auc in ((3, 0.7), (5, 0.9), (7, math.nan)):
        params = {"depth": depth, "model": "lightgbm", "größe": "ß"}
        with tracked_run(client, experiment=EXPERIMENT, name=f"depth {depth}", params=params, tags={"team": "delays"}, seed=1) as run:
            run.log_metrics({"auc": auc, "val/präzision": depth / 10, "end": math.inf})
        found.append(run.run_id)
    return found


@pytest.fixture
def gateline(client, capsys):
    """Run `gateline tracking …` against the server and return what it prints."""

    def run(*words, json_=False):
        session = Session(json=json_)
        session._client = client
        capsys.readouterr()
        group.main(list(words), obj=session, standalone_mode=False)
        return capsys.readouterr().out

    return run


def found(client, **asked):
    return [run["run_id"] for run in client.get("/runs", params={"experiment": EXPERIMENT, **asked})["runs"]]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("metrics.auc > 0.8", [1]),
        ("metrics.auc <= 0.7 AND params.model = 'lightgbm'", [0]),
        ("params.depth IN ('3')", None),
        ("params.`größe` = 'ß' and tags.team LIKE 'del%' and attributes.status = 'FINISHED'", [2, 1, 0]),
        ("metrics.`val/präzision` >= 0.5", [2, 1]),
        ("params.model = 'it''s'", []),
        ("params.model = 'x\\' OR 1=1 --'", []),
        ("params.model = \"lightgbm' OR '1'='1\"", []),
        ("tags.team = 'x'; DROP TABLE runs", None),
        ("metrics.resources_none > 1", []),
        ("metrics.`resources.duration_seconds` > 0", [2, 1, 0]),
    ],
)
def test_filters_of_mlflows_grammar_find_runs_or_are_refused(client, grid, condition, expected):
    if expected is None:
        with pytest.raises(InvalidInput) as refused:
            found(client, filter=condition)
        assert "character" in str(refused.value)
    else:
        assert found(client, filter=condition) == [grid[index] for index in expected]


def test_runs_are_ordered_and_paged(client, grid):
    assert found(client, order_by=["metrics.auc DESC"])[:2] == [grid[1], grid[0]]
    assert found(client, order_by=["params.depth ASC"]) == grid
    seen, token = [], ""
    while True:
        asked = {"experiment": EXPERIMENT, "order_by": ["params.depth ASC"], "max_results": 2, "page_token": token}
        page = client.get("/runs", params=asked)
        seen += [run["run_id"] for run in page["runs"]]
        if not (token := page["next_page_token"]):
            break
    assert seen == grid
    assert client.get("/runs", params={"max_results": 1})["runs"][0]["run_id"]
    with pytest.raises(NotFound, match="no experiment"):
        client.get("/runs", params={"experiment": "none"})


@pytest.mark.parametrize(
    ("asked", "position", "clause"),
    [
        ({"filter": "metrics.auc > 0.1 AND params.depth > 3"}, 22, "params.depth > 3"),
        ({"filter": "metrics.auc > 0.1 AND colour.x = 'red' AND tags.team = 'a'"}, 22, "colour.x = 'red'"),
        ({"filter": "metrics.auc > '0.1'"}, 0, "metrics.auc > '0.1'"),
        ({"filter": "metrics.auc > 0.1 OR metrics.auc < 0"}, 0, "metrics.auc > 0.1 OR metrics.auc < 0"),
        ({"filter": "params.model = 'unclosed"}, 0, "params.model = 'unclosed"),
        ({"filter": "attributes.start_time > 99999999999999999999"}, 0, "attributes.start_time > 99999999999999999999"),
    ],
)
def test_a_wrong_filter_is_refused_with_its_place_and_what_is_allowed(client, grid, asked, position, clause):
    with pytest.raises(InvalidInput, match="AND") as refused:
        client.get("/runs", params=asked)
    assert (refused.value.facts["position"], refused.value.facts["clause"]) == (position, clause)
    assert f"character {position + 1}" in refused.value.message


@pytest.mark.parametrize(
    "asked",
    [
        {"filter": "x" * 10_001},
        {"filter": "(" * 5_000},
        {"filter": "\x00"},
        {"filter": "'" * 999},
        {"filter": "metrics.auc > 1 AND " * 31},
        {"order_by": ["metrics.auc SIDEWAYS"]},
        {"order_by": ["nothing"]},
        {"order_by": [""]},
        {"order_by": ["metrics.auc", "metrics.auc DESC"]},
        {"order_by": ["start_time", "attributes.Created DESC"]},
        {"order_by": ["params.`a b`", 'params."a b"']},
        {"order_by": [f"tags.t{number}" for number in range(64)]},
        {"order_by": ["metrics.auc"], "filter": " AND ".join(f"datasets.name = 'd{number}'" for number in range(30))},
        {"page_token": "💥"},
        {"page_token": "bm9uc2Vuc2U="},
        {"page_token": "eyJvZmZzZXQiOiAtMX0="},
        {"page_token": "eyJvZmZzZXQiOiA5OTk5OTk5OTk5OTk5OTk5OTk5OTl9"},
        {"max_results": 0},
        {"max_results": 1_001},
    ],
)
def test_hostile_searches_are_bad_requests(client, grid, asked):
    with pytest.raises(InvalidInput) as refused:
        client.get("/runs", params=asked)
    assert refused.value.next_step or "max_results" in asked


def test_as_many_tables_are_joined_as_is_allowed(client, grid):
    many = " AND ".join(f"datasets.name = 'd{number}'" for number in range(30))
    assert found(client, filter=many) == []
    assert found(client, order_by=[f"tags.t{number}" for number in range(60)]) == grid[::-1]


def test_a_comparison_says_what_differs_and_what_is_equal(client, grid, gateline):
    compared = client.get("/runs/compare", params={"run": grid})
    assert compared["runs"] == grid
    assert compared["different"]["parameters"] == {"depth": ["3", "5", "7"]}
    assert compared["same"]["parameters"] == {"model": "lightgbm", "größe": "ß"}
    assert compared["different"]["metrics"]["auc"] == [0.7, 0.9, "nan"]
    assert compared["same"]["tags"]["team"] == "delays"
    assert compared["same"]["environment"]["seed"] == 1
    assert compared["same"]["environment"]["hardware.cpus"] >= 1
    assert compared["same"]["packages"]["mlflow"]
    assert compared["different"]["packages"] == {}
    text = gateline("compare", *grid[:2])
    assert "depth" in text
    assert "größe" not in text
    assert "Equal: " in text
    assert "größe = ß" in gateline("compare", *grid[:2], "--all")


def test_a_comparison_leaves_out_when_runs_were_heard_of(client, grid):
    compared = client.get("/runs/compare", params={"run": grid[:2]})
    tags = {**compared["same"]["tags"], **compared["different"]["tags"]}
    assert {"gateline.heartbeat", "gateline.last_write"} <= set(client.get(f"/runs/{grid[0]}")["tags"])
    assert not {key for key in tags if key.startswith("gateline.")}


def test_runs_that_read_other_data_and_features_differ_in_them(served, client):
    file = served.app.objects.put_bytes(b"a,n\na,1\n")
    dataset = served.app.datasets.register("owner", "compared", file=file.sha256, format="csv", source="test", licence="CC0-1.0")
    with tracked_run(client, experiment="compared", name="with", datasets=[dataset], feature_set={"id": "f@1", "digest": "ab" * 32}) as one:
        pass
    with tracked_run(client, experiment="compared", name="without") as other:
        pass
    served.tracking.freeze("developer", one.run_id)
    compared = client.get("/runs/compare", params={"run": [one.run_id, other.run_id]})
    assert compared["different"]["inputs"] == {"compared (training)": [dataset.id, None]}
    assert compared["different"]["features"] == {"feature_set": ["f@1", None], "feature_set.digest": ["ab" * 32, None]}


@pytest.mark.parametrize("count", [1, 11])
def test_too_few_too_many_and_repeated_runs_are_not_compared(client, grid, count):
    with pytest.raises(InvalidInput):
        client.get("/runs/compare", params={"run": grid[:1] * count})
    with pytest.raises(NotFound):
        client.get("/runs/compare", params={"run": [grid[0], "0" * 32]})


def test_a_metric_history_is_exact_when_short_and_sampled_when_long(client, gateline):
    values = [step / 1_000 for step in range(3_000)]
    values[1_234], values[1_500], values[2_000] = 99.0, math.nan, -math.inf
    with tracked_run(client, experiment=EXPERIMENT, name="curve") as run:
        run.log_history({"a/loss": values, "few": [1.0, math.nan, 0.5]})
    short = client.get(f"/runs/{run.run_id}/metrics/few")
    assert (short["count"], short["sampled"], [point["value"] for point in short["points"]]) == (3, False, [1.0, "nan", 0.5])
    long = client.get(f"/runs/{run.run_id}/metrics/a/loss", params={"points": 50})
    kept = [(point["step"], point["value"]) for point in long["points"]]
    assert (long["count"], long["sampled"]) == (3_000, True)
    assert len(kept) <= 50
    assert kept == sorted(kept, key=lambda one: one[0])
    assert {kept[0], kept[-1], (1_234, 99.0), (1_500, "nan"), (2_000, "-inf")} <= set(kept)
    exact = client.get(f"/runs/{run.run_id}/metrics/a/loss", params={"points": 3_000})
    assert not exact["sampled"]
    assert len(exact["points"]) == 3_000
    plot = gateline("history", run.run_id, "a/loss", "--points", "100")
    assert "3,000 values" in plot
    assert "!" in plot.splitlines()[-3]
    for wrong in (f"/runs/{run.run_id}/metrics/none", f"/runs/{'0' * 32}/metrics/few", f"/runs/{run.run_id}/metrics/few';--"):
        with pytest.raises(NotFound):
            client.get(wrong)
    with pytest.raises(InvalidInput):
        client.get(f"/runs/{run.run_id}/metrics/few", params={"points": 9})


def test_tags_and_notes_are_set_and_removed_until_the_run_is_frozen(served, client, gateline):
    with tracked_run(client, experiment=EXPERIMENT, name="annotated") as run:
        pass
    path = f"/runs/{run.run_id}"
    changed = client.patch(path, json={"tags": {"stage": "draft", "ключ": "значение"}, "note": "# Why\nbecause"})
    assert (changed["tags"]["stage"], changed["tags"]["ключ"], changed["frozen"]) == ("draft", "значение", False)
    assert "# Why" in gateline("show", run.run_id)
    assert "stage=final" in gateline("tag", run.run_id, "stage=final", "--remove", "ключ")
    assert "removed" in gateline("note", run.run_id, "")
    assert {"ключ", "mlflow.note.content"}.isdisjoint(client.get(path)["tags"])
    with served.refusal("gateline.sealed"), pytest.raises(Denied):
        client.patch(path, json={"tags": {"gateline.sealed": "yes", "stage": "forged"}})
    assert client.get(path)["tags"]["stage"] == "final"
    for body in ({}, {"tags": {"": "x"}}, {"tags": {"k" * 300: "x"}}, {"tags": {"k": "v" * 10_000}}, {"other": 1}, {"tags": {"a": 1}}):
        with pytest.raises(InvalidInput):
            client.patch(path, json=body)
    with Client(url=client.url, token=served.viewer) as viewer, pytest.raises(Denied):
        viewer.patch(path, json={"note": "mine"})
    with pytest.raises(NotFound):
        client.patch(f"/runs/{'0' * 32}", json={"note": "x"})
    served.tracking.freeze("developer", run.run_id)
    for body in ({"note": "late"}, {"tags": {"stage": None}}):
        with pytest.raises(Conflict, match="frozen"):
            client.patch(path, json=body)
    assert client.get(path)["tags"]["stage"] == "final"


def test_long_parameters_are_kept_whole_beside_their_digest(served, client):
    columns = "ü" * 100_000
    with tracked_run(client, experiment=EXPERIMENT, name="long", params={"columns": columns, "rounds": 1}) as run:
        pass
    shown = served.tracking.read(run.run_id).params
    assert shown["rounds"] == "1"
    assert "100,000 characters" in shown["columns"]
    assert json.loads(served.mlflow.run_source.content(run.run_id, "long_params.json")) == {"columns": columns}
    assert served.mlflow.run_source.content(run.run_id, "../../../mlflow.db") is None


def test_a_long_parameter_of_the_stock_client_has_a_defined_end(client, stock):
    with stock.start_run() as run:
        stock.log_param("short", 1)
        stock.log_param("long", "x" * 100_000)
    kept = client.get(f"/runs/{run.info.run_id}")["params"]
    assert kept["short"] == "1"
    assert kept["long"] == "x" * 6_000


def test_lists_show_the_metric_they_are_ordered_by(gateline, grid):
    text = gateline("list", "--experiment", EXPERIMENT, "--filter", "metrics.auc > 0", "--order-by", "metrics.auc DESC", "--limit", "1")
    assert "0.9" in text
    assert "--page-token" in text
    assert grid[1] in text
    printed = gateline("list", "--filter", "metrics.auc > 0.8", json_=True)
    assert json.loads(printed[printed.index("{\n") :])["runs"][0]["run_id"] == grid[1]
    with pytest.raises(GatelineError, match="character"):
        gateline("list", "--filter", "nonsense")
