"""The decisions of serving: what a sound endpoint and route are, who takes which arm, which values a model used."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from math import isclose, isfinite
from typing import TYPE_CHECKING

from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import TABLE_COLUMNS_MAX
from gateline.serving.model import CHAMPION, FeatureKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateline.serving.model import FeatureSpec, FormInput, RouteArm

_HASH_RANGE = 1 << 64


def check_endpoint(features: Sequence[FeatureSpec], latency_ms_p99: float) -> None:
    """Accept an endpoint's declaration or name every mistake in it.

    Raises:
        InvalidInput: no feature, a feature named twice or not at all, too many, or a latency that is not positive.
    """
    names = [one.name for one in features]
    problems = []
    if not 0 < len(names) <= TABLE_COLUMNS_MAX:
        problems.append(f"it declares {len(names)} features (1 to {TABLE_COLUMNS_MAX} are allowed)")
    problems += [f"feature '{name}' is declared twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if "" in names:
        problems.append("a feature has no name")
    if not (isfinite(latency_ms_p99) and latency_ms_p99 > 0):
        problems.append(f"latency_ms_p99 is {latency_ms_p99} (a positive number of milliseconds is needed)")
    if problems:
        raise InvalidInput(f"The endpoint is not sound: {'; '.join(problems)}.")


def check_route(arms: Sequence[RouteArm], shadow: Sequence[RouteArm]) -> None:
    """Accept the arms of a route or name every mistake in them.

    Raises:
        InvalidInput: names repeat, no arm is the champion, a weight is outside 0 to 1, or the weights do not sum to 1.
    """
    names = [arm.name for arm in (*arms, *shadow)]
    problems = [f"arm '{name}' is named twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if CHAMPION not in [arm.name for arm in arms]:
        problems.append(f"no arm is named '{CHAMPION}'")
    problems += [f"arm '{arm.name}' has weight {arm.weight}" for arm in arms if not 0 <= arm.weight <= 1]
    total = sum(arm.weight for arm in arms)
    if not isclose(total, 1.0, abs_tol=1e-9):
        problems.append(f"the weights sum to {total}, not 1")
    if problems:
        raise InvalidInput(f"The route is not sound: {'; '.join(problems)}.")


def check_form(version: str, features: Sequence[FeatureSpec], inputs: Sequence[FormInput]) -> None:
    """Accept a served form whose inputs the endpoint has, with the same kinds, or name every mistake.

    Raises:
        InvalidInput: an input reads a feature that the endpoint does not declare, or declares of another kind.
    """
    kinds = {one.name: one.kind for one in features}
    problems = [f"it reads feature '{one.feature}', which the endpoint does not have" for one in inputs if one.feature not in kinds]
    problems += [
        f"it reads feature '{one.feature}' as {one.kind.value}, which the endpoint declares {kinds[one.feature].value}"
        for one in inputs
        if kinds.get(one.feature, one.kind) is not one.kind
    ]
    if problems:
        raise InvalidInput(f"The served form of {version} does not fit the endpoint: {'; '.join(problems)}.")


def cut_points(weights: Sequence[float]) -> tuple[int, ...]:
    """Return the upper ends of the arms' shares of the 64-bit hash range, in the order of the arms.

    With two arms, changing the weights moves entities in one direction only: who was in the growing arm stays there.

    >>> cut_points([0.5, 0.5]) == (1 << 63, 1 << 64)
    True
    """
    total, running, cuts = sum(weights), 0.0, []
    for weight in weights:
        running += weight
        cuts.append(min(_HASH_RANGE, round(running / total * _HASH_RANGE)))
    last = max(index for index, weight in enumerate(weights) if weight > 0)
    return tuple(_HASH_RANGE if index >= last else cut for index, cut in enumerate(cuts))


def salt_key(salt: str) -> bytes:
    """Return the key that a salt stands for."""
    return hashlib.sha256(salt.encode()).digest()


def choose_arm(key: bytes, cuts: Sequence[int], unit: bytes) -> int:
    """Return the index of the arm that takes this unit (entity or request id): the same for the same key and cuts, always.

    The hash is keyed BLAKE2b (RFC 7693), so that nobody without the salt can choose an arm by choosing an id.
    """
    place = int.from_bytes(hashlib.blake2b(unit, digest_size=8, key=key).digest(), "big")
    return bisect_right(cuts, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedValue:
    """Which value a model used in place of a feature: `source * scale + offset`."""

    feature: str
    source: str
    scale: float
    offset: float

    @property
    def is_as_sent(self) -> bool:
        """Whether that is the value of the feature itself, unchanged."""
        return self.feature == self.source and self.scale == 1.0 and self.offset == 0.0


def used_values(features: Iterable[FeatureSpec], inputs: Sequence[FormInput]) -> list[UsedValue]:
    """Return, for every feature of the endpoint, the value that a served form really used for it.

    The model column of the feature's own name decides (so a form that swaps two columns shows it); else the first input that reads
    the feature; a feature that the form does not use counts as sent.
    """
    by_column: Mapping[str, FormInput] = {one.column: one for one in inputs}
    by_feature: dict[str, FormInput] = {}
    for one in inputs:
        by_feature.setdefault(one.feature, one)
    found = []
    for feature in features:
        used = by_column.get(feature.name) or by_feature.get(feature.name)
        if used is None:
            found.append(UsedValue(feature=feature.name, source=feature.name, scale=1.0, offset=0.0))
        else:
            numeric = used.kind is FeatureKind.NUMERIC
            found.append(
                UsedValue(
                    feature=feature.name, source=used.feature,
                    scale=used.scale if numeric else 1.0, offset=used.offset if numeric else 0.0,
                )
            )  # fmt: skip
    return found
