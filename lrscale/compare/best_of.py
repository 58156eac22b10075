"""What the best of k random trials may be expected to be. Pure.

Of n independent trials, any k might have been the whole search: each of the C(n, k) sets is as
likely, and takes its best trial by validation. The average over the sets is the unbiased estimate
of what a search of k trials reaches. Sets drawn with replacement, as in Dodge et al. (2019), have
the best trial too seldom, and their average is too low (Tang et al. 2020).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrscale.compare.load import Direction

Numbers = NDArray[np.float64]

QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class BestOf:
    """The best of k trials, over all sets of k.

    Attributes:
        k: trials.
        mean: of the reported metric; None where a set could have nothing but diverged trials.
        quartiles: of the same, with divergence as worst; None where one falls on divergence.
        lost: share of the sets that have nothing but diverged trials.
    """

    k: int
    mean: float | None
    quartiles: tuple[float | None, float | None, float | None]
    lost: float


def best_of(
    select: Sequence[float], report: Sequence[float], direction: Direction, ks: Collection[int]
) -> list[BestOf]:
    """The best of k for each of ``ks``, ascending.

    With the trials ranked from the worst by validation, the best of a set is among the lowest i
    with the chance F_k(i) = C(i, k)/C(n, k) = F_{k−1}(i) · (i − k + 1)/(n − k + 1). Trials that
    validation cannot tell apart are chosen equally often.

    Args:
        select: the metric that chooses, a value per trial; infinite if it has diverged.
        report: the metric reported for it, likewise.
        ks: from 1 to n; up to n/2 the sets differ enough for the average to mean something.
    """
    sign = 1.0 if direction == "max" else -1.0
    lost = ~(np.isfinite(select) & np.isfinite(report))
    worth = np.where(lost, -np.inf, sign * np.asarray(select, dtype=float))
    values = np.where(lost, -np.inf, sign * np.asarray(report, dtype=float))
    order = np.argsort(worth, kind="stable")
    last, member, size = _ties(worth[order])
    values, count = values[order], int(lost.sum())
    by_value = np.argsort(values, kind="stable")
    n = len(values)
    below, ranks = np.ones(n + 1), np.arange(n + 1)  # F_0
    made = []
    for k in range(1, max(ks, default=0) + 1):
        below = below * np.maximum(ranks - k + 1, 0) / (n - k + 1)
        if k not in ks:
            continue
        chance = (np.diff(below[last], prepend=0.0) / size)[member]  # of each trial, to be the best
        middle = _quantiles(values[by_value], chance[by_value])
        mean = float(sign * (chance[count:] @ values[count:])) if k > count else None
        quartiles = [float(sign * v) if np.isfinite(v) else None for v in middle]
        if direction == "min":
            quartiles.reverse()
        made.append(
            BestOf(k, mean, (quartiles[0], quartiles[1], quartiles[2]), float(below[count]))
        )
    return made


def _ties(ordered: Numbers) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Of each distinct value: how many are not above it; of each place: which value it has; of
    each value: how many have it."""
    _, member, size = np.unique(ordered, return_inverse=True, return_counts=True)
    return np.cumsum(size), member, size


def _quantiles(ascending: Numbers, chance: Numbers) -> Numbers:
    """The least values that are reached with the chances ``QUARTILES``, or exceeded by rounding."""
    reached = np.cumsum(chance)
    places = np.searchsorted(reached, np.asarray(QUARTILES) - 1e-12)
    found: Numbers = ascending[np.minimum(places, len(ascending) - 1)]
    return found
