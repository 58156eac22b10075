"""Cosine annealing with warm restarts."""

from __future__ import annotations

from dataclasses import dataclass

from lrscale.config import Positive, PositiveInt, Probability
from lrscale.registry import schedules
from lrscale.schedules.cosine import anneal
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("cosine_restarts")
@dataclass(frozen=True)
class CosineRestarts:
    """SGDR (Loshchilov and Hutter 2017): cosine cycles, back at the peak after each.

    The cycles fill the run exactly, so that it ends at ``final`` and not within a cycle.

    Attributes:
        cycles: number of cycles.
        t_mult: length of a cycle over that of the one before.
        final: factor at the end of each cycle.
        warmup: linear warm-up before the first cycle, a fraction of the run or a number of
            steps.
    """

    cycles: PositiveInt = 3
    t_mult: Positive = 2.0
    final: Probability = 0.0
    warmup: Warmup = 0.0

    def factor(self, step: int, total: int) -> float:
        ramp, step, total = warm_up(self.warmup, step, total)
        lengths = [self.t_mult**cycle for cycle in range(self.cycles)]
        begin = 0
        for cycle in range(self.cycles):
            end = round(total * sum(lengths[: cycle + 1]) / sum(lengths))
            if step < end:
                break
            begin = end
        return ramp * anneal((step - begin) / (end - begin), self.final)
