"""Exponential decay."""

from __future__ import annotations

from dataclasses import dataclass

from lrscale.config import Positive
from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("exponential")
@dataclass(frozen=True)
class Exponential:
    """e^(−λt) with t the part of the run done, stated by its end: ``final`` = e^(−λ).

    Per epoch, that is the usual gamma = final^(1/epochs).

    Attributes:
        final: factor at the end of the run.
        warmup: linear warm-up, a fraction of the run or a number of steps; the decay begins
            after it.
    """

    final: Positive = 0.01
    warmup: Warmup = 0.0

    def __post_init__(self) -> None:
        if self.final > 1:
            raise ValueError("final is at most 1: the rate decays")

    def factor(self, step: int, total: int) -> float:
        ramp, step, total = warm_up(self.warmup, step, total)
        return float(ramp * self.final ** (step / total))
