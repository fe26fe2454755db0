"""Both trainings side by side: what is recorded of the one that made a version, and of the one that made it again."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import Conflict, GatelineError, NotFound
from gateline.kernel.names import split_version_id
from gateline.kernel.run_names import ENVIRONMENT_FILE, PIPELINE_RUN_TAG, PIPELINE_STEP_TAG
from gateline.reproduction.model import Difference, Recipe, Stage
from gateline.reproduction.normal import normalised
from gateline.reproduction.rules import bound_run_ids, compare_digests, compare_values, environment_facts
from gateline.tracking import RunQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.data import Datasets, ObjectStore
    from gateline.features import FeatureSets
    from gateline.pipelines import PipelineRun, Pipelines
    from gateline.registry import ModelVersion
    from gateline.tracking import LoggedModel, RunFacts, RunSnapshot, Tracking

_DIFF_FILE = "code.diff"
_JSON_BYTES_MAX = 4 << 20
_USED = "resources."


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training as its records tell it.

    Attributes:
        run: The pipeline run, with its steps.
        drawn: Its `plan`, the `codes` of its steps and the digest of its `environment`.
        tracked: The tracked run that it logged; None when it did not come to that.
        environment: What that run recorded of where it ran.
    """

    run: PipelineRun
    drawn: Mapping[str, Any]
    tracked: RunFacts | None
    environment: Mapping[str, Any]

    def ids(self) -> list[str]:
        """Return the ids that name this training and nothing else, in an order that two trainings share."""
        models = [] if self.tracked is None else [one.model_id for one in self.tracked.models]
        return [self.run.id, "" if self.tracked is None else self.tracked.run_id, *models]


class Evidence:
    """Reads what is compared. It writes nothing but the snapshot of a run that made a version again.

    Args:
        objects: Holds what steps returned.
        tracking: Knows tracked runs.
        pipelines: Knows pipeline runs.
        datasets: Knows dataset versions.
        feature_sets: Knows feature set versions.
    """

    def __init__(
        self, objects: ObjectStore, *, tracking: Tracking, pipelines: Pipelines, datasets: Datasets, feature_sets: FeatureSets
    ) -> None:
        self._objects = objects
        self._tracking = tracking
        self._pipelines = pipelines
        self._datasets = datasets
        self._feature_sets = feature_sets

    def recipe(self, version: ModelVersion) -> Recipe:
        """Return what has to be done again.

        Raises:
            Conflict: the version's run was not logged by a step of a pipeline run.
            IntegrityFailure: a recorded file was changed.
        """
        tracked = self._tracking.get(version.run_id)
        pipeline_run, step = tracked.tags.get(PIPELINE_RUN_TAG, ""), tracked.tags.get(PIPELINE_STEP_TAG, "")
        if not pipeline_run or not step:
            raise Conflict(
                f"{version.id} cannot be made again: nothing records which pipeline made its run {version.run_id}.",
                next_step="Train it in a step of a pipeline that logs with tracked_run(…), and register that.",
            )
        training = self.training(self._pipelines.get(pipeline_run), tracked)
        diff = self._tracking.content(tracked.run_id, _DIFF_FILE) or b""
        nodes = {one.name: one.node for one in training.run.steps}
        form = next(
            (nodes[name] for name, kind, sha256 in _returned(training.run) if kind == "json" and self._is_form(sha256, version)), step
        )
        steps = tuple(dict.fromkeys((step, form)))
        return Recipe(
            model_version=version.id, run_id=tracked.run_id, pipeline_run=pipeline_run, steps=steps, pipeline=training.run.pipeline,
            project=training.run.project, parameters=training.run.parameters, environment_digest=str(training.drawn["environment"]),
            environment=training.environment, code_diff=base64.b64encode(diff).decode(),
        )  # fmt: skip

    def tracked(self, run_id: str) -> RunSnapshot:
        """Return a frozen run."""
        return self._tracking.get(run_id)

    def frames(self, first: Training, again: Training) -> list[tuple[str, str, str]]:
        """Return name of step, and both digests, of the frames that steps of both trainings returned, last steps first."""
        wanted = set(again.drawn["codes"])
        found = {name: sha256 for name, kind, sha256 in _returned(again.run, wanted) if kind == "frame"}
        expected = [(name, sha256) for name, kind, sha256 in _returned(first.run, wanted) if kind == "frame" and name in found]
        return [(name, sha256, found[name]) for name, sha256 in reversed(expected)]

    def training(self, run: PipelineRun, tracked: RunFacts | None) -> Training:
        """Return one training.

        Raises:
            Conflict: no runner has drawn its pipeline run.
        """
        drawn = self._pipelines.drawn(run.id)
        if not drawn:
            raise Conflict(f"Pipeline run {run.id} has no plan: {run.failure or 'no runner has drawn it'}.", next_step="Run it.")
        content = b"{}" if tracked is None else self._tracking.content(tracked.run_id, ENVIRONMENT_FILE) or b"{}"
        environment = json.loads(content)
        return Training(run=run, drawn=drawn, tracked=tracked, environment=environment if isinstance(environment, dict) else {})

    def logged_by(self, actor: str, run: PipelineRun, step: str, experiment: str) -> RunFacts | None:
        """Return the finished tracked run that a step of a pipeline run logged, frozen; None when there is none."""
        wanted = f"tags.`{PIPELINE_RUN_TAG}` = '{run.id}' and tags.`{PIPELINE_STEP_TAG}` = '{step}'"
        try:
            found = self._tracking.search(RunQuery(filter=wanted, experiment=experiment)).runs
        except NotFound:
            return None
        finished = [one for one in found if one.status == "FINISHED"]
        return self._tracking.freeze(actor, finished[0].run_id) if finished else None

    def inputs(self, version: ModelVersion, again: Training) -> list[Difference]:
        """Compare data and features: what is stored now against what is recorded, and what the new run says it read."""
        found: dict[str, str] = {}
        for one in version.dataset_versions:
            try:
                now = self._datasets.get(*split_version_id(one))
                found[one] = " ".join(self._datasets.faults(now)) or now.digest
            except GatelineError as error:
                found[one] = error.message
        data = compare_digests(Stage.DATA, version.dataset_versions, found)
        if again.tracked is not None:
            read = {f"{one.version} read for {one.context or 'training'}": one.sha256 for one in again.tracked.inputs if one.version}
            recorded = self._tracking.get(version.run_id)
            expected = {f"{one.version} read for {one.context or 'training'}": one.sha256 for one in recorded.inputs if one.version}
            data += compare_digests(Stage.DATA, expected, read)
        try:
            digest = self._feature_sets.get(*split_version_id(version.feature_set)).digest
        except GatelineError as error:
            digest = error.message
        features = compare_digests(Stage.FEATURES, {version.feature_set: version.feature_set_digest}, {version.feature_set: digest})
        return [*data, *features, *self._fits(version, again)]

    def _fits(self, version: ModelVersion, again: Training) -> list[Difference]:
        recorded = self._tracking.get(version.run_id).tags.get("feature_fit.digest", "")
        if not recorded or again.tracked is None:
            return []
        return compare_digests(Stage.FEATURES, {"fit": recorded}, {"fit": again.tracked.tags.get("feature_fit.digest", "")})

    def surroundings(self, first: Training, again: Training) -> list[Difference]:
        """Compare code, environment and parameters."""
        codes = {f"step {name}": str(one) for name, one in again.drawn["codes"].items()}
        recorded = {f"step {name}": str(first.drawn["codes"].get(name, "")) for name in again.drawn["codes"]}
        found = compare_digests(Stage.CODE, recorded, codes)
        if first.environment and again.environment:
            facts = (environment_facts(first.environment), environment_facts(again.environment))
            found += compare_values(Stage.ENVIRONMENT, *facts, what="facts of the environment")
        else:
            expected, now = ({"packages and interpreter": str(one.drawn["environment"])} for one in (first, again))
            found += compare_digests(Stage.ENVIRONMENT, expected, now)
        found += compare_values(Stage.PARAMETERS, first.run.parameters, again.run.parameters, what="parameters of the pipeline")
        if first.tracked is not None and again.tracked is not None:
            found += compare_values(Stage.PARAMETERS, first.tracked.params, again.tracked.params, what="parameters of the run")
        return found

    def artifacts(self, first: Training, again: Training) -> list[Difference]:
        """Compare what each step returned, in the order of the plan; a step that failed says so."""
        wanted = set(again.drawn["codes"])
        expected = {name: (kind, sha256) for name, kind, sha256 in _returned(first.run, wanted)}
        found = {name: (kind, sha256) for name, kind, sha256 in _returned(again.run, wanted)}
        failed = {step.name: f"{step.state}: {step.failure}"[:500] for step in again.run.steps if step.failure and step.index >= 0}
        return [self._artifact(name, expected.get(name), found.get(name), failed, first, again) for name in {**expected, **found}]

    def _artifact(
        self, name: str, expected: tuple[str, str] | None, found: tuple[str, str] | None, failed: Mapping[str, str], first: Training,
        again: Training,
    ) -> Difference:  # fmt: skip
        want, have = (expected or ("", ""))[1], (found or ("", ""))[1] or failed.get(name, "")
        equal = want == have
        if not equal and expected and found and expected[0] == found[0]:
            equal = self._same_content(expected[0], want, have, first, again)
        return Difference(stage=Stage.ARTIFACT, name=name, expected=want, found=have, equal=equal)

    def _same_content(self, kind: str, expected: str, found: str, first: Training, again: Training) -> bool:
        """Return whether two artifacts with other digests say the same but for ids of runs, or are the same model normalised."""
        try:
            contents = [self._objects.verified_path(one).read_bytes() for one in (expected, found)]
        except (GatelineError, OSError):
            return False
        if kind == "file":
            return normalised({"model": contents[0]})[0] == normalised({"model": contents[1]})[0]
        if kind in {"json", "model", "metrics"} and max(len(one) for one in contents) <= _JSON_BYTES_MAX:
            return bound_run_ids(contents[0].decode(), first.ids(), again.ids()) == contents[1].decode()
        return False

    def models(self, version: ModelVersion, first: Training, again: Training) -> list[Difference]:
        """Compare the logged models and the served form, normalised; the files that differ follow each."""
        assert first.tracked is not None  # noqa: S101 - the version was registered from it
        assert again.tracked is not None  # noqa: S101 - the caller has looked
        found: list[Difference] = []
        new = {one.name: one for one in again.tracked.models}
        for model in first.tracked.models:
            other = self._model_files(again.tracked.run_id, new[model.name]) if model.name in new else {}
            found += _compare_files(f"logged model {model.name}", self._model_files(first.tracked.run_id, model), other)
        form = self.form_of(version, first, again)
        if form:
            found += _compare_files("served form", self._form_files(version.files), self._form_files(form))
        return found

    def _model_files(self, run_id: str, model: LoggedModel) -> dict[str, bytes | str]:
        """Return the bytes of a logged model's files, or the digest of what is too large to be read."""
        contents = {path: self._tracking.content(run_id, path, model_id=model.model_id) for path in model.files}
        return {path: model.files[path].sha256 if content is None else content for path, content in contents.items()}

    def _form_files(self, files: Mapping[str, str]) -> dict[str, bytes | str]:
        return {path: self._objects.verified_path(sha256).read_bytes() for path, sha256 in files.items()}

    def form_of(self, version: ModelVersion, first: Training, again: Training) -> dict[str, str]:
        """Return the manifest of the served form made again: what the step returned that had returned the version's; or nothing."""
        returned = {name: sha256 for name, kind, sha256 in _returned(again.run, set(again.drawn["codes"])) if kind == "json"}
        for name, kind, sha256 in _returned(first.run, set(again.drawn["codes"])):
            if kind == "json" and name in returned and self._is_form(sha256, version):
                form = self._document(returned[name])
                return form if isinstance(form, dict) else {}
        return {}

    def _is_form(self, sha256: str, version: ModelVersion) -> bool:
        """Return whether an artifact is the manifest of a version's served form."""
        return bool(self._document(sha256) == dict(version.files))

    def _document(self, sha256: str) -> Any:
        try:
            path = self._objects.verified_path(sha256)
            return json.loads(path.read_bytes()) if path.stat().st_size <= _JSON_BYTES_MAX else None
        except (GatelineError, OSError, ValueError):
            return None

    def metrics(self, first: Training, again: Training) -> list[Difference]:
        """Compare the metrics of both tracked runs, but for what they used of the machine."""
        assert first.tracked is not None  # noqa: S101 - the version was registered from it
        assert again.tracked is not None  # noqa: S101 - the caller has looked
        return compare_digests(Stage.METRICS, _metrics(first.tracked), _metrics(again.tracked))


def _metrics(run: RunFacts) -> dict[str, str]:
    return {name: repr(value) for name, value in run.metrics.items() if not name.startswith(_USED)}


def _returned(run: PipelineRun, nodes: set[str] | None = None) -> list[tuple[str, str, str]]:
    """Return name of step and output, kind and digest of all that these nodes, or all, returned, in the order of the plan."""
    return [
        (step.name if one.name == "result" else f"{step.name}.{one.name}", one.kind, one.sha256)
        for step in run.steps
        if (nodes is None or step.node in nodes) and step.index >= 0
        for one in step.artifacts
    ]


def _compare_files(what: str, expected: Mapping[str, bytes | str], found: Mapping[str, bytes | str]) -> list[Difference]:
    """Return how two models compare as a whole and, where they differ, which files do."""
    want, wanted = normalised(expected)
    have, had = normalised(found)
    whole = Difference(stage=Stage.MODEL, name=what, expected=want, found=have, equal=want == have)
    files: Sequence[Difference] = [] if want == have else compare_digests(Stage.MODEL, wanted, had)
    return [whole, *(one for one in files if not one.equal)]
