"""Contracts of datasets, and what differs between dataset versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.data import Compatibility, ContractOrigin, DatasetVersion, contract_from_dict, diff_versions
from gateline.kernel.errors import InvalidInput
from gateline.kernel.names import split_version_id
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["dataset contracts"])

Number = Annotated[int, Query(ge=1)]


class ContractRequest(BaseModel):
    """A contract as `Contract.as_dict` writes it, and how it came to be."""

    model_config = ConfigDict(extra="forbid")

    contract: dict[str, Any]
    origin: ContractOrigin = ContractOrigin.WRITTEN


class InferRequest(BaseModel):
    """The dataset version to draft a contract from."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(ge=1)] | None = Field(default=None, description="The newest when left out.")


class ReviewRequest(BaseModel):
    """Why a draft is accepted or rejected."""

    model_config = ConfigDict(extra="forbid")

    comment: str = Field(min_length=1, max_length=10_000)


@router.get("/contracts", openapi_extra=permission(Permission.DATASET_READ))
def list_contracts(app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List every contract version of every dataset, by name and number."""
    return [version.as_dict() for version in app.contracts.list()]


@router.get("/datasets/{name}/contracts", openapi_extra=permission(Permission.DATASET_READ))
def list_dataset_contracts(name: str, app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the contract versions of a dataset, oldest first."""
    return [version.as_dict() for version in app.contracts.list(name)]


@router.post("/datasets/{name}/contracts", status_code=201, openapi_extra=permission(Permission.DATASET_WRITE))
def propose_contract(name: str, body: ContractRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Write a contract down as a draft; the same contract again returns the draft it made before."""
    contract = contract_from_dict(body.contract)
    if contract.dataset != name:
        raise InvalidInput(f"The contract is about '{contract.dataset}', not about '{name[:100]}'.", next_step="Use one name in both.")
    if body.origin is ContractOrigin.INFERRED:
        raise InvalidInput("Only the server infers contracts.", next_step="Ask for one: POST /datasets/{name}/contracts/infer.")
    return app.contracts.propose(caller.name, contract, body.origin).as_dict()


@router.post("/datasets/{name}/contracts/infer", status_code=201, openapi_extra=permission(Permission.DATASET_WRITE))
def infer_contract(name: str, body: InferRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Draft a contract from the rows of a dataset version, with the evidence for each bound."""
    return app.contracts.infer(caller.name, name, body.version).as_dict()


@router.get("/datasets/{name}/contracts/{version}", openapi_extra=permission(Permission.DATASET_READ))
def show_contract(name: str, version: int, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a contract version with its evidence, state and review."""
    return app.contracts.get(name, version).as_dict()


@router.get("/datasets/{name}/contracts/{version}/breaks", openapi_extra=permission(Permission.DATASET_READ))
def show_contract_breaks(
    name: str,
    version: int,
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    rule: Compatibility | None = None,
) -> dict[str, Any]:
    """Compare a contract with the one in force, by default under the rule that one declares; an empty list is the good answer."""
    return {"breaks": [one.as_dict() for one in app.contracts.breaks(name, version, rule)]}


@router.post("/datasets/{name}/contracts/{version}/accept", openapi_extra=permission(Permission.CONTRACT_REVIEW))
def accept_contract(name: str, version: int, body: ReviewRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Let a draft take effect; its author may not. From then on new versions of the dataset must keep it."""
    return app.contracts.accept(caller, name, version, body.comment).as_dict()


@router.post("/datasets/{name}/contracts/{version}/reject", openapi_extra=permission(Permission.CONTRACT_REVIEW))
def reject_contract(name: str, version: int, body: ReviewRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Turn a draft down for good; its author may not."""
    return app.contracts.reject(caller, name, version, body.comment).as_dict()


@router.get("/datasets/{name}/contract", openapi_extra=permission(Permission.DATASET_READ))
def show_contract_in_force(name: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show the contract that new versions of a dataset must keep."""
    return app.contracts.get(name).as_dict()


@router.get("/datasets/{name}/contract/check", openapi_extra=permission(Permission.DATASET_READ))
def check_contract(
    name: str,
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    version: Number | None = None,
    contract: Number | None = None,
) -> dict[str, Any]:
    """Say what a dataset version breaks of a contract, by default the newest and the one in force; an empty list is the good answer."""
    return {"violations": [one.as_dict() for one in app.contracts.check(name, version, contract)]}


@router.get("/dataset-diff", openapi_extra=permission(Permission.DATASET_READ))
def diff_dataset_versions(before: str, after: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Compare schema and profile of two dataset versions, each given as name@number or as a name, which means its newest version."""

    def find(wanted: str) -> DatasetVersion:
        return app.datasets.get(*(split_version_id(wanted) if "@" in wanted else (wanted, None)))

    return diff_versions(find(before), find(after)).as_dict()
