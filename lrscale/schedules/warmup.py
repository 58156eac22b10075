"""The linear warm-up that every schedule may begin with."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _whole_steps(warmup: float) -> float:
    if warmup >= 1 and warmup != int(warmup):
        raise ValueError("a fraction of the run (below 1) or a whole number of steps")
    return warmup


Warmup = Annotated[float, Field(ge=0), AfterValidator(_whole_steps)]
"""Below 1, the fraction of the run that is warm-up; from 1 on, its number of steps."""


def warmup_steps(warmup: float, total: int) -> int:
    """Length of the warm-up in optimizer steps, for a run of ``total`` steps."""
    return round(warmup * total) if warmup < 1 else int(warmup)


def warm_up(warmup: float, step: int, total: int) -> tuple[float, int, int]:
    """The warm-up's own factor, and the clock of what follows it.

    The factor rises linearly as 1/(w+1), 2/(w+1), … over the w steps of the warm-up (Goyal et
    al. 2017) and is 1 from step w on. The clock stands at 0 until then: ``(step, total)`` of a
    schedule that begins at its peak when the warm-up ends.
    """
    w = warmup_steps(warmup, total)
    if step < w:
        return (step + 1) / (w + 1), 0, max(total - w, 1)
    return 1.0, step - w, total - w
