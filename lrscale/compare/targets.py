"""What it takes to reach a target: the first evaluation that is as good as it. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lrscale.compare.load import Direction

COSTS = ("steps", "epochs", "seconds")


@dataclass(frozen=True)
class Target:
    """A value to be reached.

    Attributes:
        metric: a recorded metric, of validation: the test set monitors nothing.
        value: at least, or where the lowest is best at most, this.
        direction: which of the two.
        source: whose it is: ``median of sgd`` or ``the workload's own``.
    """

    metric: str
    value: float
    direction: Direction
    source: str

    def met_by(self, value: float | None) -> bool:
        """Whether a recorded value is as good; one that was not finite is on record as None."""
        if value is None:
            return False
        return value >= self.value if self.direction == "max" else value <= self.value


@dataclass(frozen=True)
class Cost:
    """What one run took to reach a target: infinite if it never did, NaN as long as it may.

    Attributes:
        steps, epochs: at the first evaluation that met it.
        seconds: of training until then, without start-up and evaluations.
    """

    steps: float
    epochs: float
    seconds: float


NEVER = Cost(math.inf, math.inf, math.inf)
UNKNOWN = Cost(math.nan, math.nan, math.nan)


def cost_of(state: str, evaluations: Iterable[Mapping[str, Any]], target: Target) -> Cost:
    """Of one run. A run that diverged has not reached anything, whatever it was before; one that
    has no end may still be carried on, and is unknown."""
    if state == "diverged":
        return NEVER
    if state != "done":
        return UNKNOWN
    met = [record for record in evaluations if target.met_by(record.get(target.metric))]
    if not met:
        return NEVER
    first = min(met, key=lambda record: int(record["step"]))
    return Cost(float(first["step"]), float(first["epoch"]), float(first["seconds"]))


@dataclass(frozen=True)
class Spent:
    """One kind of cost over the seeds of an arm.

    Attributes:
        planned: seeds that were asked for.
        ended: those with an end.
        reached: those that reached the target.
        median, low, high: over those that have ended, misses infinite; None while there are none.
    """

    planned: int
    ended: int
    reached: int
    median: float | None
    low: float | None
    high: float | None


def spent(values: Iterable[float]) -> Spent:
    """Of one value a planned seed: infinite for a miss, NaN for no result."""
    every = list(values)
    ended = sorted(value for value in every if not math.isnan(value))
    reached = sum(map(math.isfinite, ended))
    if not ended:
        return Spent(len(every), 0, 0, None, None, None)
    median = statistics.median(ended)
    return Spent(len(every), len(ended), reached, median, ended[0], ended[-1])


def speed_up(baseline: float | None, other: float | None) -> float | None:
    """How many times cheaper the other is; None unless both reach the target."""
    if baseline is None or other is None or not math.isfinite(baseline + other):
        return None
    return baseline / other
