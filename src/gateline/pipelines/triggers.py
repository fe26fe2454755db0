"""Triggers: alerts of an endpoint and new versions of a dataset start pipelines, within what their declarations allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gateline.kernel.clock import iso
from gateline.kernel.errors import InvalidInput, NotFound
from gateline.kernel.names import split_version_id, valid_name
from gateline.kernel.passes import step_each
from gateline.pipelines.requests import is_unfinished, plain_parameters, queue_run
from gateline.pipelines.schedule_model import RunRequest, Trigger, TriggerSource
from gateline.pipelines.schedule_rules import decline
from gateline.pipelines.schedule_store import TriggerRow, to_trigger, write

if TYPE_CHECKING:
    from gateline.access import Principal
    from gateline.ledger import Ledger, Transaction
    from gateline.pipelines.model import Retraining

ALERT_KINDS = ("monitoring.alert.opened", "monitoring.alert.repeated")
DATASET_VERSION = "dataset.version.registered"
_SYSTEM = "gateline"


class Triggers:
    """Triggers as records. Its handlers of events are idempotent: an event that is delivered again starts nothing again.

    Args:
        ledger: Writes each change.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def set(self, actor: Principal, trigger: Trigger) -> dict[str, Any]:
        """Declare a trigger, or declare it anew.

        Raises:
            InvalidInput: naming what is wrong with it.
        """
        valid_name("trigger", trigger.name)
        valid_name("pipeline", trigger.pipeline)
        plain_parameters(trigger.pipeline, trigger.parameters)
        mistakes = []
        if not trigger.subject:
            mistakes.append("it names no endpoint or dataset")
        if trigger.source is TriggerSource.ALERT and not trigger.alert_kinds:
            mistakes.append("it names no kind of alert")
        if trigger.source is TriggerSource.DATASET and trigger.alert_kinds:
            mistakes.append("a dataset has no alerts")
        if trigger.cool_down_seconds < 0:
            mistakes.append("its cool-down is negative")
        if mistakes:
            raise InvalidInput(f"Trigger '{trigger.name[:100]}' cannot be declared: {'; '.join(mistakes)}.", next_step="Mend all of these.")
        fields = trigger.as_dict()
        with self._ledger.transaction(actor.name) as tx:
            row = tx.session.get(TriggerRow, trigger.name, with_for_update=True, populate_existing=True)
            if row is None:
                tx.session.add(TriggerRow(**fields, declared_by=actor.name))
            else:
                write(row, {**fields, "declared_by": actor.name})
            tx.record("pipeline.trigger.declared", trigger.name, fields)
        return self.get(trigger.name)

    def set_retraining(self, actor: Principal, plan: Retraining) -> Retraining:
        """Declare when alerts of an endpoint start a pipeline: the trigger `retraining-ENDPOINT`, with the parameter `as_of`."""
        trigger = Trigger(
            name=f"retraining-{plan.endpoint}", pipeline=plan.pipeline, source=TriggerSource.ALERT, subject=plan.endpoint,
            alert_kinds=plan.alert_kinds, cool_down_seconds=plan.cool_down_seconds, parameter="as_of", parameters=plan.parameters,
        )  # fmt: skip
        self.set(actor, trigger)
        return plan

    def get(self, name: str) -> dict[str, Any]:
        """Return a trigger, with what it decided last."""
        with self._ledger.records.read() as session:
            row = session.get(TriggerRow, name)
            if row is None:
                raise _missing(name)
            return _told(row)

    def all(self) -> list[dict[str, Any]]:
        """Return every trigger by name."""
        with self._ledger.records.read() as session:
            return [_told(row) for row in session.scalars(select(TriggerRow).order_by(TriggerRow.name))]

    def remove(self, actor: Principal, name: str) -> None:
        """Remove a trigger; its runs stay."""
        with self._ledger.transaction(actor.name) as tx:
            row = tx.session.get(TriggerRow, name, with_for_update=True)
            if row is None:
                raise _missing(name)
            tx.session.delete(row)
            tx.record("pipeline.trigger.removed", name)

    def on_alert(self, alert: dict[str, Any]) -> None:
        """Start what listens to an alert. Handles one event of `ALERT_KINDS`."""
        with self._ledger.transaction(_SYSTEM) as tx:
            rows = _listening(tx, TriggerSource.ALERT, alert["endpoint"])
            if not rows:
                facts = {"alert_id": alert["alert_id"], "reason": "No trigger listens to alerts of this endpoint."}
                tx.record("pipeline.trigger.declined", alert["endpoint"], facts)
            for row in rows:
                unfinished = is_unfinished(tx, row.last_run_id)
                why = decline(to_trigger(row), alert["window_end"], row.last_event_time, unfinished=unfinished, alert_kind=alert["kind"])
                facts = {"alert_id": alert["alert_id"], "kind": alert["kind"], "endpoint": alert["endpoint"]}
                if why:
                    row.last_decision = why
                    tx.record("pipeline.trigger.declined", row.name, facts | {"reason": why})
                    continue
                reason = f"A {alert['kind']} alert asks for a candidate. {alert['sentence']}".strip()
                key = f"alert/{alert['alert_id']}/{alert['window_end']}/{row.name}"
                _start(tx, row, iso(alert["window_end"]), alert["window_end"], reason, key, facts)

    def on_dataset_version(self, version: dict[str, Any]) -> None:
        """Start what listens to new versions of a dataset; within a cool-down the newest waits. Handles `DATASET_VERSION`."""
        name, number = split_version_id(version["id"])
        with self._ledger.transaction(_SYSTEM) as tx:
            for row in _listening(tx, TriggerSource.DATASET, name):
                if row.pending and split_version_id(row.pending)[1] > number:
                    continue
                self._consider(tx, row, version["id"])

    def reconcile(self) -> int:
        """Start what waited for a cool-down or a run to end, and return how many triggers were looked at."""
        with self._ledger.records.read() as session:
            waiting = {name: name for name in session.scalars(select(TriggerRow.name).where(TriggerRow.pending != ""))}
        return step_each(waiting, self._again, what="trigger")

    def _again(self, name: str) -> int:
        with self._ledger.transaction(_SYSTEM) as tx:
            row = tx.session.get(TriggerRow, name, with_for_update=True, populate_existing=True)
            if row is None or not row.pending:
                return 0
            self._consider(tx, row, row.pending)
            return 1

    @staticmethod
    def _consider(tx: Transaction, row: TriggerRow, version: str) -> None:
        """Start a run for a dataset version, or keep the version until one may start."""
        last = None if row.last_event_time is None or row.last_event_time > tx.now else row.last_event_time  # a clock set back
        why = decline(to_trigger(row), tx.now, last, unfinished=is_unfinished(tx, row.last_run_id))
        if not why:
            row.pending = ""
            _start(tx, row, version, tx.now, f"Dataset version {version} is new.", f"dataset/{version}/{row.name}", {"version": version})
        elif row.pending != version:
            tx.record("pipeline.trigger.deferred", row.name, {"version": version, "reason": why, "instead_of": row.pending})
            row.pending, row.last_decision = version, f"{version} waits: {why}"


def _listening(tx: Transaction, source: TriggerSource, subject: str) -> list[TriggerRow]:
    query = select(TriggerRow).where(TriggerRow.source == source, TriggerRow.subject == subject).order_by(TriggerRow.name)
    return list(tx.session.scalars(query.with_for_update()))


def _start(tx: Transaction, row: TriggerRow, value: str, event_time: int, reason: str, key: str, facts: dict[str, Any]) -> None:
    given = {row.parameter: value} if row.parameter else {}
    wanted = RunRequest(
        pipeline=row.pipeline, parameters=row.parameters | given, reason=reason, request_key=key, project=row.project,
        on_behalf_of=row.declared_by,
    )  # fmt: skip
    run = queue_run(tx, wanted)
    row.last_event_time, row.last_run_id, row.last_decision = event_time, run.id, reason
    tx.record("pipeline.trigger.started", row.name, facts | {"run_id": run.id, "reason": reason})


def _told(row: TriggerRow) -> dict[str, Any]:
    return {
        **to_trigger(row).as_dict(), "declared_by": row.declared_by, "last_run_id": row.last_run_id, "last_decision": row.last_decision,
        "pending": row.pending,
    }  # fmt: skip


def _missing(name: str) -> NotFound:
    return NotFound(f"There is no trigger '{name}'.", next_step="List them with: gateline pipeline trigger list")
