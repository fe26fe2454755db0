"""Contract types for import-linter that it does not ship (`.importlinter` names them)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from importlinter import Contract, ContractCheck, fields, output

if TYPE_CHECKING:
    from grimp import ImportGraph


class FrontDoorContract(Contract):
    """A domain is entered by its front door (`gateline.<domain>`) or its `model`; every other module of it is private.

    Unlike import-linter's `protected` it needs no list of the private modules, so a new file is private from its first day.

    Options:
        domains: the packages with a front door.
        open_modules: names of child modules that others may import too.
        allowed_importers: packages outside a domain that may enter anywhere, such as schema migrations. (Optional.)
    """

    type_name = "front_door"

    domains = fields.ListField(subfield=fields.StringField())
    open_modules = fields.ListField(subfield=fields.StringField())
    allowed_importers = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002
        """Collect every import that reaches a private module from outside its domain."""
        allowed: list[str] = list(self.allowed_importers or [])  # type: ignore[call-overload]
        broken: list[str] = []
        for domain in self.domains:  # type: ignore[attr-defined]
            if domain not in graph.modules:
                continue
            for module in sorted(graph.find_descendants(domain)):
                if module.removeprefix(f"{domain}.").split(".")[0] in self.open_modules:  # type: ignore[operator]
                    continue
                for importer in sorted(graph.find_modules_that_directly_import(module)):
                    if any(importer == own or importer.startswith(f"{own}.") for own in [domain, *allowed]):
                        continue
                    lines = [str(detail["line_number"]) for detail in graph.get_import_details(importer=importer, imported=module)]
                    broken.append(f"{importer} -> {module} (l.{', '.join(lines)})")
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each offending import and what to do."""
        broken: list[Any] = check.metadata["broken"]
        for line in broken:
            output.print_error(f"- {line}", bold=False)
        output.new_line()
        output.print_error("Import from the front door; add the name to its __init__ when it is meant to be public.", bold=False)
