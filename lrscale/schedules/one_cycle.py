"""The one-cycle policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from lrscale.config import Decay, Probability
from lrscale.registry import schedules
from lrscale.schedules.cosine import anneal

AtLeastOne = Annotated[float, Field(ge=1)]


@schedules.register("one_cycle")
@dataclass(frozen=True)
class OneCycle:
    """One rise to the peak and one fall far below the start, the momentum inversely.

    Smith and Topin (2018), with half cosines in place of their lines as in fastai, whose names
    and defaults these are; the same values as torch's OneCycleLR. It has its own warm-up.

    Attributes:
        pct_start: fraction of the run that rises.
        div_factor: the peak over the rate at the start.
        final_div_factor: the rate at the start over that at the end.
        cycle_momentum: the momentum (Adam's β₁) falls as the rate rises, and the other way
            round; false leaves it as the optimizer has it.
        max_momentum: momentum at the start and at the end.
        base_momentum: momentum at the peak.
    """

    pct_start: Probability = 0.3
    div_factor: AtLeastOne = 25.0
    final_div_factor: AtLeastOne = 1e4
    cycle_momentum: bool = True
    max_momentum: Decay = 0.95
    base_momentum: Decay = 0.85

    def factor(self, step: int, total: int) -> float:
        start = 1 / self.div_factor
        t, rising = self._phase(step, total)
        return anneal(1 - t, start) if rising else anneal(t, start / self.final_div_factor)

    def momentum(self, step: int, total: int) -> float | None:
        """The momentum of a step; None where it is not cycled."""
        if not self.cycle_momentum:
            return None
        t, rising = self._phase(step, total)
        low, high = self.base_momentum, self.max_momentum
        return low + (high - low) * (1 - anneal(1 - t if rising else t, 0.0))

    def _phase(self, step: int, total: int) -> tuple[float, bool]:
        """How much of the rise or of the fall is done, and whether it is the rise."""
        peak = max(self.pct_start * total - 1, 0.0)  # the last step is at the very end
        if step < peak:
            return step / peak, True
        return (step - peak) / max(total - 1 - peak, 1e-9), False
