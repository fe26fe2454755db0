"""The key of a step: what its result depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEY_FORMAT = 2


def step_key(*, code: str, environment: str, arguments: Mapping[str, Mapping[str, Any]], seed: int | None = None, run_id: str = "") -> str:
    """Return the key of a step call: equal keys give equal results.

    Args:
        code: `code_digest` of its function.
        environment: `environment_digest` of where it runs.
        arguments: For each parameter `{"value": …}`, `{"artifact": sha256, "kind": kind}` for a result, or `{"list": […]}` and
            `{"fields": {…}}` of these, as `key_argument` gives them.
        seed: The option of the step.
        run_id: Id of the run for a step with `cache=False`, whose results are not reused; else empty.
    """
    facts = {"format": KEY_FORMAT, "code": code, "environment": environment, "arguments": arguments, "seed": seed, "run": run_id}
    return digest("step", facts)


def key_argument(argument: Mapping[str, Any], node: Callable[[str, str | None], Any], item: Callable[[str], Any]) -> dict[str, Any]:
    """Return the form that an argument of a plan has in a key.

    Args:
        argument: As `gateline.pipelines.plan` describes.
        node: Gives `{"artifact": sha256, "kind": kind}` of a node's result, from its name and that of the output, if there is one; of a
            mapped node `{"list": […]}` of these.
        item: Gives the same of an element of `over`, or `{"value": …}` for an element of a JSON list.
    """
    if "node" in argument:
        return dict(node(argument["node"], argument.get("output")))
    if "item" in argument:
        return dict(item(argument["item"]))
    if "list" in argument:
        return {"list": [key_argument(one, node, item) for one in argument["list"]]}
    if "fields" in argument:
        return {"fields": {name: key_argument(one, node, item) for name, one in argument["fields"].items()}}
    return {"value": argument["value"]}
