"""The routes of the REST API, one file per domain. A router is served only when it stands in this tuple."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.server.routes import (
    access,
    data,
    features,
    files,
    gates,
    ledger,
    monitoring,
    pipelines,
    registry,
    retention,
    rollout,
    serving,
    system,
    tracking,
)

if TYPE_CHECKING:
    from fastapi import APIRouter

ROUTERS: tuple[APIRouter, ...] = (
    access.router,
    data.router,
    features.router,
    files.router,
    gates.router,
    ledger.router,
    monitoring.router,
    pipelines.router,
    registry.router,
    retention.router,
    rollout.router,
    serving.router,
    system.router,
    tracking.router,
)
