"""Notebooks executed by nbclient in real kernels, against a real server: found, checked, kept with their runs, and turned into projects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from gateline.cli import main
from gateline.sdk.client import Client
from gateline.sdk.notebook import check_notebook, read_notebook
from tests.support.notebooks import document

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

STOCK = [
    "#md # Will it be late?\n\nA stock notebook: only MLflow, and Gateline's address.",
    "import lightgbm\nimport mlflow\nimport numpy as np\nimport pandas as pd\nfrom sklearn.metrics import roc_auc_score",
    "mlflow.set_tracking_uri('{url}')\nmlflow.set_experiment('{experiment}')",
    ("rounds = 12\nshare = 0.75", ["parameters"]),
    "#md ## Data",
    """chance = np.random.default_rng(5)
rows = pd.DataFrame(chance.random((400, 3)), columns=['a', 'b', 'c'])
rows['late'] = (rows.a + 0.3 * chance.normal(size=400) > 0.6).astype(int)
rows.head()""",
    "cut = int(len(rows) * share)\ntrain_rows, test_rows = rows[:cut], rows[cut:]",
    "#md ## Training",
    "COLUMNS = ('a', 'b', 'c')\n\ndef matrix(frame):\n    # the columns, in order\n    return frame[list(COLUMNS)].to_numpy()",
    """settings = {'objective': 'binary', 'verbose': -1, 'num_threads': 1, 'deterministic': True, 'seed': 3}
booster = lightgbm.train(settings, lightgbm.Dataset(matrix(train_rows), train_rows.late), num_boost_round=rounds)""",
    "#md ## Evaluation",
    """with mlflow.start_run(run_name='by hand'):
    scores = booster.predict(matrix(test_rows))
    auc = float(roc_auc_score(test_rows.late, scores))
    mlflow.log_params({'rounds': rounds})
    mlflow.log_metrics({'auc': auc, 'mean': float(scores.mean())})""",
    "{'auc': auc}",
]


def filled(sources, **values):
    def one(text):
        for name, value in values.items():
            text = text.replace("{" + name + "}", value)
        return text

    return [(one(source[0]), source[1]) if isinstance(source, tuple) else one(source) for source in sources]


@pytest.fixture
def surroundings(served, monkeypatch, tmp_path):
    """What a data scientist's shell holds: MLflow's token; and Gateline's address for its command line."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", served.developer)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setenv("GATELINE_URL", served.url.removesuffix("/mlflow"))
    monkeypatch.setenv("GATELINE_TOKEN", served.developer)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


@pytest.fixture
def client(served):
    with Client(url=served.url.removesuffix("/mlflow"), token=served.developer) as made:
        yield made


def execute(path: Path, sources, order: list[int] | None = None) -> Path:
    """Execute a notebook with nbclient, from top to bottom or cell by cell in an order, and save it."""
    notebook = nbformat.from_dict(document(*sources, counts=[None] * len(sources)))
    kernel = NotebookClient(notebook, timeout=150, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}})
    if order is None:
        kernel.execute()
    else:
        with kernel.setup_kernel():
            for index in order:
                kernel.execute_cell(notebook.cells[index], index)
    nbformat.write(notebook, path)
    return path


def answer(capsys):
    """Return what a command answered; the server of the tests logs to the same standard output."""
    out = capsys.readouterr().out
    return json.JSONDecoder().raw_decode(out, out.index("{\n"))[0]


def runs_of(client, experiment):
    return [
        client.get(f"/runs/{one['run_id']}") for one in client.get("/runs", params={"experiment": experiment, "max_results": 100})["runs"]
    ]


def files_of(served, run_id):
    facts = served.mlflow.loaded().tracking.get_run(run_id)
    return served.home / "mlflow" / "artifacts" / facts.info.experiment_id / run_id / "artifacts", facts.data.tags


@pytest.fixture(scope="module")
def stock_run(served, tmp_path_factory):
    """The stock notebook, executed once: its path, and the run that it logged."""
    folder = tmp_path_factory.mktemp("stock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_TOKEN", served.developer)
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        path = execute(folder / "Late parcels.ipynb", filled(STOCK, url=served.url, experiment="late"))
    with Client(url=served.url.removesuffix("/mlflow"), token=served.developer) as client:
        (run,) = runs_of(client, "late")
    assert set(run["metrics"]) == {"auc", "mean"}
    return path, run


def test_a_stock_notebook_is_checked_and_kept_with_its_run(served, client, surroundings, stock_run, tmp_path, capsys):
    path, run = stock_run
    assert main(["notebook", "check", str(path), "--run", run["run_id"], "--json"]) == 0
    checked = answer(capsys)
    assert (checked["findings"], checked["executed"]) == ([], checked["cells"])
    folder, tags = files_of(served, run["run_id"])
    kept = json.loads((folder / "notebook.json").read_bytes())
    assert kept["sha256"] == checked["sha256"] == tags["notebook.sha256"] == read_notebook(path).sha256
    assert tags["notebook.findings"] == "error=0 warning=0 note=0"
    assert [one["count"] for one in kept["cells"]] == list(range(1, 10))

    before = {one["run_id"] for one in runs_of(client, "late")}
    done = subprocess.run([sys.executable, str(folder / "notebook.py")], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (again,) = [one for one in runs_of(client, "late") if one["run_id"] not in before]
    assert again["metrics"] == run["metrics"], "the script kept with a run gives the same metrics"


def test_a_stock_notebook_becomes_a_project_whose_run_has_the_same_metrics(client, surroundings, stock_run, tmp_path, capsys):
    path, run = stock_run
    assert main(["init", "--from-notebook", str(path), str(tmp_path / "project"), "--json"]) == 0
    made = answer(capsys)
    assert (made["pipeline"], made["steps"], made["left"]) == ("late-parcels", ["data", "training", "evaluation"], [])
    before = {one["run_id"] for one in runs_of(client, "late")}
    code = "from pipeline import late_parcels as p; import json; print(json.dumps([p.run(), p.run(rounds=1)]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "project", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])[0] == {"auc": run["metrics"]["auc"]}
    fresh = {one["params"]["rounds"]: one for one in runs_of(client, "late") if one["run_id"] not in before}
    assert set(fresh) == {"12", "1"}
    assert (fresh["12"]["metrics"], fresh["12"]["params"]) == (run["metrics"], run["params"])
    assert fresh["1"]["metrics"] != run["metrics"]


def test_cells_executed_out_of_order_are_findings(served, client, surroundings, tmp_path, capsys):
    sources = filled(
        ["import mlflow", "mlflow.set_tracking_uri('{url}')", "x = y + 1", "y = 1", "mlflow.set_experiment('order')",
         "with mlflow.start_run():\n    mlflow.log_metric('x', x)"], url=served.url,
    )  # fmt: skip
    path = execute(tmp_path / "order.ipynb", sources, [0, 1, 3, 2, 3, 4, 5])
    (run,) = runs_of(client, "order")
    assert main(["notebook", "check", str(path), "--run", run["run_id"], "--json"]) == 3
    found = {(one["code"], one["cell"]) for one in answer(capsys)["findings"]}
    assert found == {("used-before-defined", 3), ("run-again", None)}
    _, tags = files_of(served, run["run_id"])
    assert tags["notebook.findings"] == "error=1 warning=1 note=0"
    assert main(["init", "--from-notebook", str(path), str(tmp_path / "project")]) == 1
    assert "cell 3: it needs 'y', which only cell 4 below defines" in capsys.readouterr().err
    assert not (tmp_path / "project").exists()

    path = execute(tmp_path / "upside.ipynb", ["x = 1", "y = 2"], [1, 0])
    assert [(one.code, one.cell) for one in check_notebook(read_notebook(path))] == [("out-of-order", 2)]


def test_a_kernel_with_gateline_keeps_what_it_executed_with_each_run(served, client, surroundings, tmp_path):
    sources = filled(
        ["%load_ext gateline", "import mlflow\nmlflow.set_tracking_uri('{url}')\nmlflow.set_experiment('kernel')",
         "for number in range(2):\n    with mlflow.start_run(run_name=f'loop {number}'):\n        mlflow.log_metric('n', number)",
         "from gateline import Client, tracked_run", "1 + 1",
         "with tracked_run(Client(), experiment='kernel', name='tracked') as run:\n    run.log_metrics({'n': 7})", "1 + 1",
         "mlflow.start_run(run_name='open')", "mlflow.end_run()"], url=served.url,
    )  # fmt: skip
    path = execute(tmp_path / "kernel.ipynb", sources)
    runs = {one["name"]: one["run_id"] for one in runs_of(client, "kernel")}
    assert set(runs) == {"loop 0", "loop 1", "tracked", "open"}
    kept = {}
    for name, run_id in runs.items():
        folder, tags = files_of(served, run_id)
        kept[name] = json.loads((folder / "notebook.json").read_bytes())
        assert tags["notebook.sha256"] == kept[name]["sha256"]
        assert (folder / "notebook.py").read_text().startswith("# %% [1]\n# left out: %load_ext gateline\n")
    assert {name: len(one["cells"]) for name, one in kept.items()} == {"loop 0": 3, "loop 1": 3, "tracked": 6, "open": 9}
    assert [one["code"] for one in kept["tracked"]["findings"]] == ["magic"]
    assert [(one["code"], one["cell"]) for one in kept["open"]["findings"]] == [("magic", 1), ("run-again", 7)]
    assert kept["open"]["sha256"] == read_notebook(path).sha256, "a kernel and its saved notebook have one digest"
    assert kept["open"]["cells"][2]["source"] == sources[2]


def test_a_frozen_run_keeps_no_other_notebook(served, client, surroundings, tmp_path, capsys, stock):
    stock.set_experiment("frozen notebook")
    with stock.start_run() as run:
        stock.log_metric("n", 1)
    client.post(f"/runs/{run.info.run_id}/freeze")
    path = execute(tmp_path / "other.ipynb", ["x = 1"])
    assert main(["notebook", "check", str(path), "--run", run.info.run_id]) == 1
    assert "frozen" in capsys.readouterr().err
    assert main(["notebook", "check", str(path), "--run", "0" * 32]) == 1
    assert os.environ["MLFLOW_TRACKING_TOKEN"] == served.developer
