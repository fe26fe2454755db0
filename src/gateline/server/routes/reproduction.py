"""Making model versions again: the recipe, the grade, and the records."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.kernel.limits import NAME_LENGTH_MAX, TEXT_LENGTH_MAX
from gateline.kernel.names import version_id
from gateline.reproduction import Failure, Stage
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["reproductions"])

Name = Annotated[str, Path(max_length=NAME_LENGTH_MAX)]
Number = Annotated[int, Path(ge=1, le=2**31)]
_DESCRIPTIONS_MAX = 20


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FailureReport(_Body):
    """Why a version could not be made again."""

    stage: Stage
    name: str = Field(max_length=200)
    detail: str = Field(min_length=1, max_length=TEXT_LENGTH_MAX)


class ReproductionRequest(_Body):
    """What made a version again: a pipeline run, or why there is none; and how code, environment and data were come by."""

    pipeline_run: str = Field(default="", max_length=100)
    failure: FailureReport | None = None
    rebuilt: dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=TEXT_LENGTH_MAX)]] = Field(
        default={}, max_length=_DESCRIPTIONS_MAX
    )


@router.get("/models/{name}/versions/{number}/recipe", openapi_extra=permission(Permission.MODEL_READ))
def show_recipe(name: Name, number: Number, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Say what has to be done to make a version again: pipeline, step, parameters, code and environment."""
    return app.reproductions.recipe(version_id(name, number)).as_dict()


@router.post("/models/{name}/versions/{number}/reproductions", status_code=201, openapi_extra=permission(Permission.PIPELINE_WORK))
def grade_version(name: Name, number: Number, body: ReproductionRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Compare a version with what a pipeline run made again, grade it and keep that; the same run again returns the same record."""
    failure = None if body.failure is None else Failure(**body.failure.model_dump())
    return app.reproductions.grade(
        caller.name, version_id(name, number), pipeline_run=body.pipeline_run, failure=failure, rebuilt=body.rebuilt
    ).as_dict()


@router.get("/models/{name}/versions/{number}/reproductions", openapi_extra=permission(Permission.MODEL_READ))
def list_reproductions(
    name: Name,
    number: Number,
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict[str, Any]]:
    """List the reproductions of a version with all that was compared, newest first."""
    return [one.as_dict() for one in app.reproductions.of(version_id(name, number), limit=limit)]


@router.get("/reproductions/{reproduction}", openapi_extra=permission(Permission.MODEL_READ))
def show_reproduction(
    reproduction: Annotated[str, Path(max_length=100)],
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
) -> dict[str, Any]:
    """Show a reproduction with all that was compared."""
    return app.reproductions.get(reproduction).as_dict()
