"""`gateline pipeline trials`: a search of a run and its trials."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from gateline.cli.output import client, emit, table
from gateline.kernel.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.sdk.client import Client

_COLUMNS = ("trial", "state", "value", "parameters", "seconds", "note")


@click.command()
@click.argument("run_id")
@click.argument("search", required=False)
@click.pass_context
def trials(ctx: click.Context, run_id: str, search: str | None) -> None:
    """Show the trials of SEARCH, a step of a run: parameters, state and value of each, and the best. The only search by default."""
    api = client(ctx)
    found = api.get(f"/pipeline-runs/{run_id}/searches/{search or _only_search(api, run_id)}")
    emit(ctx, found, f"{table([_row(one, found['best']) for one in found['trials']], _COLUMNS)}\n{summary(found)}")


def _only_search(api: Client, run_id: str) -> str:
    """Return the name of the search that a run has, when it has one."""
    names = [node["name"] for node in api.get(f"/pipeline-runs/{run_id}/plan").get("nodes", []) if node.get("search")]
    if len(names) == 1:
        return str(names[0])
    told = f"It has {', '.join(names)}: name one." if names else "Runs with one have a step made with @search."
    raise NotFound(f"Run {run_id} has {len(names) or 'no'} searches.", next_step=told)


def summary(found: Mapping[str, Any]) -> str:
    """Return a search in one sentence.

    >>> trials = [{"number": 0, "state": "complete", "value": 0.5, "parameters": {"rate": 0.1}}, {"number": 1, "state": "running"}]
    >>> summary({"trials": trials, "best": 0, "definition": {"direction": "minimize"}})
    '2 trials: 1 complete, 1 running. The best, to minimize, is 0 with 0.5: {"rate": 0.1}'
    """
    counts = ", ".join(f"{count} {state}" for state, count in sorted(Counter(one["state"] for one in found["trials"]).items()))
    told = f"{len(found['trials'])} trials: {counts or 'none planned yet'}."
    if found["best"] is None:
        return f"{told} None is complete yet."
    best = next(one for one in found["trials"] if one["number"] == found["best"])
    parameters = json.dumps(best["parameters"], ensure_ascii=False)
    return f"{told} The best, to {found['definition']['direction']}, is {best['number']} with {best['value']}: {parameters}"


def _row(trial: Mapping[str, Any], best: int | None) -> dict[str, Any]:
    ended = trial["ended_at"] is not None and trial["asked_at"] is not None
    note = "best" if trial["number"] == best else f"reused from {trial['reused_from']}" if trial["reused_from"] else trial["failure"]
    return {
        "trial": trial["number"], "state": trial["state"], "value": trial["value"], "note": note,
        "parameters": json.dumps(trial["parameters"], ensure_ascii=False) if trial["parameters"] else "",
        "seconds": f"{(trial['ended_at'] - trial['asked_at']) / 1e6:.1f}" if ended else "",
    }  # fmt: skip
