"""Steps that are carried out in the runner's own process, several before the server is told of them: see `gateline.pipelines.ahead`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import sha256_bytes
from gateline.pipelines import Outcome
from gateline.sdk.execution import Premature, carry_out
from gateline.sdk.running.desk import end_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.sdk.client import Client
    from gateline.sdk.project import Project
    from gateline.sdk.running.desk import Tell

SILENT_SECONDS_MAX = 0.2
_REPORT_CHARACTERS_MAX = 1 << 20


def carry_on(client: Client, project: Project, claim: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Carry out a claimed step, and those that were given ahead with it as long as all succeed, no more than 0.2 s have passed, and the
    results that go with the report have no more than a million characters.

    Returns how the claimed step ended, as `carry_out` does, with `ahead`: how the others did. Begin and end of the claimed step are for the
    caller to tell.
    """
    begun = time.monotonic()
    report = _carry_out(client, project, claim)
    size = _size(report)
    last, results, further = report, {claim["node"]["name"]: report}, list[dict[str, Any]]()
    for one in claim["ahead"]:
        since = time.monotonic()
        if last["outcome"] != Outcome.SUCCEEDED or since > begun + SILENT_SECONDS_MAX or size > _REPORT_CHARACTERS_MAX:
            break
        following = {**claim, **one, "attempt": 1, "index": 0, "arguments": _filled(one["arguments"], results)}
        tell("begun", following)
        try:
            last = _carry_out(client, project, following, ahead=True)
        except Premature:
            break
        if last["outcome"] == Outcome.LOST:
            break
        tell("ended", end_of(following, last))
        size += _size(last)
        results[one["node"]["name"]] = last
        further.append({"node": one["node"]["name"], "seconds": time.monotonic() - since, **last})
    return {**report, "ahead": further} if further else report


def _carry_out(client: Client, project: Project, claim: Mapping[str, Any], *, ahead: bool = False) -> dict[str, Any]:
    """Execute a step in this process, as `carry_out` does; one that asks the process to end ends alone."""
    try:
        return carry_out(client, project, claim, ahead=ahead)
    except SystemExit as leaving:
        return {"outcome": Outcome.EXITED, "detail": f"It called sys.exit({leaving.code!r:.80}) without a result."}


def _size(report: Mapping[str, Any]) -> int:
    return sum(len(one.get("content", "")) for one in report.get("artifacts", ()))


def _filled(arguments: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return arguments with artifacts in place of the results that came."""

    def artifact(node: str, output: str | None) -> dict[str, Any]:
        found = next(one for one in results[node]["artifacts"] if output is None or one["name"] == output)
        sha256 = found.get("sha256") or sha256_bytes(found["content"].encode())
        return {"artifact": {"name": found["name"], "kind": found["kind"], "sha256": sha256}}

    def place(argument: Mapping[str, Any]) -> dict[str, Any]:
        if "node" in argument:
            return artifact(argument["node"], argument.get("output"))
        if "list" in argument:
            return {"list": [place(one) for one in argument["list"]]}
        if "fields" in argument:
            return {"fields": {name: place(one) for name, one in argument["fields"].items()}}
        return dict(argument)

    return {name: place(argument) for name, argument in arguments.items()}
