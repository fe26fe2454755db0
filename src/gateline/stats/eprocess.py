"""Sequential tests that may be looked at after every event.

Conditional e-process (canary against baseline). Look only at bad events. Under the hypothesis
"the canary's bad rate is at most r times the baseline's" a bad event came from the canary with
probability at most ``t0 = w r / (w r + 1 - w)``, w being the canary's share of traffic, whatever
the common rate does over time: an incident that hits both arms cancels out. Each alternative
"r times L" multiplies its wealth by the likelihood ratio, ``t_L / t0`` for a canary event and
``(1 - t_L) / (1 - t0)`` for a baseline event; E is the mean wealth over the lifts L. By Ville's
inequality E ever reaches ``1 / alpha`` with probability at most alpha (Robbins, 1970; Ramdas,
Gruenwald, Vovk and Shafer, Statistical Science 38, 2023; Lindon, Sanden and Shirikian, 2022).
So roll back when ``log_e(state) >= log(1 / alpha)``.

Too few instead of too many (does the canary lose events it should have?): swap the roles, that
is ``update(state, canary=not canary, weight=1 - weight, ratio=r)``. It tests "the baseline's
rate is at most r times the canary's".

What callers owe: requests are routed at random, one by one, and the weight of each event is the
one in force when its request was routed. With routing that sticks to users, feed at most one bad
event per user and window, since events of one user are not independent.

The change detector for one stream with a known rate is in ``gateline.stats.detector`` and offered here too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gateline.stats.detector import DetectorState, detector_start, detector_update, log_mean_exp

__all__ = [
    "LIFTS",
    "DetectorState",
    "EState",
    "detector_start",
    "detector_update",
    "log_e",
    "sample_ratio_p",
    "start",
    "update",
    "update_many",
]

LIFTS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EState:
    """The evidence so far; small enough to store after every step.

    Attributes:
        log_wealth: Natural log of the wealth of each lift, in the order of ``lifts``.
        bad_canary: Bad events of the canary so far.
        bad_baseline: Bad events of the baseline so far.
        lifts: The alternatives: how many times the tolerated rate ratio, each above 1.
    """

    log_wealth: tuple[float, ...]
    bad_canary: int
    bad_baseline: int
    lifts: tuple[float, ...]


def start(lifts: Sequence[float] = LIFTS) -> EState:
    """Return the state before any event; its E is 1.

    Args:
        lifts: Alternatives to the tolerated rate ratio, each above 1.

    Raises:
        ValueError: There is no lift, or one is not above 1.

    Examples:
        >>> log_e(start())
        0.0
    """
    if not lifts or not all(1 < lift < math.inf for lift in lifts):
        raise ValueError(f"lifts must be finite and above 1, got {tuple(lifts)}")
    kept = tuple(float(lift) for lift in lifts)
    return EState(log_wealth=(0.0,) * len(kept), bad_canary=0, bad_baseline=0, lifts=kept)


def update(state: EState, *, canary: bool, weight: float, ratio: float = 1.0) -> EState:
    """Return the state after one bad event.

    Args:
        state: The state before.
        canary: Whether the bad event came from the canary.
        weight: The canary's share of traffic when the request was routed, 0 to 1. At 0 and 1
            nothing can be compared, so the event is counted but carries no evidence.
        ratio: Tolerated rate ratio r, above 0; 1.2 tolerates a fifth more bad events.

    Raises:
        ValueError: The weight or the ratio is out of range.

    Examples:
        >>> state = start()
        >>> for _ in range(5):
        ...     state = update(state, canary=True, weight=0.1)
        >>> log_e(state) >= math.log(1 / 0.01)  # five of five from a tenth of the traffic
        True
    """
    return update_many(state, np.array([canary]), np.array([weight]), ratio)


def update_many(state: EState, canary: ArrayLike, weight: ArrayLike, ratio: float = 1.0) -> EState:
    """Return the state after a batch of bad events; the same as one ``update`` for each.

    The order of events does not matter. Looking only after batches is as valid as looking after
    every event.

    Args:
        state: The state before.
        canary: Whether each bad event came from the canary, shape (events,).
        weight: The canary's share of traffic for each event, shape (events,), 0 to 1.
        ratio: Tolerated rate ratio r, above 0.

    Raises:
        ValueError: The shapes differ, or a weight or the ratio is out of range.

    Examples:
        >>> update_many(start(), [True, False], [0.1, 0.2]).bad_baseline
        1
    """
    arms = np.asarray(canary, dtype=np.bool_)
    shares = np.asarray(weight, dtype=np.float64)
    if arms.ndim != 1 or arms.shape != shares.shape:
        raise ValueError(f"canary and weight must be 1-D and equally long, got {arms.shape} and {shares.shape}")
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("weights must lie in 0 to 1, without NaN")
    if not 0 < ratio < math.inf:
        raise ValueError(f"ratio must be finite and above 0, got {ratio}")
    gains = _log_gains(arms, shares, ratio, state.lifts)
    wealth = tuple(old + gain for old, gain in zip(state.log_wealth, gains, strict=True))
    bad_canary = int(arms.sum())
    return EState(
        log_wealth=wealth,
        bad_canary=state.bad_canary + bad_canary,
        bad_baseline=state.bad_baseline + len(arms) - bad_canary,
        lifts=state.lifts,
    )


def log_e(state: EState) -> float:
    """Return the natural log of E, the mean wealth over the lifts (larger is worse).

    Examples:
        >>> state = update(start((3.0,)), canary=True, weight=0.5)
        >>> round(math.exp(log_e(state)), 6)  # (3/4) / (1/2)
        1.5
    """
    return log_mean_exp(state.log_wealth)


def sample_ratio_p(canary: int, total: int, weight: float) -> float:
    """Return the p-value that the canary's share of requests is the intended one.

    The exact two-sided binomial test. A tiny p-value (below 0.001, say) is a sample ratio
    mismatch: routing or logging is broken and no comparison of the arms may be trusted (Fabijan
    and others, KDD 2019). Use it at planned looks: it is not an anytime-valid test.

    Args:
        canary: Requests that reached the canary.
        total: Requests in all.
        weight: Intended share, 0 to 1.

    Returns:
        The p-value; 1 without requests.

    Examples:
        >>> sample_ratio_p(10, 100, 0.1)
        1.0
        >>> sample_ratio_p(200, 1000, 0.1) < 1e-6
        True
    """
    from scipy.stats import binomtest

    if not 0 <= canary <= total or not 0 <= weight <= 1:
        raise ValueError(f"got {canary} canary requests of {total} at weight {weight}")
    if total == 0:
        return 1.0
    return float(binomtest(canary, total, weight).pvalue)


def _log_gains(
    canary: NDArray[np.bool_],
    weight: NDArray[np.float64],
    ratio: float,
    lifts: tuple[float, ...],
) -> list[float]:
    """Return the log wealth that the events add for each lift.

    With ``t_L = w r L / (w r L + 1 - w)`` a baseline event adds
    ``log((w r + 1 - w) / (w r L + 1 - w))`` and a canary event adds ``log L`` to that.
    """
    inside = (weight > 0) & (weight < 1)
    w, from_canary = weight[inside], int(canary[inside].sum())
    tolerated = w * ratio + 1 - w
    return [from_canary * math.log(lift) - float(np.log((w * ratio * lift + 1 - w) / tolerated).sum()) for lift in lifts]
