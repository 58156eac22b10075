"""When to look up from the work, and what all ranks then agree on."""

from __future__ import annotations

import time
from typing import NamedTuple, get_args

from lrscale.control import Control, StopReason
from lrscale.train.runtime import Runtime

SECONDS = 0.5  # between two looks: a stop is heeded about that soon
MOST_TICKS = 100  # so that work which suddenly slows down is not left alone for long

_REASONS: tuple[StopReason, ...] = get_args(StopReason)


class Agreement(NamedTuple):
    """What the ranks agreed on: why to stop, if at all, and whether to save."""

    stop: StopReason | None
    save: bool


class Pulse:
    """Comes due about twice a second, at the same tick (step or batch) on every rank.

    Between two looks nothing is asked of the device or of the other ranks, so that looking
    costs next to nothing; how many ticks lie between them follows rank 0's pace.

    Attributes:
        next: the tick at which to ``agree``.
    """

    def __init__(self, runtime: Runtime, control: Control, tick: int = 0) -> None:
        self._runtime = runtime
        self._control = control
        self._interval = 1
        self._last = tick
        self._time = time.monotonic()
        self.next = tick + 1

    def rest(self, tick: int) -> None:
        """Leave out of the pace what was done since the last look, which was something else."""
        self._last, self._time = tick, time.monotonic()

    def due(self, tick: int) -> bool:
        """A lone process looks up as soon as it is asked to stop."""
        return tick >= self.next or (self._control.stop is not None and self._runtime.world == 1)

    def agree(self, tick: int, limit: int, save: bool = False) -> Agreement:
        """Collective. Any rank's wish to stop is all ranks'; whether to save is rank 0's.

        Comes due again at ``limit`` at the latest.
        """
        now = time.monotonic()
        pace = (now - self._time) / max(tick - self._last, 1)
        # Doubling at most: the first ticks of a process are slow.
        interval = max(1, min(2 * self._interval, MOST_TICKS, int(SECONDS / max(pace, 1e-9))))
        stop = self._control.stop
        wish = [1 + _REASONS.index(stop) if stop else 0, save, interval]
        ranks = self._runtime.gather([float(w) for w in wish])
        reasons = [_REASONS[int(rank[0]) - 1] for rank in ranks if rank[0]]
        self._last, self._time, self._interval = tick, now, int(ranks[0][2])
        self.next = min(tick + self._interval, limit)
        return Agreement(reasons[0] if reasons else None, bool(ranks[0][1]))
