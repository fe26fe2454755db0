"""A notebook as a project: the files that `gateline init --from-notebook` writes, and what could not be carried over."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import textwrap
import unicodedata
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import NAME_LENGTH_MAX
from gateline.sdk.notebook.checking import Severity, check_notebook
from gateline.sdk.notebook.leaving import cells_of, left_by, mistakes_of
from gateline.sdk.notebook.outside import hidden_edges, outside_of
from gateline.sdk.notebook.sections import take_apart

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateline.sdk.notebook.checking import Finding
    from gateline.sdk.notebook.outside import Outside
    from gateline.sdk.notebook.reading import Notebook
    from gateline.sdk.notebook.sections import Parts, Section

_WIDTH = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A notebook as a project.

    Attributes:
        files: Content by relative path.
        pipeline: Name of the pipeline in `gateline.toml`.
        steps: Names of the steps, in order.
        left: What could not be carried over, and what to do about it; one sentence each.
        findings: What is doubtful about the notebook.
    """

    files: dict[str, bytes]
    pipeline: str
    steps: tuple[str, ...]
    left: tuple[str, ...]
    findings: tuple[Finding, ...]


def convert(notebook: Notebook, folder: Path) -> Conversion:
    """Return a notebook as a project.

    Args:
        notebook: The notebook.
        folder: Its folder, to say which files it reads; nothing is written.

    Raises:
        InvalidInput: it cannot run from top to bottom, or cannot be cut into functions; every reason is named.
    """
    findings = check_notebook(notebook)
    mistakes = [str(one) for one in findings if one.severity == Severity.ERROR]
    parts = take_apart(notebook)
    mistakes += mistakes_of(parts)
    if mistakes:
        raise InvalidInput(
            "The notebook cannot become a project:\n  " + "\n  ".join(mistakes),
            next_step="Correct these cells, restart the kernel, run all cells and save. Nothing was written.",
        )
    outside = outside_of(parts)
    hidden = hidden_edges(parts, outside)
    findings += [one for _, one in hidden]
    writer = _Writer(notebook, parts, outside, hidden)
    left = [*left_by(parts, folder), *(str(one) for one in findings if one.severity == Severity.WARNING)]
    return Conversion(files=writer.files(left), pipeline=writer.name, steps=writer.names, left=tuple(left), findings=tuple(findings))


class _Writer:
    """Writes the files. Names of steps differ from all names of the notebook."""

    def __init__(self, notebook: Notebook, parts: Parts, outside: list[Outside], hidden: list[tuple[Section, Finding]]) -> None:
        self._notebook = notebook
        self._parts = parts
        self._outside = outside
        self._hidden = hidden
        nodes = [one.node for section in parts.sections for one in section.statements] + [one.node for one in (*parts.top, *parts.settings)]
        self._taken = {one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name)} | parts.top_names
        self._taken |= {*parts.parameters, *keyword.kwlist, *keyword.softkwlist, *dir(builtins), "main"}
        words = ("Annotated", "Any", "keep", "pipeline", "settings", "step", "take")
        self._words = {word: f"gateline_{word}" if word in self._taken else word for word in words}
        self._taken |= set(self._words.values())
        self.name = self._free(notebook.name, "notebook").replace("_", "-")
        self._function = self.name.replace("-", "_")
        self._functions = [self._free(one.title or "start", f"part_{number}") for number, one in enumerate(parts.sections, 1)]
        self.names = tuple(one.replace("_", "-") for one in self._functions)
        self._carried = {name for one in parts.sections for name in one.outputs}

    def _free(self, text: str, otherwise: str) -> str:
        """Return a name of a function for a heading that nothing else has."""
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
        wanted = re.sub(r"[^a-z0-9]+", "_", plain).strip("_0123456789")[: NAME_LENGTH_MAX // 2].strip("_") or otherwise
        found, number = (wanted if wanted not in self._taken else f"{wanted}_step"), 2
        while found in self._taken:
            found, number = f"{wanted}_{number}", number + 1
        self._taken.add(found)
        return found

    def files(self, left: list[str]) -> dict[str, bytes]:
        """Return the files of the project."""
        template = resources.files("gateline.sdk.notebook").joinpath("project")
        fixed = {one: template.joinpath(one.removeprefix(".")).read_bytes() for one in ("carry.py", ".gitignore")}
        listed = "\n".join(f"- {one}" for one in left) or "Nothing that is known of."
        readme = template.joinpath("README.md").read_text(encoding="utf-8")
        test = template.joinpath("test_pipeline.txt").read_text(encoding="utf-8")
        filled = {
            "notebook": self._notebook.name.replace("`", "'"),
            "pipeline": self.name,
            "function": self._function,
            "left": listed,
            "sha256": self._notebook.sha256,
            "steps": repr(list(self.names)),
            "mlflow": str("mlflow" in self._parts.top_names),
        }
        for name, value in filled.items():
            readme, test = readme.replace(f"<<{name}>>", value), test.replace(f"<<{name}>>", value)
        toml = f'[project]\nname = "{self.name}"\n\n[pipelines]\n{self.name} = "pipeline:{self._function}"\n'
        made = {"README.md": readme, "gateline.toml": toml, "pipeline.py": self._module(), "tests/test_pipeline.py": test}
        return {name: content.encode() for name, content in made.items()} | fixed

    def _module(self) -> str:
        """Return the text of the pipeline's module."""
        future = [one.source for one in self._parts.top if isinstance(one.node, ast.ImportFrom) and one.node.module == "__future__"]
        top = [one for one in self._parts.top if one.source not in future]
        imports = [one.source for one in top if isinstance(one.node, ast.Import | ast.ImportFrom)]
        rest = [one.source for one in top if not isinstance(one.node, ast.Import | ast.ImportFrom)]
        own = [f"from typing import {self._imported('Annotated', 'Any')}", f"from carry import {self._imported('keep', 'take')}",
               f"from gateline import {self._imported('pipeline', 'step')}"]  # fmt: skip
        if "display" in self._taken:
            rest.insert(0, "display = print  # there is no notebook to show things in")
        if self._parts.settings:
            rest.append(f"def {self._words['settings']}():\n" + _indented(one.source for one in self._parts.settings))
        steps = [self._step(*one) for one in zip(self._parts.sections, self._functions, self._outside, strict=True)]
        head = f'"""The notebook {_quoted(self._notebook.name)} as a pipeline.\n\ngateline run {self.name}\n"""'
        blocks = [head, "\n".join(future), "\n".join([*own, *imports]), *rest, *steps, self._pipeline()]
        return "\n\n\n".join(block for block in blocks if block) + "\n"

    def _imported(self, *words: str) -> str:
        return ", ".join(word if self._words[word] == word else f"{word} as {self._words[word]}" for word in words)

    def _step(self, section: Section, name: str, outside: Outside) -> str:
        """Return the text of one step."""
        words = self._words
        body = [f'"""Cells {cells_of(section)}: {_quoted(section.title or "before the first heading")}."""']
        body += [f"{words['settings']}()"] if self._parts.settings else []
        body += [f"{one} = {words['take']}({one})" for one in section.arguments if one in self._carried]
        sources = [one.source for one in section.statements]
        last = section.statements[-1].node
        shown = (
            section is self._parts.sections[-1]
            and isinstance(last, ast.Expr)
            and not _speaks(last)
            and not sources[-1].rstrip().endswith(";")
        )
        if shown:
            sources[-1] = f"return {words['keep']}({ast.unparse(last)}, 'what the last cell shows')"
        body += sources
        if section.outputs:
            body.append("return " + ", ".join(f"{words['keep']}({one}, {one!r})" for one in section.outputs))
        returns = self._returns(section)
        recorded = any(isinstance(node, ast.Name) and node.id == "mlflow" for one in section.statements for node in ast.walk(one.node))
        reasons = ["logs to MLflow"] if recorded else []
        reasons += ["reads or writes files, addresses or databases, which no argument shows"] if outside else []
        decorator = f"@{words['step']}" + (f"(cache=False)  # {' and '.join(reasons)}" if reasons else "")
        for message in (finding.message for reader, finding in self._hidden if reader is section):
            decorator = "\n".join([*textwrap.wrap(message, _WIDTH, initial_indent="# ", subsequent_indent="# "), decorator])
        return f"{decorator}\ndef {name}({', '.join(section.arguments)}){returns}:\n{_indented(body)}"

    def _returns(self, section: Section) -> str:
        outputs = [f"{self._words['Annotated']}[{self._words['Any']}, {name!r}]" for name in _output_names(section.outputs)]
        if not outputs:
            return ""
        if len(outputs) == 1:
            return f" -> {outputs[0]}"
        text = f" -> tuple[{', '.join(outputs)}]"
        return text if len(text) < _WIDTH else " -> tuple[\n    " + ",\n    ".join(outputs) + ",\n]"

    def _pipeline(self) -> str:
        """Return the text of the function that connects the steps."""
        lines = []
        for section, name in zip(self._parts.sections, self._functions, strict=True):
            call = f"{name}({', '.join(section.arguments)})"
            last = section is self._parts.sections[-1]
            lines.append(f"return {call}" if last else f"{', '.join(section.outputs)} = {call}" if section.outputs else call)
        parameters = ", ".join(f"{name}={value!r}" for name, value in self._parts.parameters.items())
        head = '"""The sections of the notebook, in its order."""'
        return f"@{self._words['pipeline']}\ndef {self._function}({parameters}):\n{_indented([head, *lines])}"


def _output_names(variables: list[str]) -> list[str]:
    """Return the name of each output: that of its variable in lower case, which no other output may have."""
    found: list[str] = []
    for number, variable in enumerate(variables, 1):
        name = variable.lower().strip("_")
        valid = re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None and name not in found
        found.append(name[:NAME_LENGTH_MAX] if valid else f"output-{number}")
    return found


def _speaks(node: ast.Expr) -> bool:
    """Whether an expression is there for its effect, so that its value is nothing to return."""
    root: ast.AST = node.value
    while isinstance(root, ast.Attribute | ast.Call | ast.Subscript):
        root = root.func if isinstance(root, ast.Call) else root.value
    return isinstance(root, ast.Name) and root.id in {"print", "display", "mlflow", "plt", "sns"}


def _indented(sources: Iterable[str]) -> str:
    return textwrap.indent("\n".join(sources) or "pass", "    ", lambda _: True)


def _quoted(text: str) -> str:
    """Return text that may stand in a docstring."""
    return re.sub(r"\s+", " ", text.replace("\\", "/").replace('"', "'"))[:100]
