"""Use cases of rollout. Each change of a route, a lifecycle state and a rollout is one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import structlog
from sqlalchemy import select

from gateline.access import Permission
from gateline.kernel.clock import DAY, SECOND
from gateline.kernel.errors import Conflict, NotFound
from gateline.kernel.ids import new_id
from gateline.kernel.passes import step_each
from gateline.rollout import store
from gateline.rollout.analysis import CANARY, CHAMPION, PREDECESSOR, analyse, compare_with_predecessor, freeze_baseline
from gateline.rollout.model import Baseline, Release, Rollout, RolloutPlan, RolloutState
from gateline.rollout.rules import Action, Decision, decide_canary, decide_probation, look_due, looks_in_all, next_look_day
from gateline.rollout.store import ReleaseRow, RolloutRow
from gateline.serving import RouteArm

if TYPE_CHECKING:
    import polars as pl

    from gateline.access import Access, Principal
    from gateline.ledger import Ledger, Transaction
    from gateline.registry import ModelVersion, Registry
    from gateline.serving import Serving

PROMOTED = "model.version.promoted"
ROLLED_BACK = "rollout.rolled_back"

_SYSTEM = "gateline"
_BASELINE_DAYS = 14
_BASELINE_REQUESTS_MIN = 200
_SEED = 20130101

_log = structlog.get_logger(__name__)


class Observations(Protocol):
    """What serving and monitoring have seen of an endpoint; contributed where the application is put together."""

    def mark(self, endpoint: str) -> tuple[int, ...]:
        """Return numbers that change whenever a prediction or a label has come."""
        ...

    def watermark(self, endpoint: str) -> int:
        """Return the newest event time seen, in UTC microseconds; 0 before the first."""
        ...

    def rows(self, endpoint: str, start: int, end: int | None = None) -> pl.DataFrame:
        """Return scored requests with event time in [start, end), with their `label` where one is known."""
        ...


class Rollouts:
    """Releases, and the reconciler that carries them out.

    Args:
        ledger: Writes each change.
        access: Decides who may release, given the facts of the registry.
        registry: Knows versions, approvals and the champion.
        serving: Publishes routes.
        observations: Requests and labels.
    """

    def __init__(self, ledger: Ledger, access: Access, registry: Registry, serving: Serving, observations: Observations) -> None:
        self._ledger = ledger
        self._access = access
        self._registry = registry
        self._serving = serving
        self._observations = observations
        self._seen: dict[str, tuple[int, ...]] = {}

    def get(self, rollout_id: str) -> Rollout:
        """Return a rollout."""
        with self._ledger.records.read() as session:
            row = session.get(RolloutRow, rollout_id)
        if row is None:
            raise NotFound(f"There is no rollout '{rollout_id}'.", next_step="List them with: gateline rollout list")
        return store.to_rollout(row)

    def release(self, actor: Principal, model_version: str, endpoint: str, plan: RolloutPlan) -> Release:
        """Start the rollout of an approved version.

        The first version of an endpoint has nothing to be compared with: it goes straight to production, and the record says why.

        Raises:
            Denied: the version is not approved, its gates did not pass, or the caller may not release.
            Conflict: another canary is under way on the endpoint, or the version is in production there.
        """
        version = self._registry.get(model_version)
        approval = self._registry.approval(model_version)
        facts = {"approved": approval is not None, "gatesPassed": version.gates_passed}
        self._access.require(actor, Permission.MODEL_RELEASE, resource=model_version, facts=facts)
        served = self._serving.endpoint(endpoint)
        if served.model != version.name:
            raise Conflict(f"Endpoint '{endpoint}' serves model '{served.model}', not '{version.name}'.")
        event_time = self._observations.watermark(endpoint)
        with self._ledger.transaction(actor.name) as tx:
            self._end_probation(tx, endpoint)
            champion = self._registry.champion(version.name, served.environment.value, tx=tx)
            release = ReleaseRow(
                id=new_id("rel"), model_version=version.id, endpoint=endpoint, approval_id="" if approval is None else approval.id,
                created_at=tx.now, created_by=actor.name, rollout_id=new_id("roll"),
            )  # fmt: skip
            row = RolloutRow(
                id=release.rollout_id, release_id=release.id, endpoint=endpoint, model=version.name, candidate=version.id,
                champion="" if champion is None else champion.id, state=RolloutState.CANARY, plan=plan.as_dict(),
                canary_skipped_reason="", started_at=tx.now, started_event_time=event_time, reason="The canary has started.",
            )  # fmt: skip
            tx.session.add_all([release, row])
            tx.record("release.created", release.id, {"model_version": version.id, "endpoint": endpoint, "plan": plan.as_dict()})
            if champion is None:
                self._first_release(tx, row, version, served.environment.value)
            elif champion.id == version.id:
                raise Conflict(f"{version.id} is already in production on '{endpoint}'.")
            else:
                self._route_canary(tx, row, version, champion)
                row.first_generation = row.step_generation
            return store.to_release(release)

    def roll_back(self, actor: Principal, rollout_id: str, reason: str) -> Rollout:
        """Take a version back by hand, in canary or probation."""
        with self._ledger.transaction(actor.name) as tx:
            row = _active_row(tx, rollout_id)
            self._take_back(tx, row, Decision(action=Action.ROLL_BACK, reason=f"By {actor.name}: {reason}"), {})
            return store.to_rollout(row)

    def pause(self, actor: Principal, rollout_id: str, reason: str) -> Rollout:
        """Hold a canary at its present share."""
        return self._switch(actor, rollout_id, RolloutState.CANARY, RolloutState.PAUSED, reason)

    def resume(self, actor: Principal, rollout_id: str, reason: str) -> Rollout:
        """Let a paused canary go on."""
        return self._switch(actor, rollout_id, RolloutState.PAUSED, RolloutState.CANARY, reason)

    def reconcile(self) -> int:
        """Move each active rollout one step when new requests or labels allow it; return how many moved."""
        with self._ledger.records.read() as session:
            pending = [store.to_rollout(row) for row in store.active(session)]
        return step_each({rollout.id: rollout for rollout in pending}, self._judge_when_new, what="judging a rollout")

    def _judge_when_new(self, rollout: Rollout) -> bool:
        mark = self._observations.mark(rollout.endpoint)
        if rollout.state is RolloutState.PAUSED or self._seen.get(rollout.id) == mark:
            return False
        moved = self._judge_canary(rollout) if rollout.state is RolloutState.CANARY else self._judge_probation(rollout)
        self._seen[rollout.id] = mark
        return moved

    def _judge_canary(self, rollout: Rollout) -> bool:
        baseline = rollout.baseline or self._freeze(rollout)
        if baseline is None:
            return False
        rows = self._observations.rows(rollout.endpoint, rollout.started_event_time)
        rows = rows.filter(rows["generation"] >= rollout.first_generation)
        found = analyse(rows, baseline, rollout.plan, rollout.step_generation)
        decision = decide_canary(rollout.plan, rollout.step, found)
        return self._apply(rollout, decision, analysis=found.as_dict(), baseline=baseline)

    def _judge_probation(self, rollout: Rollout) -> bool:
        elapsed = (self._observations.watermark(rollout.endpoint) - rollout.promoted_event_time) / DAY
        if elapsed < next_look_day(rollout.plan, rollout.looks_done):
            return False
        rows = self._observations.rows(rollout.endpoint, rollout.promoted_event_time)
        rows = rows.filter(rows["generation"] >= rollout.step_generation)
        looks = looks_in_all(rollout.plan)
        found = compare_with_predecessor(rows, rollout.plan, looks=looks, seed=_SEED)
        decision = decide_probation(rollout.plan, rollout.looks_done, elapsed, found)
        looked = look_due(rollout.plan, rollout.looks_done, found.days)
        return self._apply(rollout, decision, comparison=found.as_dict(), looked=looked)

    def _freeze(self, rollout: Rollout) -> Baseline | None:
        """Return what counts as bad, from the champion's newest requests; None until there are 200."""
        start = rollout.started_event_time - _BASELINE_DAYS * DAY
        rows = self._observations.rows(rollout.endpoint, start)
        own = rows.filter((rows["version"] == rollout.champion) & ~rows["shadow"] & (rows["error"] == ""))
        before = own.filter(own["generation"] < rollout.first_generation)
        enough = before if before.height >= _BASELINE_REQUESTS_MIN else own
        return freeze_baseline(enough, rollout.plan) if enough.height >= _BASELINE_REQUESTS_MIN else None

    def _apply(
        self,
        rollout: Rollout,
        decision: Decision,
        *,
        analysis: dict[str, Any] | None = None,
        comparison: dict[str, Any] | None = None,
        baseline: Baseline | None = None,
        looked: bool = False,
    ) -> bool:
        """Carry a decision out in one transaction, unless somebody else moved the rollout meanwhile."""
        if decision.action is Action.WAIT and not looked and rollout.baseline is not None and rollout.state is RolloutState.CANARY:
            self._note(rollout, decision, analysis or {})
            return False
        with self._ledger.transaction(_SYSTEM) as tx:
            row = tx.session.get_one(RolloutRow, rollout.id)
            if (row.state, row.step) != (rollout.state, rollout.step):
                return False
            row.analysis, row.comparison = analysis or row.analysis, comparison or row.comparison
            row.looks_done += int(looked)
            row.reason = decision.reason
            if baseline is not None and not row.baseline:
                row.baseline = baseline.as_dict()
                tx.record("rollout.baseline.frozen", row.id, row.baseline)
            if looked:
                tx.record("rollout.probation.looked", row.id, {"comparison": row.comparison, "reason": decision.reason})
            self._act(tx, row, decision)
        return decision.action is not Action.WAIT

    def _note(self, rollout: Rollout, decision: Decision, analysis: dict[str, Any]) -> None:
        """Show the state of the evidence; nothing was decided, so nothing goes to the ledger."""
        with self._ledger.records.write() as session:
            row = session.get_one(RolloutRow, rollout.id)
            row.analysis, row.reason = analysis, decision.reason

    def _act(self, tx: Transaction, row: RolloutRow, decision: Decision) -> None:
        match decision.action:
            case Action.WAIT:
                return
            case Action.WIDEN:
                row.step += 1
                candidate, champion = self._registry.get(row.candidate, tx=tx), self._registry.get(row.champion, tx=tx)
                self._route_canary(tx, row, candidate, champion)
                tx.record("rollout.widened", row.id, {"step": row.step, "reason": decision.reason, "analysis": row.analysis})
            case Action.PROMOTE:
                self._promote(tx, row, decision)
            case Action.ROLL_BACK:
                self._take_back(tx, row, decision, row.analysis or row.comparison)
            case Action.PAUSE:
                row.state = RolloutState.PAUSED
                tx.record("rollout.paused", row.id, {"reason": decision.reason, "analysis": row.analysis})
            case Action.KEEP:
                self._complete(tx, row, decision.reason)
        _log.info("rollout.decided", rollout=row.id, action=decision.action.value, reason=decision.reason)

    def _first_release(self, tx: Transaction, row: RolloutRow, version: ModelVersion, environment: str) -> None:
        reason = f"No version of '{version.name}' is in production in {environment}, so there is no champion to compare with."
        row.state, row.canary_skipped_reason, row.reason, row.ended_at = RolloutState.COMPLETED, reason, reason, tx.now
        self._publish(tx, row, [_arm(CHAMPION, version, 1.0)], [], reason)
        self._registry.promote(tx, version.id, environment)
        tx.record("rollout.canary.skipped", row.id, {"reason": reason, "version": version.id})
        self._announce(tx, row, version.id, previous="")

    def _route_canary(self, tx: Transaction, row: RolloutRow, candidate: ModelVersion, champion: ModelVersion) -> None:
        share = RolloutPlan.from_dict(row.plan).steps[row.step]
        arms = [_arm(CHAMPION, champion, 1 - share), _arm(CANARY, candidate, share)]
        self._publish(tx, row, arms, [], f"Canary of {candidate.id} at {share:.0%}.")

    def _promote(self, tx: Transaction, row: RolloutRow, decision: Decision) -> None:
        candidate, champion = self._registry.get(row.candidate, tx=tx), self._registry.get(row.champion, tx=tx)
        plan = RolloutPlan.from_dict(row.plan)
        probation = plan.probation_days > 0
        shadow = [_arm(PREDECESSOR, champion, 0.0)] if probation else []
        self._publish(tx, row, [_arm(CHAMPION, candidate, 1.0)], shadow, f"{candidate.id} is promoted.")
        environment = self._serving.endpoint(row.endpoint).environment.value
        self._registry.promote(tx, candidate.id, environment)
        row.state = RolloutState.PROBATION if probation else RolloutState.COMPLETED
        row.promoted_event_time = self._observations.watermark(row.endpoint)
        row.ended_at = 0 if probation else tx.now
        row.decided_after = _cost(row, tx.now)
        tx.record("rollout.promoted", row.id, {"version": candidate.id, "reason": decision.reason, "analysis": row.analysis})
        self._announce(tx, row, candidate.id, previous=champion.id)

    def _take_back(self, tx: Transaction, row: RolloutRow, decision: Decision, evidence: dict[str, Any]) -> None:
        """Publish the route before the canary and restore the registry, all in this transaction."""
        champion = self._registry.get(row.champion, tx=tx)
        was_promoted = row.state == RolloutState.PROBATION
        self._publish(tx, row, [_arm(CHAMPION, champion, 1.0)], [], f"Rollback from {row.candidate} to {champion.id}.")
        if was_promoted:
            environment = self._serving.endpoint(row.endpoint).environment.value
            self._registry.promote(tx, champion.id, environment)
            self._announce(tx, row, champion.id, previous=row.candidate)
        self._registry.reject(tx, row.candidate, decision.reason)
        row.state, row.reason, row.ended_at = RolloutState.ROLLED_BACK, decision.reason, tx.now
        row.decided_after = _cost(row, tx.now)
        tx.record("rollout.rolled_back", row.id, {"version": row.candidate, "reason": decision.reason, "evidence": evidence})
        tx.publish(ROLLED_BACK, {"rollout_id": row.id, "endpoint": row.endpoint, "version": row.candidate, "reason": decision.reason})

    def _complete(self, tx: Transaction, row: RolloutRow, reason: str) -> None:
        """End a probation in favour of the promoted version; the predecessor stops scoring."""
        candidate = self._registry.get(row.candidate, tx=tx)
        self._publish(tx, row, [_arm(CHAMPION, candidate, 1.0)], [], reason)
        row.state, row.reason, row.ended_at = RolloutState.COMPLETED, reason, tx.now
        tx.record("rollout.completed", row.id, {"version": row.candidate, "reason": reason, "comparison": row.comparison})

    def _end_probation(self, tx: Transaction, endpoint: str) -> None:
        """Make room for a new release: a running canary forbids it, a probation ends with it."""
        for row in store.active(tx.session, endpoint):
            if row.state != RolloutState.PROBATION:
                raise Conflict(
                    f"The rollout {row.id} of {row.candidate} is still {row.state} on '{endpoint}'.",
                    next_step="Wait for its end, or take it back: gateline rollout rollback",
                )
            row.state, row.ended_at = RolloutState.COMPLETED, tx.now
            row.reason = f"A new release began before the probation was over. {row.reason}"
            tx.record("rollout.completed", row.id, {"version": row.candidate, "reason": row.reason, "comparison": row.comparison})

    def _publish(self, tx: Transaction, row: RolloutRow, arms: list[RouteArm], shadow: list[RouteArm], reason: str) -> None:
        row.step_generation = self._serving.publish_route(tx, row.endpoint, arms, shadow, reason=reason)

    @staticmethod
    def _announce(tx: Transaction, row: RolloutRow, version: str, *, previous: str) -> None:
        tx.publish(PROMOTED, {"model": row.model, "version": version, "previous": previous, "endpoint": row.endpoint})

    def _switch(self, actor: Principal, rollout_id: str, old: RolloutState, new: RolloutState, reason: str) -> Rollout:
        with self._ledger.transaction(actor.name) as tx:
            row = _active_row(tx, rollout_id)
            if row.state != old:
                raise Conflict(f"Rollout {rollout_id} is {row.state}, not {old}.")
            row.state, row.reason = new, f"By {actor.name}: {reason}"
            tx.record(f"rollout.{'paused' if new is RolloutState.PAUSED else 'resumed'}", rollout_id, {"reason": reason})
            return store.to_rollout(row)

    def list(self, endpoint: str = "", *, limit: int = 100) -> list[Rollout]:
        """Return rollouts, newest first, of one endpoint or of all."""
        query = select(RolloutRow).order_by(RolloutRow.started_at.desc(), RolloutRow.id.desc()).limit(limit)
        if endpoint:
            query = query.where(RolloutRow.endpoint == endpoint)
        with self._ledger.records.read() as session:
            return [store.to_rollout(row) for row in session.scalars(query).all()]


def _arm(name: str, version: ModelVersion, weight: float) -> RouteArm:
    return RouteArm(name=name, version=version.id, weight=weight, form=version.files)


def _active_row(tx: Transaction, rollout_id: str) -> RolloutRow:
    """Return the row of a rollout that is not over."""
    row = tx.session.get(RolloutRow, rollout_id)
    if row is None:
        raise NotFound(f"There is no rollout '{rollout_id}'.", next_step="List them with: gateline rollout list")
    if row.state not in store.ACTIVE:
        raise Conflict(f"Rollout {rollout_id} is over: {row.state}. {row.reason}")
    return row


def _cost(row: RolloutRow, now: int) -> dict[str, Any]:
    """Return after how many requests and seconds a decision came."""
    found = row.analysis
    canary, baseline = found.get("canary_requests", 0), found.get("baseline_requests", 0)
    return {
        "canary_requests": canary,
        "requests": canary + baseline,
        "event_seconds": found.get("event_seconds", 0.0),
        "wall_seconds": round((now - row.started_at) / SECOND, 3),
    }
