"""The parts of a plan as the Spark program asks for them, read from their canonical definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateline.kernel.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.features import EventSource, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One part: a `latest`, `window` or `lookup`; see `features.declarations.plan` for what each field means. Spans are microseconds."""

    kind: str
    name: str
    source: EventSource
    keys: tuple[str, ...]
    outputs: Mapping[str, str]
    column: str = ""
    aggregate: str = ""
    denominator: str = ""
    position: int = 0
    window: int = 0
    offset: int = 0
    hop: int = 0
    max_age: int = 0


def asked(plan: Plan) -> list[Asked]:
    """Return the parts of a plan in order."""
    found = []
    for part in plan.parts:
        fields = part.as_dict()
        found.append(
            Asked(
                kind=fields["kind"], name=part.name, source=part.source, keys=part.keys, outputs=part.outputs,
                column=fields.get("column", ""), aggregate=fields.get("aggregate", ""), denominator=fields.get("denominator", ""),
                position=fields.get("position", 0), window=fields.get("window_seconds", 0) * SECOND,
                offset=fields.get("offset_seconds", 0) * SECOND, hop=fields.get("hop_seconds", 0) * SECOND,
                max_age=fields.get("max_age_seconds", 0) * SECOND,
            )
        )  # fmt: skip
    return found


def grouped(parts: list[Asked]) -> dict[tuple[str, tuple[str, ...]], list[Asked]]:
    """Return the latest values and windows by source and key: each group is one ordered stream."""
    groups: dict[tuple[str, tuple[str, ...]], list[Asked]] = {}
    for part in parts:
        if part.kind != "lookup":
            groups.setdefault((part.source.name, part.keys), []).append(part)
    return groups
