"""What may be frozen, and what a frozen run still has to match. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.kernel.errors import Conflict, GatelineError, IntegrityFailure, InvalidInput
from gateline.tracking.model import FINISHED, ArtifactFile, RunFacts, RunSnapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

TAG_KEY_LENGTH_MAX = 250
TAG_VALUE_LENGTH_MAX = 8_000


def refusal_to_freeze(facts: RunFacts) -> GatelineError | None:
    """Return why the run cannot be frozen, or None.

    Only a finished run stands still: a running one changes under the digest, and a failed or killed one proves nothing about a model.
    """
    if facts.status == FINISHED:
        return None
    next_step = "Wait until it ends." if facts.status in {"RUNNING", "SCHEDULED"} else "Start a new run and let it finish."
    return Conflict(
        f"Run {facts.run_id} cannot be frozen: its status is {facts.status}, not {FINISHED}.",
        next_step=next_step,
        facts={"run_id": facts.run_id, "status": facts.status},
    )


def check_tags(tags: Mapping[str, str | None]) -> None:
    """Refuse tags that MLflow would refuse or cut.

    Raises:
        InvalidInput: there are none, or keys or values are empty or too long; all such are named.
    """
    mistakes = [
        f"key '{key[:40]}' has {len(key)} characters" for key in tags if not key.strip() or len(key) > TAG_KEY_LENGTH_MAX
    ] + [
        f"the value of '{key[:40]}' has {len(value):,} characters"
        for key, value in tags.items()
        if value is not None and len(value) > TAG_VALUE_LENGTH_MAX
    ]  # fmt: skip
    if not tags or mistakes:
        raise InvalidInput(
            f"The run is not changed: {'; '.join(mistakes) or 'there is nothing to change'}.",
            next_step=f"Keys have 1 to {TAG_KEY_LENGTH_MAX} characters, values and notes at most {TAG_VALUE_LENGTH_MAX:,}.",
        )


def all_files(facts: RunFacts) -> dict[str, ArtifactFile]:
    """Return every file of the run and its models; those of a model stand under `models/<model id>/`."""
    found = dict(facts.artifacts)
    for model in facts.models:
        found |= {f"models/{model.model_id}/{path}": file for path, file in model.files.items()}
    return found


def changed_file(snapshot: RunSnapshot, now: RunFacts) -> IntegrityFailure | None:
    """Return the first file, by path, that differs from the snapshot, is missing or was added; None when all match."""
    expected, found = all_files(snapshot), all_files(now)
    for path in sorted(expected.keys() | found.keys()):
        want, have = expected.get(path), found.get(path)
        if want != have:
            return IntegrityFailure(
                f"File '{path}' of run {snapshot.run_id} differs from the frozen snapshot: expected {_said(want)}, found {_said(have)}.",
                next_step="Restore the file from a backup; a model version that rests on this run must not be released until it matches.",
                facts={"run_id": snapshot.run_id, "path": path, "expected": want and want.sha256, "found": have and have.sha256},
            )
    return None


def _said(file: ArtifactFile | None) -> str:
    return "no file" if file is None else f"sha256 {file.sha256} ({file.size_bytes} bytes)"
