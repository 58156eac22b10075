"""Where a run's wall-clock goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

Phase = Literal["startup", "training", "evaluation", "checkpoint"]


class Clock:
    """Seconds in each phase, summed over a run's attempts.

    It starts in ``startup``. What a killed attempt did after its last checkpoint is done again
    and counted once. Seconds are wall-clock: nothing that must repeat exactly depends on them.
    """

    def __init__(self) -> None:
        self._phase: Phase = "startup"
        self._since = time.perf_counter()
        self._seconds: dict[Phase, float] = {
            "startup": 0.0,
            "training": 0.0,
            "evaluation": 0.0,
            "checkpoint": 0.0,
        }

    def seconds(self) -> dict[Phase, float]:
        """So far, the phase under way included."""
        self.enter(self._phase)
        return dict(self._seconds)

    def enter(self, phase: Phase) -> None:
        now = time.perf_counter()
        self._seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Count what happens inside as ``phase``, then go back to the phase before."""
        before = self._phase
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    def carry(self, earlier: Mapping[Phase, float]) -> None:
        """Add what earlier attempts took."""
        for phase, seconds in earlier.items():
            self._seconds[phase] += seconds
