"""What was run in a notebook, kept with its MLflow run: `notebook.json`, a runnable `notebook.py`, and tags to search by.

| tag | value |
| --- | --- |
| notebook.sha256 | digest of execution counts and sources of the executed cells, in order of execution |
| notebook.findings | how many findings of each severity, such as `error=0 warning=2 note=1` |
| notebook.omitted | who decided that the notebook is not kept |
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from gateline.kernel.canonical import canonical_bytes
from gateline.sdk.mlflow_client import mlflow_at, wait_until_ready
from gateline.sdk.notebook.checking import SECRET, Severity, check_notebook
from gateline.sdk.notebook.python import read_code
from gateline.sdk.notebook.reading import cells_digest
from gateline.sdk.notebook.redacting import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateline.sdk.client import Client
    from gateline.sdk.notebook.checking import Finding
    from gateline.sdk.notebook.reading import Notebook

DOCUMENT_FILE = "notebook.json"
SCRIPT_FILE = "notebook.py"
DIGEST_TAG = "notebook.sha256"
FINDINGS_TAG = "notebook.findings"
OMITTED_TAG = "notebook.omitted"
_log = structlog.get_logger(__name__)


def document(executed: Iterable[tuple[int | None, str]], findings: Sequence[Finding], **more: Any) -> dict[str, Any]:
    """Return what is kept of executed cells as JSON: counts and sources in order of execution, their digest, and the findings.

    Secrets that are found in the sources are not kept; a finding of `check_notebook` says where they stood.
    """
    cells = [(count, redact(source.rstrip())[0]) for count, source in executed]
    return {
        "format": 1,
        "sha256": cells_digest(cells),
        "cells": [{"count": count, "source": source} for count, source in cells],
        "findings": [one.as_dict() for one in findings],
        **more,
    }


def script(executed: Iterable[tuple[int | None, str]]) -> str:
    """Return executed cells as a Python script; lines that are no Python become comments, and so do whole cells that cannot be read."""
    blocks = []
    for count, source in executed:
        code = read_code(source)
        lines = [f"# %% [{count}]"]
        if code.mistake:
            lines += [f"# no Python: {code.mistake}", *(f"# {line}" for line in source.splitlines())]
        lines += [f"# left out: {line}" for magic in code.magics for line in magic.splitlines()]
        blocks.append("\n".join([*lines, *(one.source for one in code.statements)]))
    return "\n\n".join(blocks) + "\n"


def counted(findings: Iterable[Finding]) -> str:
    """Return how many findings there are of each severity."""
    found = Counter(one.severity for one in findings)
    return " ".join(f"{severity}={found[severity]}" for severity in Severity)


def log_document(mlflow_client: Any, run_id: str, kept: dict[str, Any], findings: Sequence[Finding]) -> None:
    """Log what is kept of executed cells with a run: two files, then two tags, so that a tag is never without its files."""
    from mlflow.entities import RunTag

    executed = [(one["count"], one["source"]) for one in kept["cells"]]
    if redacted := [one for one in findings if one.code == SECRET]:
        _log.warning("notebook.redacted", run_id=run_id, cells=[one.cell for one in redacted], next_step="Change these secrets.")
    with tempfile.TemporaryDirectory(prefix="gateline-notebook-") as temporary:
        (Path(temporary) / DOCUMENT_FILE).write_bytes(canonical_bytes(kept))
        (Path(temporary) / SCRIPT_FILE).write_text(script(executed), encoding="utf-8")
        mlflow_client.log_artifacts(run_id, temporary)
    mlflow_client.log_batch(run_id, tags=[RunTag(DIGEST_TAG, kept["sha256"]), RunTag(FINDINGS_TAG, counted(findings))])


def log_saved_notebook(client: Client, notebook: Notebook, run_id: str) -> dict[str, Any]:
    """Keep a saved notebook with the run that it logged, for notebooks in which Gateline itself was not used; return what was kept.

    Raises:
        NotFound: there is no such run.
        Denied: the run is frozen, or the token may not write runs.
        Unavailable: the server's MLflow is not ready.
    """
    client.get(f"/runs/{run_id}")
    findings = check_notebook(notebook)
    executed = [(cell.count, cell.source) for cell in sorted(notebook.code, key=lambda one: one.count or 0) if cell.count]
    kept = document(executed, findings, notebook=notebook.name, captured="saved")
    address = f"{client.address().rstrip('/')}/mlflow"
    wait_until_ready(client)
    with mlflow_at(address, client.token) as mlflow:
        log_document(mlflow.MlflowClient(), run_id, kept, findings)
    return kept
