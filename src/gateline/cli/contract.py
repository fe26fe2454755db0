"""`gateline contract`: what the versions of a dataset promise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateline.cli.output import ExitCode, client, emit, progress, table
from gateline.kernel.clock import iso
from gateline.kernel.errors import InvalidInput
from gateline.kernel.names import split_version_id

if TYPE_CHECKING:
    from gateline.data import ColumnRule, ContractVersion

_RULES = click.Choice(["backward", "forward", "full", "none"])


@click.group("contract")
def group() -> None:
    """Propose, review and check what the versions of a dataset promise."""


@group.command("infer")
@click.argument("version")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the draft as TOML to this file too.")
@click.pass_context
def infer(ctx: click.Context, version: str, out: Path | None) -> None:
    """Draft a contract from dataset VERSION (NAME for the newest, or NAME@NUMBER); somebody else has to accept it."""
    from gateline.data import contract_to_toml
    from gateline.sdk.contracts import contract_breaks, infer_contract

    found = infer_contract(client(ctx), *_dataset(version))
    if out is not None:
        out.write_text(contract_to_toml(found.contract), encoding="utf-8")
        progress(f"Wrote {out}.")
    seen = found.evidence.get("columns", {})
    rows = [{**_row(rule), "evidence": seen.get(rule.name)} for rule in found.contract.columns]
    breaks = contract_breaks(client(ctx), found.id)
    lines = [_head(found), "", table(rows, ["column", "type", "missing", "values", "evidence"])]
    lines += ["", "It could not be accepted as it is:", *(f"  {one.sentence}" for one in breaks)] if breaks else []
    emit(ctx, found.as_dict(), "\n".join(lines))


@group.command("propose")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--pandera", "schema", metavar="MODULE:ATTRIBUTE", help="A pandera schema or model in a file of the project.")
@click.option("--dataset", help="The dataset that the pandera schema is about.")
@click.option("--compatibility", type=_RULES, default="backward", show_default=True, help="What the successor must respect (pandera only).")
@click.option("--project", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Folder with gateline.toml.")
@click.pass_context
def propose(ctx: click.Context, file: Path | None, schema: str | None, dataset: str | None, compatibility: str, project: Path) -> None:
    """Propose the contract in FILE (TOML or JSON), or what a pandera schema says; somebody else has to accept it."""
    from gateline.sdk.contracts import propose_contract, propose_pandera, read_contract
    from gateline.sdk.project import Project

    if (file is None) == (schema is None) or (schema is not None and dataset is None):
        raise InvalidInput("Give either a file, or --pandera with --dataset.", next_step="See: gateline contract propose --help.")
    if file is not None:
        found = propose_contract(client(ctx), read_contract(file))
    else:
        loaded = Project.load(project).load_object(str(schema))
        found = propose_pandera(client(ctx), str(dataset), loaded, compatibility=compatibility)
    emit(ctx, found.as_dict(), _head(found))


@group.command("list")
@click.argument("dataset", required=False)
@click.pass_context
def list_versions(ctx: click.Context, dataset: str | None) -> None:
    """List the contracts of DATASET, or of all."""
    from gateline.sdk.contracts import contracts

    found = contracts(client(ctx), dataset)
    rows: list[dict[str, Any]] = [
        {
            "contract": one.id,
            "state": one.state.value,
            "origin": one.origin.value,
            "columns": len(one.contract.columns),
            "compatibility": one.contract.compatibility.value,
            "proposed": iso(one.created_at)[:19],
            "by": one.created_by,
            "reviewed by": one.review.reviewer if one.review else None,
        }
        for one in found
    ]
    columns = ["contract", "state", "origin", "columns", "compatibility", "proposed", "by", "reviewed by"]
    emit(ctx, [one.as_dict() for one in found], lambda: table(rows, columns) if rows else "No contract was proposed.")


@group.command("show")
@click.argument("contract")
@click.option("--toml", is_flag=True, help="Print it as TOML, to be changed and proposed again.")
@click.pass_context
def show(ctx: click.Context, contract: str, toml: bool) -> None:
    """Show CONTRACT: DATASET for the one in force, or DATASET/contract@NUMBER."""
    from gateline.data import contract_to_toml
    from gateline.sdk.contracts import contract as find

    found = find(client(ctx), contract)
    if toml:
        emit(ctx, found.as_dict(), lambda: contract_to_toml(found.contract).rstrip())
        return
    columns = ["column", "type", "missing", "values", "marks", "meaning"]
    emit(ctx, found.as_dict(), lambda: f"{_head(found)}\n\n{table([_row(rule) for rule in found.contract.columns], columns)}")


@group.command("compare")
@click.argument("contract")
@click.option("--rule", type=_RULES, help="Under which rule. [default: the one that the contract in force declares]")
@click.pass_context
def compare(ctx: click.Context, contract: str, rule: str | None) -> None:
    """Say what CONTRACT (DATASET/contract@NUMBER) breaks against the one in force; exit status 3 when it breaks something."""
    from gateline.sdk.contracts import contract_breaks

    found = contract_breaks(client(ctx), contract, rule)
    good = f"{contract} breaks nothing."
    bad = "\n".join([f"{contract} is not compatible with the contract in force:", *(f"  {one.sentence}" for one in found)])
    emit(ctx, {"contract": contract, "breaks": [one.as_dict() for one in found]}, bad if found else good)
    if found:
        ctx.exit(ExitCode.GATE_FAILED)


@group.command("accept")
@click.argument("contract")
@click.option("--comment", required=True, help="Why.")
@click.pass_context
def accept(ctx: click.Context, contract: str, comment: str) -> None:
    """Let the draft CONTRACT (DATASET/contract@NUMBER) take effect; its author may not."""
    from gateline.sdk.contracts import accept_contract

    found = accept_contract(client(ctx), contract, comment)
    emit(ctx, found.as_dict(), f"{found.id} is in force: new versions of {found.dataset} must keep it.")


@group.command("reject")
@click.argument("contract")
@click.option("--comment", required=True, help="Why.")
@click.pass_context
def reject(ctx: click.Context, contract: str, comment: str) -> None:
    """Turn the draft CONTRACT (DATASET/contract@NUMBER) down for good; its author may not."""
    from gateline.sdk.contracts import reject_contract

    found = reject_contract(client(ctx), contract, comment)
    emit(ctx, found.as_dict(), f"{found.id} is rejected.")


@group.command("check")
@click.argument("version")
@click.option("--contract", type=click.IntRange(min=1), help="Number of the contract. [default: the one in force]")
@click.pass_context
def check(ctx: click.Context, version: str, contract: int | None) -> None:
    """Check dataset VERSION (NAME for the newest, or NAME@NUMBER) against its contract; exit status 3 when it breaks one."""
    from gateline.sdk.contracts import check_contract

    found = check_contract(client(ctx), *_dataset(version), contract=contract)
    bad = "\n".join([f"{version} breaks its contract {len(found)} times:", *(f"  {one.sentence}" for one in found)])
    emit(ctx, {"version": version, "violations": [one.as_dict() for one in found]}, bad if found else f"{version} keeps its contract.")
    if found:
        ctx.exit(ExitCode.GATE_FAILED)


def _dataset(version: str) -> tuple[str, int | None]:
    return split_version_id(version) if "@" in version else (version, None)


def _head(found: ContractVersion) -> str:
    contract, lines = found.contract, [f"{found.id}  {found.state.value}  digest {found.digest}"]
    lines.append(f"{found.origin.value} by {found.created_by}; {contract.compatibility.value} compatible successors only")
    if found.review is not None:
        lines.append(f"{'accepted' if found.review.accepted else 'rejected'} by {found.review.reviewer}: {found.review.comment}")
    lines += [f"unique together: {', '.join(key)}" for key in contract.keys]
    if contract.freshness is not None:
        lines.append(f"fresh: '{contract.freshness.column}' at most {contract.freshness.age_seconds_max:,} seconds old at registration")
    if contract.row_count_change is not None:
        lines.append("; ".join(f"{name} {share:g}" for name, share in contract.row_count_change.as_dict().items()))
    return "\n".join([*lines, f"extra columns are {'allowed' if contract.extra_columns else 'refused'}"])


def _row(rule: ColumnRule) -> dict[str, Any]:
    marks = ["unique"] * rule.unique + ["protected"] * rule.protected + ([f"personal: {rule.personal.kind}"] if rule.personal else [])
    ends = ["…" if bound is None else str(bound) for bound in (rule.min, rule.max)]
    values = " to ".join(ends) if ends != ["…", "…"] else None
    if rule.categories is not None:
        shown = ", ".join(map(str, rule.categories[:6]))
        values = shown if len(rule.categories) <= 6 else f"{shown} and {len(rule.categories) - 6} more"
    return {
        "column": rule.name,
        "type": rule.dtype.value if rule.required else f"{rule.dtype.value}, may be absent",
        "missing": f"at most {rule.missing_share_limit:.4g}" if rule.nullable else "never",
        "values": values,
        "marks": marks or None,
        "meaning": rule.description,
    }
