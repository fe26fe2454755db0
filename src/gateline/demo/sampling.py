"""Which flights are replayed: a seeded sample of the requests. Features are always computed from all rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sample_positions(count: int, wanted: int | None, seed: int) -> NDArray[np.int64]:
    """Return the positions of the sampled rows in ascending order; all of them when `wanted` is None or not less than `count`.

    The same arguments give the same sample, and a smaller sample is part of every larger one of the same seed.

    >>> [int(one) for one in sample_positions(5, None, seed=1)]
    [0, 1, 2, 3, 4]
    >>> len(sample_positions(100, 10, seed=1))
    10
    """
    if wanted is None or wanted >= count:
        return np.arange(count, dtype=np.int64)
    keys = np.random.default_rng([seed, count]).random(count)
    return np.sort(np.argpartition(keys, wanted)[:wanted]).astype(np.int64)
