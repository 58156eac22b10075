"""What a run leaves in the store: metrics, state, checkpoints and the summary.

Rank 0 writes; on the other ranks the methods do nothing. One rule keeps a resumed run whole: what
was measured up to a checkpoint is on the disk before the checkpoint is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from lrscale import checkpoint
from lrscale.config import TrainConfig
from lrscale.control import Control, StopReason
from lrscale.store import RunDir, RunState, State
from lrscale.train.runtime import Runtime

SHARE = 0.02  # of the time, at most, goes into checkpoints

_LEFT_AS: dict[StopReason, RunState] = {
    "preempted": "preempted",
    "timeout": "timeout",
    "interrupted": "interrupted",
    "max_steps": "interrupted",
}
# Of an epoch's record, what is not a metric.
_BOOKKEEPING = {"kind", "epoch", "step", "seconds", "evaluation_seconds"}


class Journal:
    """One attempt at a run. Making it claims the run; collective.

    Attributes:
        step: optimizer steps behind the checkpoint that this attempt starts from; 0 without one.
        saved: that checkpoint, equal on all ranks; None without one.
        evaluated: the last step, up to ``step``, whose evaluation is on record.

    Raises:
        Superseded: by every method that writes, once a later attempt has claimed the run.
    """

    def __init__(
        self, config: TrainConfig, run_dir: RunDir, runtime: Runtime, control: Control
    ) -> None:
        self._run_dir = run_dir
        self._writes = runtime.rank == 0
        self._heartbeat_seconds = control.heartbeat_seconds
        self._save_seconds = self._save_interval = 60 * config.checkpoint_minutes
        self._beat = self._saved_at = time.monotonic()
        found = self._claim(control.job) if self._writes else None
        self.step, self.saved, self.evaluated = runtime.share(found) or (0, None, 0)

    def _claim(self, job: str) -> tuple[int, dict[str, Any] | None, int]:
        run_dir = self._run_dir
        attempt = run_dir.begin()
        records = run_dir.metrics()
        losses = _recorded_losses(records)
        step, saved = checkpoint.load(run_dir.path, up_to=len(losses)) or (0, None)
        evaluations = (r["step"] for r in records if r["kind"] == "epoch")
        self._metrics = run_dir.open_metrics(attempt, resumed_from=step)
        self._state = replace(
            run_dir.state() or State("running", attempt),
            state="running",
            attempt=attempt,
            step=step,
            loss=losses[step - 1] if step else None,
            started=time.time(),
            job=job,
            cause="",
        )
        run_dir.write_state(self._state)
        return step, saved, max((s for s in evaluations if s <= step), default=0)

    # --- while it runs

    def steps(self, last: int, losses: list[float], rates: list[float]) -> None:
        """Record one loss and learning rate a step, up to step ``last``."""
        if self._writes:
            self._metrics.write({"kind": "steps", "step": last, "loss": losses, "lr": rates})

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Record an evaluation: at least ``epoch`` and ``step``, and the metrics."""
        if self._writes:
            self._metrics.write({"kind": "epoch", **record})

    def progress(self, step: int, total_steps: int, epoch: int, loss: float | None = None) -> None:
        """Take note of where the run is; ``heartbeat`` tells the store. No loss: as before."""
        if self._writes:
            loss = self._state.loss if loss is None else loss
            self._state = replace(
                self._state, step=step, total_steps=total_steps, epoch=epoch, loss=loss
            )

    def heartbeat(self) -> None:
        """Tell the store where the run is, unless it was told a moment ago."""
        if self._writes and time.monotonic() - self._beat >= self._heartbeat_seconds:
            self._metrics.flush()
            self._run_dir.write_state(self._state)
            self._beat = time.monotonic()

    def save_due(self, ahead: float) -> bool:
        """Whether to save now, with ``ahead`` seconds to come in which nothing can be saved."""
        return time.monotonic() - self._saved_at + ahead >= self._save_interval

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint. The next is not due before this one's cost is 2 % of the time."""
        if self._writes:
            started = time.monotonic()
            self._metrics.flush()
            self._run_dir.check_current(self._state.attempt)
            checkpoint.save(self._run_dir.path, step, state)
            self._saved_at = time.monotonic()
            cost = self._saved_at - started
            self._save_interval = max(self._save_seconds, cost / SHARE)

    # --- at its end

    def leave(self, reason: StopReason) -> None:
        """The run stops here, to be resumed."""
        if self._writes:
            self._metrics.close()
            self._run_dir.write_state(replace(self._state, state=_LEFT_AS[reason]))

    def finish(
        self, state: Literal["done", "diverged"], step: int, epoch: int, summary: dict[str, Any]
    ) -> None:
        """The run has ended: write ``summary``, with the last evaluation's metrics."""
        if not self._writes:
            return
        self._metrics.close()
        evaluations = [r for r in self._run_dir.metrics() if r["kind"] == "epoch"]
        last = evaluations[-1] if evaluations else {}
        summary = {
            "step": step,
            "epoch": epoch,
            "metrics": {k: v for k, v in last.items() if k not in _BOOKKEEPING},
            "attempts": self._state.attempt,
            **summary,
        }
        self._run_dir.finish(replace(self._state, state=state, step=step, epoch=epoch), summary)
        checkpoint.remove(self._run_dir.path)


def _recorded_losses(records: Iterable[Mapping[str, Any]]) -> list[float | None]:
    """Loss of every step from the first on, up to a gap. No later checkpoint may be resumed from.

    An attempt that was overtaken can leave a checkpoint ahead of the record that counts.
    """
    losses: list[float | None] = []
    for record in records:
        if record["kind"] == "steps":
            if record["step"] - len(record["loss"]) != len(losses):
                break
            losses += record["loss"]
    return losses
