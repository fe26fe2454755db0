"""What a running kernel has executed, kept with the MLflow runs that it logs.

    %load_ext gateline

keeps it with each run that ends in the notebook; `tracked_run` and `autolog` do so by themselves, unless `keep_notebook=False`. Secrets
of known forms are replaced. Outside IPython nothing happens.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.sdk.notebook.checking import Finding, Severity, check_notebook
from gateline.sdk.notebook.reading import Cell, Notebook
from gateline.sdk.notebook.recording import DIGEST_TAG, OMITTED_TAG, document, log_document

if TYPE_CHECKING:
    from collections.abc import Sequence

_SESSION_TAG = "notebook.session"
_CONTEXT = "MLFLOW_RUN_CONTEXT"  # MLflow gives each new run the tags that this variable holds as JSON
_RUNS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A cell that was executed in this kernel.

    Attributes:
        count: Its execution count.
        source: Its source, as it was typed.
        cell_id: Which cell of the document it was, where the frontend says so; else empty.
        failed: Name of the exception that ended it; empty when there was none, or when nobody watched.
    """

    count: int
    source: str
    cell_id: str = ""
    failed: str = ""


def log_notebook(mlflow_client: Any, run_id: str) -> bool:
    """Keep what this kernel has executed so far with a run; return False, and do nothing, outside IPython.

    Args:
        mlflow_client: An `MlflowClient` of the server that has the run.
        run_id: The run.
    """
    shell = _shell()
    if shell is None:
        return False
    executed = _history(shell)
    findings = check_execution(executed)
    kept = document(((one.count, one.source) for one in executed), findings, captured="kernel")
    log_document(mlflow_client, run_id, kept, findings)
    return True


def check_execution(executed: Sequence[Executed]) -> list[Finding]:
    """Return what is doubtful about cells in the order in which they were executed; a cell is named by its execution count."""
    cells = tuple(Cell(number=one.count, code=True, source=one.source, count=one.count, failed=one.failed) for one in executed)
    found = [one for one in check_notebook(Notebook(name="", cells=cells)) if one.code != "run-again"]
    before: dict[str, int] = {}
    for one in executed:
        name = one.cell_id or one.source.strip()
        if name in before:
            message = f"it is the cell of execution {before[name]} once more; a run from top to bottom would execute it once."
            found.append(Finding(code="run-again", severity=Severity.WARNING, cell=one.count, message=message))
        before[name] = one.count
    return sorted(found, key=lambda one: one.cell or 0)


def load_ipython_extension(shell: Any) -> None:
    """Keep from now on what is executed with each MLflow run that ends in this notebook: `%load_ext gateline`."""
    if getattr(shell, "gateline_watch", None) is None:
        shell.gateline_watch = _Watch(shell)
        shell.events.register("post_run_cell", shell.gateline_watch.after_cell)


def unload_ipython_extension(shell: Any) -> None:
    """Stop that: `%unload_ext gateline`."""
    watch = getattr(shell, "gateline_watch", None)
    if watch is not None:
        shell.events.unregister("post_run_cell", watch.after_cell)
        watch.close()
        shell.gateline_watch = None


def _shell() -> Any:
    """Return the IPython shell that this code runs in, or None."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def _history(shell: Any) -> list[Executed]:
    """Return what the kernel has executed, the running cell included; empty cells do not count."""
    watch = getattr(shell, "gateline_watch", None)
    known = {} if watch is None else watch.known
    sources = list(enumerate(shell.history_manager.input_hist_raw))
    found = []
    for count, source in sources:
        if count and source.strip():
            cell_id, failed = known.get(count, ("", ""))
            found.append(Executed(count=count, source=source.rstrip(), cell_id=cell_id, failed=failed))
    return found


class _Watch:
    """Notes how each cell ended, and keeps the notebook with each run that has ended.

    Attributes:
        known: Id of the cell and name of its exception, by execution count.
    """

    def __init__(self, shell: Any) -> None:
        self.known: dict[int, tuple[str, str]] = {}
        self._shell = shell
        self._session = secrets.token_hex(8)
        self._logged: set[str] = set()
        self._seen: tuple[str, str] = ("", "")
        environ = os.environ  # noqa: TID251 - MLflow takes tags for new runs from the environment only
        self._before = environ.get(_CONTEXT)
        environ[_CONTEXT] = json.dumps({**_tags(self._before), _SESSION_TAG: self._session})

    def close(self) -> None:
        """Put the environment back."""
        environ = os.environ  # noqa: TID251 - as above
        if self._before is None:
            environ.pop(_CONTEXT, None)
        else:
            environ[_CONTEXT] = self._before

    def after_cell(self, result: Any) -> None:
        """Look for runs of this notebook that have ended, after each cell."""
        error = result.error_before_exec or result.error_in_exec
        parent = self._shell.get_parent() if hasattr(self._shell, "get_parent") else {}
        cell_id = str(parent.get("metadata", {}).get("cellId", "")) if isinstance(parent, dict) else ""
        self.known[result.execution_count or 0] = (cell_id, type(error).__name__ if error is not None else "")
        mlflow: Any = sys.modules.get("mlflow")
        last = None if mlflow is None else mlflow.active_run() or mlflow.last_active_run()
        if last is None or (last.info.run_id, last.info.status) == self._seen:
            return
        self._seen = (last.info.run_id, last.info.status)
        client = mlflow.MlflowClient()
        wanted = f"tags.`{_SESSION_TAG}` = '{self._session}' and attributes.status != 'RUNNING'"
        for run in client.search_runs([last.info.experiment_id], filter_string=wanted, max_results=_RUNS_MAX):
            tags = run.data.tags  # `tracked_run` keeps it by itself, or was told not to
            kept = run.info.run_id in self._logged or DIGEST_TAG in tags or OMITTED_TAG in tags
            if not kept and log_notebook(client, run.info.run_id):
                self._logged.add(run.info.run_id)


def _tags(text: str | None) -> dict[str, str]:
    """Return the tags that somebody else has put there."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
