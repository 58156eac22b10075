"""What a run's data has to say for itself: how long it was waited for, which files were damaged."""

from __future__ import annotations

from typing import Any

from lrscale.data.source import Source
from lrscale.train.runtime import Runtime


class Intake:
    """Sums up over a run's attempts what a source counts: ``waited`` (seconds that training has
    waited for batches) and ``damaged`` (a message for each file). Sources in memory that count
    neither cost nothing here.
    """

    def __init__(self, source: Source, runtime: Runtime) -> None:
        self._source, self._runtime = source, runtime
        self._counts = hasattr(source, "waited")
        self._earlier = 0.0  # waited by earlier attempts
        self._since = (0.0, 0.0)  # seconds of training, and waited, at the last evaluation
        self._damaged: set[str] = set()

    def wait(self, training: float, since_evaluation: bool = False) -> float:
        """The share of the training time that the rank which waited most spent waiting for data:
        of the whole run, or since the last evaluation. Collective.

        A rank that waits for another's data waits in the averaging of gradients, and not here.

        Args:
            training: seconds of training so far.
        """
        if not self._counts:
            return 0.0
        waited = self._waited()
        before = self._since if since_evaluation else (0.0, 0.0)
        if since_evaluation:
            self._since = (training, waited)
        return (waited - before[1]) / max(training - before[0], 1e-9)

    def damaged(self) -> list[str]:
        """A message for each damaged file that any rank has met. Collective."""
        met: set[str] | None = getattr(self._source, "damaged", None)
        if met is not None:
            self._damaged |= self._runtime.union(met)
        return sorted(self._damaged)

    def state(self) -> dict[str, Any]:
        """For a checkpoint. Collective."""
        waited = self._waited() if self._counts else 0.0
        return {"waited": waited, "since": list(self._since), "damaged": self.damaged()}

    def load_state(self, state: dict[str, Any]) -> None:
        self._earlier, self._damaged = state["waited"], set(state["damaged"])
        self._since = (state["since"][0], state["since"][1])

    def _waited(self) -> float:
        here: float = getattr(self._source, "waited", 0.0)
        return self._earlier + max(rank[0] for rank in self._runtime.gather([here]))
