"""Which of MLflow's routes are served, and what each asks for. What is not listed is not served.

Left out on purpose: assistant (runs commands on the server), gateway, jobs, webhooks, scorers, prompt optimisation, demo, workspaces,
MCP, OTLP, multipart and presigned uploads (they would bypass the seal), promptlab.
"""

from __future__ import annotations

import re

from gateline.access import Permission

_API = ("/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/")
_API_3 = ("/api/3.0/mlflow/", "/ajax-api/3.0/mlflow/")
_ARTIFACTS = ("/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/")
_AJAX = ("/ajax-api/2.0/mlflow/",)

_READS_2 = """
GET  experiments/get
GET  experiments/get-by-name
GET  experiments/search
POST experiments/search
GET  runs/get
POST runs/search
GET  metrics/get-history
GET  metrics/get-history-bulk-interval
GET  artifacts/list
GET  logged-models/{id}
POST logged-models/search
GET  logged-models/{id}/artifacts/directories
GET  registered-models/get
GET  registered-models/search
GET  registered-models/alias
GET  registered-models/get-latest-versions
POST registered-models/get-latest-versions
GET  model-versions/get
GET  model-versions/search
GET  model-versions/get-download-uri
"""
_WRITES_2 = """
POST   experiments/create
POST   experiments/delete
POST   experiments/restore
POST   experiments/update
POST   experiments/set-experiment-tag
POST   experiments/delete-experiment-tag
POST   runs/create
POST   runs/update
POST   runs/delete
POST   runs/restore
POST   runs/log-metric
POST   runs/log-parameter
POST   runs/log-batch
POST   runs/log-inputs
POST   runs/log-model
POST   runs/outputs
POST   runs/set-tag
POST   runs/delete-tag
POST   logged-models
PATCH  logged-models/{id}
DELETE logged-models/{id}
POST   logged-models/{id}/params
PATCH  logged-models/{id}/tags
DELETE logged-models/{id}/tags/{path}
POST   registered-models/create
PATCH  registered-models/update
DELETE registered-models/delete
POST   registered-models/rename
POST   registered-models/set-tag
DELETE registered-models/delete-tag
POST   registered-models/alias
DELETE registered-models/alias
POST   model-versions/create
PATCH  model-versions/update
DELETE model-versions/delete
POST   model-versions/set-tag
DELETE model-versions/delete-tag
POST   model-versions/transition-stage
"""
_READS_AJAX = """
GET  metrics/get-history-bulk
POST experiments/search-datasets
GET  logged-models/{id}/artifacts/files
"""
_READS_3 = """
GET  server-info
POST datasets/search
GET  datasets/search
POST traces/search
GET  ui-telemetry
"""
_READS_ROOT = """
GET  /
GET  /health
GET  /version
GET  /get-artifact
GET  /model-versions/get-artifact
GET  /static-files/{path}
GET  /graphql
POST /graphql
POST /api/2.0mlflow/experiments/search-datasets
"""
_READS_ARTIFACTS = """
GET  artifacts
GET  artifacts/{path}
"""
_WRITES_ARTIFACTS = """
PUT    artifacts/{path}
DELETE artifacts/{path}
"""


def _compile(*tables: tuple[tuple[str, ...], str]) -> dict[str, re.Pattern[str]]:
    """Return one pattern per method over every listed path under each prefix."""
    found: dict[str, list[str]] = {}
    for prefixes, table in tables:
        for line in table.strip().splitlines():
            method, path = line.split()
            pattern = re.escape(path).replace(r"\{id\}", "[^/]+").replace(r"\{path\}", ".+")
            found.setdefault(method, []).extend(re.escape(prefix) + pattern for prefix in prefixes)
    return {method: re.compile("|".join(patterns), re.DOTALL) for method, patterns in found.items()}


_READS = _compile(
    (_API, _READS_2), (_AJAX, _READS_AJAX), (_API_3, _READS_3), (("",), _READS_ROOT), (_ARTIFACTS, _READS_ARTIFACTS)
)  # fmt: skip
_WRITES = _compile((_API, _WRITES_2), (_AJAX, "POST upload-artifact"), (_ARTIFACTS, _WRITES_ARTIFACTS))


def permission_for(method: str, path: str) -> Permission | None:
    """Return what a request must be allowed to do, or None when the route is not served.

    The path must match as a whole and in its canonical spelling: a doubled or trailing slash is another path. The searches that MLflow
    sends as POST are reads.

    >>> permission_for("POST", "/api/2.0/mlflow/runs/search").value
    'mlflow:read'
    >>> permission_for("POST", "/api/2.0/mlflow/registered-models/alias").value
    'mlflow:write'
    >>> permission_for("POST", "/ajax-api/3.0/mlflow/assistant/message") is None
    True
    """
    asked = "GET" if method == "HEAD" else method
    for permission, patterns in ((Permission.MLFLOW_READ, _READS), (Permission.MLFLOW_WRITE, _WRITES)):
        pattern = patterns.get(asked)
        if pattern is not None and pattern.fullmatch(path):
            return permission
    return None
