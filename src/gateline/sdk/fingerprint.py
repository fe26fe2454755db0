"""Digests of code: what a step's result depends on, so that editing an unrelated step keeps its cache."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest, sha256_file
from gateline.sdk.environment import installed_packages

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


def code_digest(function: Callable[..., Any], project: Path) -> str:
    """Return the digest of a step's code: itself, the rest of its module, and the other modules of the project it has loaded.

    Decorators and comments do not count; neither do other steps and pipelines of the same module.
    """
    module = sys.modules[function.__module__]
    path = Path(inspect.getsourcefile(function) or "")
    parts = [_dump(node, function.__name__) for node in ast.parse(path.read_text(encoding="utf-8")).body]
    others = {
        str(found.relative_to(project)): sha256_file(found)
        for found in _project_files(project)
        if found != path and module.__name__ != "__main__"
    }
    return digest("step-code/1", {"name": function.__name__, "module": [part for part in parts if part], "others": others})


def environment_digest() -> str:
    """Return the digest of the Python version and of every installed distribution and its version."""
    return digest("environment/2", {"python": list(sys.version_info[:3]), "packages": installed_packages()})


def _dump(node: ast.stmt, wanted: str) -> str:
    """Return the normal form of a top-level statement, or nothing for another step or pipeline."""
    if isinstance(node, ast.FunctionDef):
        marked = any(_decorator_name(one) in {"step", "pipeline"} for one in node.decorator_list)
        if marked and node.name != wanted:
            return ""
        node.decorator_list = []
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(node)


def _decorator_name(node: ast.expr) -> str:
    target = node.func if isinstance(node, ast.Call) else node
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""


def _project_files(project: Path) -> list[Path]:
    """Return the loaded modules' files that lie in the project folder."""
    loaded = {Path(file) for module in list(sys.modules.values()) if isinstance(file := getattr(module, "__file__", None), str)}
    return sorted(path for path in loaded if path.is_relative_to(project) and "site-packages" not in path.parts)
