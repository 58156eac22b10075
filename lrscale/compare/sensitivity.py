"""How much hangs on the learning rate: the interval of good rates, and where divergence begins.

Pure. Nothing here is a model of the curve: it is the line through the tested rates that the figure
of sensitivity draws, metric against log rate, straight between neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from lrscale.compare.aggregate import select, sort_key
from lrscale.compare.load import Direction, Metric

TOLERANCE = 0.01  # of the best metric, that a good rate may be worse by
FEWEST = 3  # rates: of two, both are ends of the grid

End = Literal["crossed", "diverged", "unfinished", "grid"]


@dataclass(frozen=True)
class Rate:
    """What came of one learning rate, over the planned seeds.

    Attributes:
        value: the rate.
        mean: the final metric; None unless every planned seed has a finite one.
        diverged, planned: seeds.
    """

    value: float
    mean: float | None
    diverged: int
    planned: int


@dataclass(frozen=True)
class Sensitivity:
    """The interval of rates around the best one whose metric is within ``TOLERANCE`` of its.

    Attributes:
        best: the rate with the best mean, the lowest of equal ones.
        low, high: ends of the interval.
        low_end, high_end: why it ends there: the line has ``crossed`` the tolerance; the next
            rate has ``diverged`` or is ``unfinished``, so that the line ends at this one; or the
            ``grid`` ends. All but the first are bounds: the interval is at least as wide.
        edge: the lowest rate above the best one at which a seed has diverged; None without.
    """

    best: Rate
    low: float
    high: float
    low_end: End
    high_end: End
    edge: Rate | None

    @property
    def decades(self) -> float:
        return math.log10(self.high / self.low)

    @property
    def factor(self) -> float:
        return self.high / self.low

    @property
    def bounded(self) -> bool:
        """Whether the width is known, and not only that it is no less."""
        return self.low_end == self.high_end == "crossed"


def sensitivity(rates: Sequence[Rate], direction: Direction) -> Sensitivity | None:
    """None for fewer than ``FEWEST`` rates above 0, or where none has a mean.

    Args:
        rates: different ones, in any order.
    """
    ordered = sorted((rate for rate in rates if rate.value > 0), key=lambda rate: rate.value)
    known = [rate for rate in ordered if rate.mean is not None]
    if len(ordered) < FEWEST or not known:
        return None
    sign = -1.0 if direction == "max" else 1.0
    best = min(known, key=lambda rate: sign * _mean(rate))  # the first of equal ones
    place = ordered.index(best)
    low, low_end = _end(ordered[place::-1], sign)
    high, high_end = _end(ordered[place:], sign)
    above = (rate for rate in ordered[place + 1 :] if rate.diverged)
    return Sensitivity(best, low, high, low_end, high_end, next(above, None))


def at_best(points: pd.DataFrame, rate: str, metric: Metric) -> pd.DataFrame:
    """A row for each value of the column ``rate``, ascending: its best point by validation, where
    the other keys are at their best."""
    rated = points.loc[[sort_key(value)[0] == 0 for value in points[rate]]]
    best: pd.DataFrame = select(rated, [rate], metric).sort_values(rate) if len(rated) else rated
    return best


def rates_of(best: pd.DataFrame, rate: str, metric: Metric) -> list[Rate]:
    """What came of each rate, from ``at_best``."""
    measure = f"metrics.{metric.select}"
    columns = [rate, f"{measure}.mean", f"{measure}.diverged", "planned"]
    return [
        Rate(float(value), None if pd.isna(mean) else float(mean), int(diverged), int(planned))
        for value, mean, diverged, planned in zip(*(best[name] for name in columns), strict=True)
    ]


def _end(outwards: Sequence[Rate], sign: float) -> tuple[float, End]:
    """Where the interval ends, from the best rate on."""
    best = outwards[0]
    allowed = TOLERANCE * abs(_mean(best))
    last, loss = best, 0.0
    for rate in outwards[1:]:
        if rate.mean is None:
            return last.value, "diverged" if rate.diverged else "unfinished"
        worse = sign * (rate.mean - _mean(best))
        if worse > allowed:
            part = (allowed - loss) / (worse - loss)
            return float(last.value * (rate.value / last.value) ** part), "crossed"
        last, loss = rate, worse
    return last.value, "grid"


def _mean(rate: Rate) -> float:
    assert rate.mean is not None
    return rate.mean
