"""Random bits that are functions of counters, with no generator and no past."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_AUGMENTATION = 0x6175676D  # keeps these draws apart from the other streams of a seed


def draws(seed: int, epoch: int, indices: NDArray[Any]) -> NDArray[np.uint64]:
    """64 random bits for each example, (n,), to augment it by: functions of (seed, epoch, index).

    Neither the order of the examples nor how they are shared out makes a difference.
    """
    base = splitmix64(np.array([(seed ^ _AUGMENTATION) & (2**64 - 1)], dtype=np.uint64))
    base = splitmix64(base + np.uint64(epoch))
    return splitmix64(base + indices.astype(np.uint64))


def splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijective 64-bit hash."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x
