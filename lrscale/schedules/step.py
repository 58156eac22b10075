"""A drop at regular times."""

from __future__ import annotations

from dataclasses import dataclass

from lrscale.config import Positive, Probability
from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("step")
@dataclass(frozen=True)
class Step:
    """Multiplied by ``gamma`` after each ``every`` of the run: γ^⌊t/every⌋.

    Attributes:
        every: fraction of the run between drops. The default, thirds, is the 30-60-90 recipe
            for ImageNet (He et al. 2016).
        gamma: factor of each drop.
        warmup: linear warm-up, a fraction of the run or a number of steps; the drops are
            counted from the run's beginning.
    """

    every: Positive = 1 / 3
    gamma: Probability = 0.1
    warmup: Warmup = 0.0

    def __post_init__(self) -> None:
        if self.every > 1:
            raise ValueError("every is a fraction of the run: for 30 of 90 epochs, ${div:30,90}")

    def factor(self, step: int, total: int) -> float:
        ramp, _, _ = warm_up(self.warmup, step, total)
        # the half step puts each drop on the nearest whole step, clear of rounding errors
        drops = int((step + 0.5) / (self.every * total))
        return ramp * self.gamma**drops
