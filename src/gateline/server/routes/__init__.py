"""The routes of the REST API, one file per domain. A router is served only when it stands in this tuple."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.server.routes import (
    access,
    contracts,
    data,
    features,
    files,
    gates,
    ledger,
    marks,
    monitoring,
    online_features,
    parity,
    pipeline_search,
    pipeline_starts,
    pipeline_work,
    pipelines,
    registry,
    reproduction,
    retention,
    rollout,
    rows,
    serving,
    system,
    tracking,
)

if TYPE_CHECKING:
    from fastapi import APIRouter

ROUTERS: tuple[APIRouter, ...] = (
    pipeline_work.router,  # first: routes are tried in order, and runners ask most often
    access.router,
    contracts.router,
    data.router,
    features.router,
    files.router,
    gates.router,
    ledger.router,
    marks.router,
    monitoring.router,
    parity.router,
    online_features.router,
    online_features.views_router,
    pipelines.router,
    pipeline_starts.router,
    pipeline_search.router,
    registry.router,
    reproduction.router,
    retention.router,
    rollout.router,
    rows.router,
    serving.router,
    system.router,
    tracking.router,
)
