"""Use cases of reproduction: hand out the recipe of a version, compare what came of following it, keep the grade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
from sqlalchemy.exc import IntegrityError

from gateline.gates import Policy, parse_policy
from gateline.kernel.canonical import digest
from gateline.kernel.errors import Conflict, GatelineError, InvalidInput, NotFound
from gateline.kernel.ids import new_id
from gateline.pipelines import RunState, StepState
from gateline.reproduction import probing, rules, store
from gateline.reproduction.evidence import Evidence, Training
from gateline.reproduction.model import Difference, Failure, LossInterval, Predictions, Recipe, Reproduction, Stage
from gateline.reproduction.store import ReproductionRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.data import ObjectStore
    from gateline.gates import Gates
    from gateline.ledger import Ledger
    from gateline.pipelines import PipelineRun, Pipelines
    from gateline.registry import ModelVersion, Registry

_DIGEST = "reproduction/1"


class Reproductions:
    """Attempts to make model versions again, each graded and kept.

    Callers may rely on: a grade is computed here, from records and stored files, and never taken from a client; a pipeline run counts
    once, and only when none of its steps was reused; a reproduction never changes, and its digest is in the ledger.

    Args:
        ledger: Records.
        objects: Holds files.
        registry: Knows versions.
        pipelines: Knows pipeline runs.
        gates: Knows the holdout that a version was judged on.
        evidence: Reads what is compared.
    """

    def __init__(
        self, ledger: Ledger, objects: ObjectStore, *, registry: Registry, pipelines: Pipelines, gates: Gates, evidence: Evidence
    ) -> None:
        self._ledger = ledger
        self._objects = objects
        self._registry = registry
        self._pipelines = pipelines
        self._gates = gates
        self._evidence = evidence

    def recipe(self, version: str) -> Recipe:
        """Return what has to be done to make a version again.

        Raises:
            NotFound: there is no such version.
            Conflict: nothing records how it was made.
            Unavailable: MLflow is still loading.
        """
        return self._evidence.recipe(self._registry.get(version))

    def grade(
        self, actor: str, version: str, *, pipeline_run: str = "", failure: Failure | None = None, rebuilt: Mapping[str, str] | None = None
    ) -> Reproduction:
        """Compare a version with what a pipeline run made again, grade it, and keep that. The same run again returns the same record.

        Args:
            actor: Who made it again.
            version: Id of the version.
            pipeline_run: The run; empty when it did not come to one.
            failure: Why it did not.
            rebuilt: How code, environment and data were come by, in words.

        Raises:
            NotFound: there is no such version or run.
            InvalidInput: neither a run nor a failure is given, or both.
            Conflict: the run is not over, is another pipeline's, is the one that made the version, or reused results.
        """
        found = self._registry.get(version)
        if bool(pipeline_run) == (failure is not None):
            raise InvalidInput("A reproduction is graded by a pipeline run, or by why there is none.", next_step="Give one of the two.")
        recipe = self._evidence.recipe(found)
        if failure is not None:
            return self._keep(actor, found, pipeline_run="", failure=failure, rebuilt=rebuilt or {})
        earlier = self._earlier(version, pipeline_run)
        if earlier is not None:
            return earlier
        run = self._pipelines.get(pipeline_run)
        _require_repeated(run, recipe)
        try:
            return self._compare(actor, found, recipe, run, rebuilt or {})
        except IntegrityError:  # somebody else has graded the same run meanwhile
            earlier = self._earlier(version, pipeline_run)
            if earlier is None:
                raise
            return earlier

    def _earlier(self, version: str, pipeline_run: str) -> Reproduction | None:
        with self._ledger.records.read() as session:
            return store.of_run(session, version, pipeline_run)

    def _compare(self, actor: str, version: ModelVersion, recipe: Recipe, run: PipelineRun, rebuilt: Mapping[str, str]) -> Reproduction:
        recorded = self._evidence.tracked(version.run_id)
        first = self._evidence.training(self._pipelines.get(recipe.pipeline_run), recorded)
        tracked = self._evidence.logged_by(actor, run, recipe.steps[0], recorded.experiment) if run.state is RunState.SUCCEEDED else None
        try:
            again = self._evidence.training(run, tracked)
        except Conflict as error:
            failure = Failure(stage=Stage.CODE, name=f"pipeline {recipe.pipeline}", detail=error.message)
            return self._keep(actor, version, pipeline_run=run.id, failure=failure, rebuilt=rebuilt)
        compared = [*self._evidence.inputs(version, again), *self._evidence.surroundings(first, again)]
        compared += self._evidence.artifacts(first, again)
        if tracked is None:
            failure = _why_incomplete(run, recipe, compared)
            return self._keep(actor, version, pipeline_run=run.id, failure=failure, compared=compared, rebuilt=rebuilt)
        models = self._evidence.models(version, first, again)
        predictions, loss = self._probe(version, first, again)
        compared += models + _told(predictions) + self._evidence.metrics(first, again)
        return self._keep(
            actor, version, pipeline_run=run.id, run_id=tracked.run_id, compared=compared, rebuilt=rebuilt, predictions=predictions,
            loss=loss, model_equal=all(one.equal for one in models) if models else None,
        )  # fmt: skip

    def _probe(self, version: ModelVersion, first: Training, again: Training) -> tuple[Predictions | None, LossInterval | None]:
        """Return how predictions and losses compare: of the served forms on the holdout, else as steps of both trainings returned them."""
        policy, frame = self._judged_on(version)
        form = self._evidence.form_of(version, first, again)
        if form:
            try:
                what = "holdout rows of the gate run" if frame else "training rows"
                path = self._objects.verified_path(frame or version.training_frame)
                rows = probing.sample(pl.read_parquet(path, hive_partitioning=False))
                scores = probing.score(self._objects, version.files, rows), probing.score(self._objects, form, rows)
                return probing.compare_predictions(what, *scores), probing.compare_losses(rows, *scores, policy)
            except (GatelineError, pl.exceptions.PolarsError, OSError):  # no served form that can be loaded: what steps returned counts
                pass
        for name, expected, found in self._evidence.frames(first, again):
            mine, others = probing.predicted_by_step(self._objects, expected), probing.predicted_by_step(self._objects, found)
            if mine is not None and others is not None:
                want, have = (one.get_column(probing.PREDICTION).cast(pl.Float64).to_numpy() for one in (mine, others))
                told = probing.compare_predictions(f"rows that step {name} returned", want, have)
                return told, probing.compare_losses(mine, want, have, policy)
        return None, None

    def _judged_on(self, version: ModelVersion) -> tuple[Policy, str]:
        """Return the policy a version was judged by and the holdout; the default policy and nothing when it was not judged."""
        try:
            run = self._gates.get(version.gate_run_id)
            return parse_policy(self._gates.policy(run.policy_digest).document), run.frame
        except (NotFound, InvalidInput):
            return Policy(), ""

    def _keep(
        self, actor: str, version: ModelVersion, *, pipeline_run: str, run_id: str = "", compared: list[Difference] | None = None,
        predictions: Predictions | None = None, loss: LossInterval | None = None, failure: Failure | None = None,
        model_equal: bool | None = None, rebuilt: Mapping[str, str],
    ) -> Reproduction:  # fmt: skip
        """Grade and record."""
        grade, sentence = rules.grade(model_equal=model_equal, predictions=predictions, loss=loss, failure=failure)
        listed = tuple(compared or ())
        sentence += "" if failure else rules.caveat(rules.first_difference(listed))
        facts: dict[str, Any] = {
            "model_version": version.id, "grade": grade, "sentence": sentence, "first_difference": rules.first_difference(listed),
            "compared": listed, "predictions": predictions, "loss": loss, "failure": failure, "pipeline_run": pipeline_run,
            "run_id": run_id, "rebuilt": dict(rebuilt),
        }  # fmt: skip
        with self._ledger.transaction(actor) as tx:
            made = Reproduction(id=new_id("rep"), **facts, digest="", created_at=tx.now, created_by=actor)
            content = made.content()
            sha256 = digest(_DIGEST, content)
            row = ReproductionRow(
                id=made.id, model_version=version.id, grade=grade.value, pipeline_run=pipeline_run, digest=sha256, document=content,
                created_at=tx.now, created_by=actor,
            )  # fmt: skip
            tx.session.add(row)
            first = made.first_difference
            tx.record(
                "model.version.reproduced",
                version.id,
                {
                    "reproduction": made.id, "grade": grade.value, "digest": sha256, "model": version.digest, "run": version.run_digest,
                    "pipeline_run": pipeline_run, "run_id": run_id, "first_difference": f"{first.stage}: {first.name}" if first else "",
                    "compared": [[one.stage.value, one.name[:200], one.expected[:64], one.found[:64]] for one in listed[:rules.LEDGER_MAX]],
                },
            )  # fmt: skip
            tx.publish("model.version.reproduced", {"id": made.id, "model_version": version.id, "grade": grade.value})
            tx.session.flush()
            return store.to_reproduction(row)

    def get(self, reproduction: str) -> Reproduction:
        """Return a reproduction; raises NotFound."""
        with self._ledger.records.read() as session:
            row = session.get(ReproductionRow, reproduction)
            if row is None:
                raise NotFound(
                    f"There is no reproduction '{reproduction[:64]}'.", next_step="List them: gateline model reproductions VERSION"
                )
            return store.to_reproduction(row)

    def of(self, version: str, *, limit: int = 100) -> list[Reproduction]:
        """Return the reproductions of a version, newest first; raises NotFound when there is no such version."""
        found = self._registry.get(version)
        with self._ledger.records.read() as session:
            return store.of_version(session, found.id, limit)


def _require_repeated(run: PipelineRun, recipe: Recipe) -> None:
    """Refuse a run that did not make the version again."""
    if not run.over:
        raise Conflict(f"Pipeline run {run.id} is {run.state}.", next_step="Wait until it is over.")
    if run.id == recipe.pipeline_run or run.pipeline != recipe.pipeline:
        raise Conflict(
            f"Pipeline run {run.id} of '{run.pipeline}' does not make {recipe.model_version} again.",
            next_step=f"Start one with: gateline reproduce {recipe.model_version}",
        )
    reused = [step.name for step in run.steps if step.reused_from]
    if reused:
        raise Conflict(
            f"Pipeline run {run.id} reused what {', '.join(reused[:5])} returned before: nothing was made again.",
            next_step=f"Start one with: gateline reproduce {recipe.model_version}",
        )


def _why_incomplete(run: PipelineRun, recipe: Recipe, compared: list[Difference]) -> Failure:
    """Return why a run gave no tracked run: the step that failed; of damaged data, the data."""
    damaged = next((one for one in compared if one.stage is Stage.DATA and not one.equal), None)
    if damaged is not None:
        return Failure(stage=Stage.DATA, name=damaged.name, detail=damaged.found or "it is not there")
    begun = [step for step in run.steps if step.attempts and step.index >= 0 and step.state is not StepState.SUCCEEDED]
    if begun:
        detail = begun[0].failure or f"it is {begun[0].state}: the process that retrained ended"
        return Failure(stage=Stage.ARTIFACT, name=f"step {begun[0].name}", detail=detail)
    detail = run.failure or f"pipeline run {run.id} is {run.state}, and its step '{recipe.steps[0]}' logged no finished run"
    return Failure(stage=Stage.ARTIFACT, name=f"step {recipe.steps[0]}", detail=detail)


def _told(predictions: Predictions | None) -> list[Difference]:
    """Return predictions as one of the things that were compared."""
    if predictions is None:
        return []
    return [
        Difference(
            stage=Stage.PREDICTIONS, name=f"{predictions.rows:,} {predictions.source}", expected=predictions.expected_sha256,
            found=predictions.found_sha256, equal=predictions.bit_equal,
        )
    ]  # fmt: skip
