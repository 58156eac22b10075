"""Validation monitoring: a layer over any schedule that watches the validation loss.

``Monitor`` says when to act and ``Watch`` is what it has seen: ``Monitor.after`` is a pure
function from one evaluation to the next. The training loop carries the acts out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True)
class Watch:
    """What a monitor knows after an evaluation.

    Attributes:
        step: of that evaluation; −1 before the first.
        scale: what the scheduled learning rate is multiplied by.
        best: the lowest validation loss that counted as an improvement.
        best_step: the step of that evaluation; −1 before the first.
        bad: evaluations without improvement since the last improvement, cut or cooldown.
        stale: evaluations without improvement since the last improvement.
        cooling: evaluations that are left of a cooldown.
        cut: the last evaluation lowered ``scale``.
        stop: the run ends here.
    """

    step: int = -1
    scale: float = 1.0
    best: float = math.inf
    best_step: int = -1
    bad: int = 0
    stale: int = 0
    cooling: int = 0
    cut: bool = False
    stop: bool = False

    @property
    def improved(self) -> bool:
        """The last evaluation is the best."""
        return self.best_step == self.step


@dataclass(frozen=True)
class Monitor:
    """Multiplies the scheduled rate by ``factor`` whenever the validation loss stands still.

    With a constant schedule that is the plateau rule, and its counting is that of torch's
    ReduceLROnPlateau. Time is counted in evaluations: epochs, unless ``eval_every`` says
    otherwise.

    Attributes:
        factor: of each cut; 1 leaves the rate alone, for early stopping only.
        patience: evaluations in a row without improvement that are let pass before a cut.
        threshold: an improvement is a loss below (1 − threshold) times the best.
        cooldown: evaluations after a cut that are not counted.
        floor: the least that the scheduled rate is multiplied by.
        stop_after: ends the run after so many evaluations in a row without improvement; null
            for never.
        back_to_best: at a cut and at an early stop, weights and optimizer go back to where they
            were at the best evaluation. Memory and checkpoints hold them twice.
    """

    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 10
    threshold: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    cooldown: Annotated[int, Field(ge=0)] = 0
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    stop_after: Annotated[int, Field(gt=0)] | None = None
    back_to_best: bool = False

    def after(self, before: Watch, step: int, loss: float) -> Watch:
        """What is known after an evaluation at ``step`` that found ``loss`` on validation."""
        better = loss < before.best * (1 - self.threshold)
        cooling = max(before.cooling - 1, 0)
        bad = 0 if better or before.cooling else before.bad + 1
        scale = before.scale
        if bad > self.patience:
            scale = min(scale, max(scale * self.factor, self.floor))
            bad, cooling = 0, self.cooldown
        stale = 0 if better else before.stale + 1
        seen = Watch(
            step=step,
            scale=scale,
            best=before.best,
            best_step=before.best_step,
            bad=bad,
            stale=stale,
            cooling=cooling,
            cut=scale < before.scale,
            stop=self.stop_after is not None and stale >= self.stop_after,
        )
        return replace(seen, best=loss, best_step=step) if better else seen
