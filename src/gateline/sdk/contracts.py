"""Contracts of datasets, and differences between dataset versions, through the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.data import (
    Break,
    Compatibility,
    Contract,
    ContractOrigin,
    ContractVersion,
    DatasetDiff,
    Violation,
    contract_from_pandera,
    contract_from_text,
    contract_version_from_dict,
    split_contract_id,
)
from gateline.kernel.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from gateline.sdk.client import Client


def read_contract(path: Path) -> Contract:
    """Return the contract in a TOML or JSON file.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is neither, or the contract has mistakes; all are named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFound(f"There is no file {path}.", next_step="Check the path.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8.", next_step="Write the contract as UTF-8 text.") from error
    return contract_from_text(text, name=str(path))


def propose_contract(client: Client, contract: Contract) -> ContractVersion:
    """Write a contract down as a draft, which takes effect when somebody else accepts it.

    Raises:
        InvalidInput: the contract has mistakes; all are named.
        Conflict: it breaks the compatibility that the contract in force declares; all breaks are named.
    """
    return _propose(client, contract, ContractOrigin.WRITTEN)


def propose_pandera(
    client: Client, dataset: str, schema: object, *, compatibility: Compatibility | str = Compatibility.BACKWARD
) -> ContractVersion:
    """Propose what a pandera schema says; see `gateline.data.contract_from_pandera` for what a contract can say.

    Args:
        client: The connection.
        dataset: Name of the dataset.
        schema: A `DataFrameSchema` or a `DataFrameModel` class of `pandera.polars` or `pandera.pandas`.
        compatibility: What the successor of the contract must respect.
    """
    return _propose(client, contract_from_pandera(schema, dataset, compatibility=compatibility), ContractOrigin.PANDERA)


def infer_contract(client: Client, dataset: str, version: int | None = None) -> ContractVersion:
    """Draft a contract from a dataset version, by default the newest, with the evidence for each bound; raises NotFound."""
    return contract_version_from_dict(client.post(f"/datasets/{dataset}/contracts/infer", json={"version": version}))


def contracts(client: Client, dataset: str | None = None) -> list[ContractVersion]:
    """Return the contract versions of a dataset, oldest first, or those of all."""
    found = client.get("/contracts" if dataset is None else f"/datasets/{dataset}/contracts")
    return [contract_version_from_dict(one) for one in found]


def contract(client: Client, wanted: str) -> ContractVersion:
    """Return a contract by its id (`flights/contract@1`), or the one in force of a dataset name; raises NotFound."""
    dataset, number = split_contract_id(wanted)
    return contract_version_from_dict(client.get(f"/datasets/{dataset}/contract" if number is None else _path(dataset, number)))


def contract_breaks(client: Client, wanted: str, rule: Compatibility | str | None = None) -> list[Break]:
    """Return what a contract breaks against the one in force, by default under the rule that one declares; nothing is the good answer."""
    query = {} if rule is None else {"rule": str(rule)}
    return [Break.from_dict(one) for one in client.get(f"{_path(*_numbered(wanted))}/breaks", params=query)["breaks"]]


def accept_contract(client: Client, wanted: str, comment: str) -> ContractVersion:
    """Let a draft take effect.

    Raises:
        Denied: the caller wrote or inferred it, or lacks the role.
        Conflict: it is no draft any more, or it breaks the compatibility that the contract in force declares.
    """
    return contract_version_from_dict(client.post(f"{_path(*_numbered(wanted))}/accept", json={"comment": comment}))


def reject_contract(client: Client, wanted: str, comment: str) -> ContractVersion:
    """Turn a draft down for good; raises as `accept_contract` does."""
    return contract_version_from_dict(client.post(f"{_path(*_numbered(wanted))}/reject", json={"comment": comment}))


def check_contract(client: Client, dataset: str, version: int | None = None, *, contract: int | None = None) -> list[Violation]:
    """Return what a dataset version breaks of a contract, by default the newest version and the contract in force."""
    wanted = {"version": version, "contract": contract}
    query: dict[str, Any] = {name: number for name, number in wanted.items() if number is not None}
    return [Violation.from_dict(one) for one in client.get(f"/datasets/{dataset}/contract/check", params=query)["violations"]]


def diff_datasets(client: Client, before: str, after: str) -> DatasetDiff:
    """Return what differs between two dataset versions, each an id (`flights@1`) or a name, which means its newest version."""
    return DatasetDiff.from_dict(client.get("/dataset-diff", params={"before": before, "after": after}))


def _propose(client: Client, contract: Contract, origin: ContractOrigin) -> ContractVersion:
    body = {"contract": contract.as_dict(), "origin": origin.value}
    return contract_version_from_dict(client.post(f"/datasets/{contract.dataset}/contracts", json=body))


def _numbered(wanted: str) -> tuple[str, int]:
    dataset, number = split_contract_id(wanted)
    if number is None:
        raise InvalidInput(f"'{wanted}' names no contract version.", next_step=f"Write {dataset}/contract@NUMBER.")
    return dataset, number


def _path(dataset: str, number: int) -> str:
    return f"/datasets/{dataset}/contracts/{number}"
