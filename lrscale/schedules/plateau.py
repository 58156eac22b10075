"""Drops where the validation loss stands still."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from lrscale.config import NonNegativeInt, Probability
from lrscale.monitor import Monitor
from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("plateau")
@dataclass(frozen=True)
class Plateau:
    """The constant schedule under a monitor of the validation loss, in one entry.

    The defaults are those of torch's ReduceLROnPlateau. ``monitor: {…}`` does the same over any
    other schedule; the two exclude each other.

    Attributes:
        gamma: factor of each drop.
        patience: evaluations in a row without improvement that are let pass before a drop.
        threshold: an improvement is a loss below (1 − threshold) times the best.
        cooldown: evaluations after a drop that are not counted.
        floor: the least factor.
        warmup: linear warm-up, a fraction of the run or a number of steps.
    """

    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: NonNegativeInt = 10
    threshold: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    cooldown: NonNegativeInt = 0
    floor: Probability = 0.0
    warmup: Warmup = 0.0

    def factor(self, step: int, total: int) -> float:
        ramp, _, _ = warm_up(self.warmup, step, total)
        return ramp

    def monitor(self) -> Monitor:
        return Monitor(self.gamma, self.patience, self.threshold, self.cooldown, self.floor)
