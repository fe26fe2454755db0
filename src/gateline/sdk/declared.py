"""Schedules, triggers and limits as a project's gateline.toml declares them, and what differs from the server.

    [pipelines.train]
    function = "pipeline:train"

    [pipelines.train.schedule]
    cron = "30 2 * * 1-5"
    zone = "Europe/Berlin"

    [pipelines.train.triggers.fresh]
    dataset = "flights"

    [pipelines.train.limits]
    concurrent_max = 1

The schedule of a pipeline is called `PROJECT.PIPELINE`, a trigger `PROJECT.PIPELINE.TRIGGER`. What the server has under such a name for the
project, and the file does not, is removed. Limits that the file says nothing about stay; an empty table lifts them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import GatelineError, InvalidInput
from gateline.kernel.names import valid_name
from gateline.pipelines import Limits, Schedule, Trigger, TriggerSource, plain_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateline.sdk.client import Client
    from gateline.sdk.project import Project

_SCHEDULE_KEYS = {"cron", "zone", "catch_up", "catch_up_max", "time_parameter", "parameters", "priority"}
_TRIGGER_KEYS = {"endpoint", "dataset", "alert_kinds", "cool_down_seconds", "parameter", "parameters"}
_LIMIT_KEYS = {"concurrent_max", "runs_max", "period_seconds", "cool_down_seconds", "deduplicate_seconds"}
_PIPELINE_KEYS = {"function", "schedule", "triggers", "limits"}
_ALERT_KINDS = ("drift", "performance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one declaration.

    Attributes:
        kind: `schedule`, `trigger` or `limits`.
        verb: `add`, `change`, `remove` or `keep`.
        body: What is declared; empty to remove.
        differs: Field to what the server has and what the file says, of a change.
    """

    kind: str
    name: str
    verb: str
    body: dict[str, Any] = field(default_factory=dict)
    differs: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where the server keeps it."""
        return f"/pipelines/{self.name}/limits" if self.kind == "limits" else f"/pipeline-{self.kind}s/{self.name}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"kind": self.kind, "name": self.name, "verb": self.verb, "declared": self.body, "differs": self.differs}


def declared(project: Project) -> dict[tuple[str, str], dict[str, Any]]:
    """Return kind and name of each declaration of a project, with all its fields.

    Raises:
        InvalidInput: something cannot be declared so; every mistake is named.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    mistakes: list[str] = []
    for pipeline, settings in project.settings.get("pipelines", {}).items():
        if not isinstance(settings, dict):
            continue
        mistakes += _unknown(settings, _PIPELINE_KEYS, f"[pipelines.{pipeline}]")
        tables = [("schedule", "", settings.get("schedule")), ("limits", "", settings.get("limits"))]
        triggers = settings.get("triggers", {})
        tables += [("trigger", name, one) for name, one in triggers.items()] if isinstance(triggers, dict) else [("trigger", "", triggers)]
        for kind, name, table in tables:
            if table is None:
                continue
            where = f"[pipelines.{pipeline}.{f'triggers.{name}' if kind == 'trigger' else kind}]"
            if not isinstance(table, dict):
                mistakes.append(f"{where} is no table")
                continue
            full = pipeline if kind == "limits" else ".".join(filter(None, (project.name, pipeline, name)))
            try:
                found[kind, full] = _READERS[kind](project, pipeline, valid_name(kind, full), plain_value(table, where), where)
            except GatelineError as error:
                mistakes.append(error.message.removesuffix("."))
    if mistakes:
        raise InvalidInput(f"{project.folder / 'gateline.toml'} cannot be applied: {'; '.join(mistakes)}.", next_step="Mend all of these.")
    return found


def changes(client: Client, project: Project) -> list[Change]:
    """Compare a project's declarations with the server's; nothing is changed.

    Raises:
        InvalidInput: the file has mistakes.
    """
    wanted = declared(project)
    present = {("schedule", one["name"]): one for one in _own(client.get("/pipeline-schedules"), project)}
    present |= {("trigger", one["name"]): one for one in _own(client.get("/pipeline-triggers"), project)}
    present |= {(kind, name): client.get(f"/pipelines/{name}/limits") for kind, name in wanted if kind == "limits"}
    gone = [Change(kind=kind, name=name, verb="remove") for kind, name in present if (kind, name) not in wanted]
    return [_change(kind, name, body, present.get((kind, name))) for (kind, name), body in wanted.items()] + gone


def apply(client: Client, found: Iterable[Change]) -> None:
    """Carry changes out. What is as declared is left alone, so that a schedule loses no time that is due."""
    for one in found:
        if one.verb == "remove":
            client.delete(one.path)
        elif one.verb != "keep":
            client.put(one.path, json=one.body)


def _change(kind: str, name: str, body: dict[str, Any], present: Mapping[str, Any] | None) -> Change:
    if present is None:
        return Change(kind=kind, name=name, verb="add", body=body)
    differs = {key: (present.get(key), value) for key, value in body.items() if present.get(key) != value}
    return Change(kind=kind, name=name, verb="change" if differs else "keep", body=body, differs=differs)


def _own(listed: list[dict[str, Any]], project: Project) -> list[dict[str, Any]]:
    """Return what the project has declared by its file: that carries its name and is for its runners."""
    return [one for one in listed if one["project"] == project.name and one["name"].startswith(f"{project.name}.")]


def _schedule(project: Project, pipeline: str, name: str, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    _refuse([*_unknown(table, _SCHEDULE_KEYS, where), *([] if "cron" in table else [f"{where} lacks cron"])])
    return _body(Schedule(name=name, pipeline=pipeline, project=project.name, **table).as_dict())


def _trigger(project: Project, pipeline: str, name: str, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    both = ("endpoint" in table) == ("dataset" in table)
    source = TriggerSource.ALERT if "endpoint" in table else TriggerSource.DATASET
    kinds = table.get("alert_kinds", [*_ALERT_KINDS] if source is TriggerSource.ALERT else [])
    wrong = [f"{where} names not exactly one of endpoint and dataset"] if both else []
    wrong += [] if isinstance(kinds, list) else [f"{where} has alert_kinds that are no list"]
    _refuse([*_unknown(table, _TRIGGER_KEYS, where), *wrong])
    given = {key: value for key, value in table.items() if key not in {"endpoint", "dataset", "alert_kinds"}}
    given["subject"] = table.get("endpoint", table.get("dataset"))
    return _body(Trigger(name=name, pipeline=pipeline, project=project.name, source=source, alert_kinds=tuple(kinds), **given).as_dict())


def _limits(_project: Project, pipeline: str, _name: str, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    _refuse(_unknown(table, _LIMIT_KEYS, where))
    full = Limits(pipeline=pipeline, **table).as_dict()
    return {key: value for key, value in full.items() if key != "pipeline"}


_READERS = {"schedule": _schedule, "trigger": _trigger, "limits": _limits}


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, str) else value for key, value in fields.items() if key != "name"}


def _unknown(table: Mapping[str, Any], known: set[str], where: str) -> list[str]:
    unknown = sorted(table.keys() - known)
    return [f"{where} has unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"] if unknown else []


def _refuse(mistakes: list[str]) -> None:
    if mistakes:
        raise InvalidInput("; ".join(mistakes))
