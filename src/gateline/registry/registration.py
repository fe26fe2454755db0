"""What a registration needs: everything is looked up here, and all that is missing or wrong is named at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from gateline.gates import GateRun, ModelSubject, files_digest, manifest_mistakes
from gateline.kernel.errors import GatelineError, IntegrityFailure, InvalidInput
from gateline.kernel.limits import NAME_LENGTH_MAX, TEXT_LENGTH_MAX
from gateline.kernel.names import split_version_id, version_id
from gateline.lineage import Lineage, Node
from gateline.registry import rules
from gateline.registry.model import ModelVersion, State
from gateline.registry.store import VersionRow

if TYPE_CHECKING:
    from gateline.data import Datasets, DatasetVersion, ObjectStore
    from gateline.features import FeatureSets
    from gateline.gates import Gates
    from gateline.ledger import Transaction
    from gateline.tracking import Tracking

_DATASETS_MAX = 1_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What the caller gave; see `Registry.register`."""

    name: str
    run_id: str
    files: Mapping[str, str]
    gate_run_id: str
    feature_set: str
    dataset_versions: tuple[str, ...]
    training_frame: str
    metrics: Mapping[str, float]
    owner: str
    trained_from: int
    trained_until: int
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A registration with the digests of all it names."""

    given: Registration
    run_digest: str
    feature_set_digest: str
    dataset_digests: Mapping[str, str]
    shortfall: str

    @property
    def digest(self) -> str:
        """Digest of the served form."""
        return files_digest(self.given.files)

    def row(self, *, number: int, now: int, actor: str) -> VersionRow:
        """Return the row of the version."""
        given = self.given
        state = State.DEVELOPMENT if self.shortfall else State.CANDIDATE
        return VersionRow(
            id=version_id(given.name, number), name=given.name, version=number, digest=self.digest, files=dict(given.files),
            state=state.value, run_id=given.run_id, run_digest=self.run_digest, gate_run_id=given.gate_run_id,
            gates_passed=not self.shortfall, gates_reason=self.shortfall, feature_set=given.feature_set,
            feature_set_digest=self.feature_set_digest, dataset_versions=dict(self.dataset_digests),
            training_frame=given.training_frame, metrics=dict(given.metrics), owner=given.owner, trained_from=given.trained_from,
            trained_until=given.trained_until, description=given.description, created_at=now, created_by=actor,
        )  # fmt: skip


@dataclass(slots=True)
class _Mistakes:
    found: list[str] = field(default_factory=list)

    def look_up(self, what: str, look: Callable[[], T]) -> T | None:
        """Return what `look` finds; what it raises is noted."""
        try:
            return look()
        except IntegrityFailure as error:
            self.found.append(error.message.rstrip("."))
        except GatelineError:
            self.found.append(f"{what} is not recorded")
        return None


def sound_registration(
    given: Registration, *, objects: ObjectStore, tracking: Tracking, datasets: Datasets, feature_sets: FeatureSets, gates: Gates
) -> Found:
    """Look up all that a registration names.

    Raises:
        InvalidInput: something is missing or wrong; all of it is named.
    """
    mistakes = _Mistakes()
    mistakes.found += _plain_mistakes(given)
    run = mistakes.look_up(f"the snapshot of run '{given.run_id}'", lambda: tracking.get(given.run_id))
    feature_set = mistakes.look_up(
        f"the feature set version '{given.feature_set}'", lambda: feature_sets.get(*split_version_id(given.feature_set))
    )
    digests: dict[str, str] = {}
    for one in given.dataset_versions:
        dataset = mistakes.look_up(f"the dataset version '{one}'", partial(_dataset, datasets, one))
        if dataset is not None:
            digests[one] = dataset.digest
    if feature_set is not None:
        pinned = sorted(set(feature_set.dataset_versions.values()) - set(given.dataset_versions))
        mistakes.found += [f"the dataset version '{one}', which the feature set reads, is not named" for one in pinned]
    mistakes.look_up(f"the training frame '{given.training_frame[:64]}'", lambda: objects.verify(given.training_frame))
    for path, sha256 in given.files.items():
        mistakes.look_up(f"the model file '{path}' ({sha256[:64]})", partial(objects.verify, sha256))
    judged = mistakes.look_up(f"the gate run '{given.gate_run_id}'", lambda: gates.get(given.gate_run_id)) if given.gate_run_id else None
    if mistakes.found or run is None or feature_set is None:
        raise InvalidInput(
            f"The model version cannot be registered: {'; '.join(mistakes.found)}.",
            next_step="Supply all of it and register again.",
            facts={"mistakes": mistakes.found},
        )
    return Found(
        given=given,
        run_digest=run.digest,
        feature_set_digest=feature_set.digest,
        dataset_digests=digests,
        shortfall=_shortfall(judged, given),
    )


def _dataset(datasets: Datasets, version: str) -> DatasetVersion:
    return datasets.get(*split_version_id(version))


def _shortfall(judged: GateRun | None, given: Registration) -> str:
    subject = ModelSubject(run_id=given.run_id, files=given.files, training_frame=given.training_frame, trained_until=given.trained_until)
    return rules.gate_shortfall(judged, subject)


def _plain_mistakes(given: Registration) -> list[str]:
    """Return what can be seen to be wrong without looking anything up."""
    mistakes: list[str] = [*manifest_mistakes(given.files), *rules.metric_mistakes(given.metrics)]
    if not given.owner.strip() or len(given.owner) > NAME_LENGTH_MAX:
        mistakes.append(f"no owner (text of at most {NAME_LENGTH_MAX} characters)")
    if not given.dataset_versions:
        mistakes.append("no dataset versions")
    if len(given.dataset_versions) > _DATASETS_MAX:
        mistakes.append(f"more than {_DATASETS_MAX:,} dataset versions")
    if given.trained_from >= given.trained_until:
        mistakes.append("the training period ends before it begins")
    if len(given.description) > TEXT_LENGTH_MAX:
        mistakes.append(f"the description is longer than {TEXT_LENGTH_MAX:,} characters")
    return mistakes


def link(lineage: Lineage, tx: Transaction, version: ModelVersion) -> None:
    """Record what a version was made from."""
    node = Node(kind="model_version", id=version.id, label=version.id)
    sources: list[tuple[str, str, str]] = [
        ("run", version.run_id, "trained_by"),
        ("feature_set_version", version.feature_set, "computed_by"),
        ("frame", version.training_frame, "trained_on"),
        *(("dataset_version", one, "read") for one in version.dataset_versions),
    ]
    if version.gate_run_id:
        sources.append(("gate_run", version.gate_run_id, "judged_by"))
    for kind, identity, relation in sources:
        label = "training rows" if kind == "frame" else identity
        lineage.link(tx, Node(kind=kind, id=identity, label=label), node, relation)
