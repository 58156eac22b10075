"""What Weights & Biases is shown of a run: at most 10,000 rows, the same however they are sent.

The rows are a function of the run's records and configuration alone, so that a run that was
mirrored live, one that was published later and one that was cut off in between come to the same
rows in the same order: row k on the server is row k here, and what is missing is what comes after.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
Row = dict[str, Any]

WINDOWS = 2_000  # rows of minibatch losses: a plot shows no more than that
EVALUATIONS = 8_000
HEAD = 10  # rows that a run is known by
_NOT_METRICS = ("kind", "step")


def rows(
    records: Iterable[Record], config: Mapping[str, Any], total_steps: int, ended: bool
) -> list[Row]:
    """The rows of a run, ``global_step`` ascending, each step once.

    A row is a window of steps (``loss``: the mean of its losses; ``lr``: the last rate), an
    evaluation (all that it measured), or both where they meet. Windows end at the multiples of
    ``window(total_steps)`` and at evaluations. The last row is kept back until the run has
    ``ended`` or gone on, because an evaluation may still join it.

    Args:
        records: of ``RunDir.metrics``.
        config: the run's complete configuration.
        total_steps: of the whole run; 0 while that is not known, for no rows.
    """
    if not total_steps:
        return []
    width, stride = window(total_steps), evaluation_stride(config)
    made = _Rows(width)
    evaluations = 0
    for record in records:
        if record["kind"] == "steps":
            made.add_steps(record)
        elif record["kind"] == "epoch":
            if evaluations % stride == 0 or record["step"] == total_steps:
                made.add_evaluation(record)
            evaluations += 1
    if ended:
        return made.rows
    return [row for row in made.rows if row["global_step"] < made.step]


def window(total_steps: int) -> int:
    """Steps whose mean loss is one row: 1 in short runs, and never more than WINDOWS of them."""
    return -(-total_steps // WINDOWS)


def evaluation_stride(config: Mapping[str, Any]) -> int:
    """Of how many evaluations one is shown, the first and the last in any case."""
    return max(1, -(-_planned_evaluations(config) // (EVALUATIONS - 1)))


def digest(sent: Sequence[Row]) -> str:
    """Of the first rows' losses, to tell whether a run was done again with other results.

    Only of the first few: on a GPU, a run that was cut back to a checkpoint may go on a little
    differently.
    """
    view = [(row["global_step"], _rounded(row.get("loss"))) for row in sent[:HEAD]]
    return hashlib.sha256(json.dumps(view).encode()).hexdigest()[:20]


class _Rows:
    """Rows under way.

    Attributes:
        step: the last on record.
    """

    def __init__(self, width: int) -> None:
        self.rows: list[Row] = []
        self.step = -1
        self._width = width
        self._losses: list[float | None] = []
        self._rate: float | None = None

    def add_steps(self, record: Record) -> None:
        first = record["step"] - len(record["loss"]) + 1
        for step, (loss, rate) in enumerate(zip(record["loss"], record["lr"], strict=True), first):
            self._losses.append(loss)
            self._rate, self.step = rate, step
            if step % self._width == 0:
                self._close_window()

    def add_evaluation(self, record: Record) -> None:
        if self._losses:
            self._close_window()
        self.step = record["step"]
        if not self.rows or self.rows[-1]["global_step"] < self.step:
            self.rows.append({"global_step": self.step})
        self.rows[-1] |= _numbers({k: v for k, v in record.items() if k not in _NOT_METRICS})

    def _close_window(self) -> None:
        """A loss that is not finite (None on record) leaves its window without one."""
        losses = [loss for loss in self._losses if loss is not None]
        whole = len(losses) == len(self._losses)
        mean = {"loss": math.fsum(losses) / len(losses)} if whole else {}
        self.rows.append({"global_step": self.step, **mean, **_numbers({"lr": self._rate})})
        self._losses = []


def _numbers(values: Record, prefix: str = "") -> Row:
    """The numbers among values, blocks unfolded: ``monitor.scale``."""
    found: Row = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and math.isfinite(value):
            found[prefix + key] = value
    return found


def _planned_evaluations(config: Mapping[str, Any]) -> int:
    """At most: training evaluates every so many epochs, gradient descent evenly in their log."""
    epochs = int(config.get("epochs") or 1)
    if "records_per_decade" not in config:
        return -(-epochs // int(config.get("eval_every") or 1))
    a_decade = int(config["records_per_decade"]) + int(config.get("sharpness_per_decade") or 0)
    spaced = math.ceil(a_decade * (math.log10(epochs) + 1))
    asked = len(config.get("record_at") or ())
    return 2 + min(epochs, spaced + asked)


def _rounded(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.6g}"
