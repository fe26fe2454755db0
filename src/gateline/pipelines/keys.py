"""The key of a step: what its result depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_FORMAT = 2


def step_key(*, code: str, environment: str, arguments: Mapping[str, Mapping[str, Any]], seed: int | None = None, run_id: str = "") -> str:
    """Return the key of a step call: equal keys give equal results.

    Args:
        code: `code_digest` of its function.
        environment: `environment_digest` of where it runs.
        arguments: For each parameter `{"value": …}`, `{"artifact": sha256, "kind": kind}` for a result, or `{"list": […]}` and
            `{"fields": {…}}` of these.
        seed: The option of the step.
        run_id: Id of the run for a step with `cache=False`, whose results are not reused; else empty.
    """
    facts = {"format": KEY_FORMAT, "code": code, "environment": environment, "arguments": arguments, "seed": seed, "run": run_id}
    return digest("step", facts)
