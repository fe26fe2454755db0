"""The seals of fits: digests of what was asked for and learned, and whether a record still agrees with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateline.features.records.model import FeatureFit
from gateline.kernel.canonical import digest
from gateline.kernel.errors import IntegrityFailure, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.features.engine.fitted import FittedTransforms
    from gateline.kernel.clock import Instant

_FIT_ID = re.compile(r"(?P<name>[^@/]+)@(?P<version>[0-9]{1,9})/fit@(?P<number>[0-9]{1,9})")


def inputs_digest(feature_set: str, datasets: Mapping[str, str], start: Instant | None, end: Instant | None) -> str:
    """Return the digest of what a fit is asked for: the digests of feature set version and dataset versions, and the window."""
    return digest("feature.fit.inputs", {"feature_set": feature_set, "datasets": dict(datasets), "start": start, "end": end})


def fit_digest(inputs: str, fitted: FittedTransforms) -> str:
    """Return the digest of a fit: of what was asked for, and of what was learned."""
    return digest("feature.fit", {"inputs": inputs, "fitted": fitted.as_dict()})


def fit_from_dict(content: Mapping[str, Any]) -> FeatureFit:
    """Return the fit that `FeatureFit.as_dict` described.

    Raises:
        IntegrityFailure: it does not agree with its digest.
    """
    from gateline.features.engine.fitted import fitted_from_dict

    fields = (
        "id", "feature_set", "feature_set_digest", "number", "dataset_versions", "dataset_digests", "start", "end", "digest", "created_at",
        "created_by",
    )  # fmt: skip
    try:
        found = FeatureFit(**{field: content[field] for field in fields}, fitted=fitted_from_dict(content))
        computed = fit_digest(inputs_digest(found.feature_set_digest, found.dataset_digests, found.start, found.end), found.fitted)
    except InvalidInput as error:
        raise _changed(str(content["id"]), f"it cannot be read: {error.message}") from error
    if computed != found.digest:
        raise _changed(found.id, f"expected {found.digest}, found {computed}")
    return found


def check_entry(found: FeatureFit, entry: Mapping[str, Any]) -> None:
    """Compare a fit with the ledger's entry of it.

    Raises:
        IntegrityFailure: they disagree.
    """
    if changed := sorted(name for name, value in ledger_entry(found).items() if entry.get(name) != value):
        raise _changed(found.id, f"it differs from the ledger's entry in {', '.join(changed)}")


def ledger_entry(fit: FeatureFit) -> dict[str, Any]:
    """Return what the ledger says of a fit: digests and numbers, no values of the data."""
    return {
        "digest": fit.digest, "rows": fit.fitted.rows, "rows_digest": fit.fitted.rows_digest, "start": fit.start, "end": fit.end,
        "dataset_versions": dict(sorted(fit.dataset_versions.items())),
    }  # fmt: skip


def split_fit_id(text: str) -> tuple[str, int, int]:
    """Return the name and version of the feature set and the number of a fit.

    >>> split_fit_id("flight_delay@1/fit@2")
    ('flight_delay', 1, 2)

    Raises:
        InvalidInput: the text is not of that form.
    """
    found = _FIT_ID.fullmatch(text)
    if found is None:
        raise InvalidInput(f"'{text[:120]}' is not the id of a fit.", next_step="Write name@version/fit@number: flight_delay@1/fit@2.")
    return found["name"], int(found["version"]), int(found["number"])


def _changed(identity: str, how: str) -> IntegrityFailure:
    return IntegrityFailure(
        f"The record of fit {identity} was changed: {how.rstrip('.')}.",
        next_step="Do not use it. Run: gateline ledger verify; then restore the records database from a backup.",
        facts={"fit": identity},
    )
