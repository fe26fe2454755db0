"""Searches of pipeline runs: look at their trials; and what a trial calls while it runs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.pipelines import Held
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["pipelines"])

_Number = Annotated[int, Path(ge=0)]
_Step = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TrialAsked(_Body):
    """What a sampler proposes for a trial."""

    attempt: int = Field(ge=1)
    parameters: dict[str, Any] = Field(max_length=1000)


class TrialReported(_Body):
    """Values that a trial reports, each with its step; a value that JSON has no number for is text, such as `nan`."""

    attempt: int = Field(ge=1)
    values: list[tuple[_Step, float]] = Field(default=[], max_length=1000)
    compare: _Step | None = None


@router.get("/pipeline-runs/{run_id}/searches/{node}", openapi_extra=permission(Permission.PIPELINE_READ))
def show_search(run_id: str, node: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a search of a run: its definition, every trial with parameters, state and value, and which is best."""
    return app.pipelines.searches.study(run_id, node).as_dict()


@router.post("/pipeline-runs/{run_id}/searches/{node}/trials/{number}/ask", openapi_extra=permission(Permission.PIPELINE_WORK))
def ask_trial(run_id: str, node: str, number: _Number, body: TrialAsked, app: Application, caller: Caller) -> dict[str, Any]:
    """Fix the parameters of a trial, unless they are fixed already, and return them."""
    held = Held(run_id=run_id, node=node, index=number, attempt=body.attempt)
    return {"parameters": app.pipelines.searches.ask(caller, held, body.parameters)}


@router.post("/pipeline-runs/{run_id}/searches/{node}/trials/{number}/report", openapi_extra=permission(Permission.PIPELINE_WORK))
def report_trial(run_id: str, node: str, number: _Number, body: TrialReported, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Keep values that a trial reports; with `compare`, return what complete trials reported at that step."""
    held = Held(run_id=run_id, node=node, index=number, attempt=body.attempt)
    found = app.pipelines.searches.report(held, body.values, body.compare)
    return {"compare": None if found is None else found.as_dict()}
