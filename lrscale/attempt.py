"""One process's work on a run, as the store sees it: the claim, metrics, checkpoints, the end.

Every trainer goes through it. One rule keeps a resumed run whole: what was measured up to a
checkpoint is on the disk before the checkpoint is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar, get_args

from lrscale import checkpoint
from lrscale.control import Control, Request, Stopped, StopReason
from lrscale.full_disk import despite_full_disk, is_full, once_there_is_room
from lrscale.run_dir import RunDir
from lrscale.run_state import FINISHED, RunState, next_state

Record = Mapping[str, Any]
T = TypeVar("T")

SHARE = 0.02  # of the time, at most, goes into checkpoints

_LEFT_AS: dict[StopReason, RunState] = {
    "preempted": "preempted",
    "timeout": "timeout",
    "interrupted": "interrupted",
    "max_steps": "interrupted",
    "cancelled": "cancelled",
    "paused": "paused",
}
# Of an evaluation's record, what is not a metric.
_BOOKKEEPING = {"kind", "epoch", "step", "seconds", "evaluation_seconds", "data_wait", "monitor"}


Found = tuple[int, dict[str, Any] | None, Record | None]
_NOTHING: Found = (0, None, None)


def _alone(value: Found) -> Found:
    return value


def record_end(
    run_dir: RunDir,
    ended: RunState,
    cause: str,
    job: str,
    requeues: int,
    since: int | None = None,
) -> None:
    """Write how a run's newest attempt ended, where it could not say so itself; unless the run
    has ended, the attempt has failed, or another job or a later start of this one has the run.

    Any rank may say so: when one fails, rank 0 waits for it in vain.

    Args:
        since: the newest attempt when the process began. If that is the newest still, the process
            died before it had one of its own, and one is claimed for it.
    """
    state, newest = run_dir.state(), run_dir.newest_attempt()
    if state is not None and state.state in FINISHED:
        return
    if newest in (0, since):
        newest = run_dir.begin()
    if state is None or state.attempt < newest:
        step = checkpoint.newest_step(run_dir.path)
        state = next_state(state, newest, step, job, requeues, run_dir.forgotten())
    elif state.job not in ("", job) or state.requeues > requeues or state.state == "failed":
        return
    run_dir.write_state(replace(state, state=ended, job=job, requeues=requeues, cause=cause))


class Attempt:
    """A claim on a run. Making it claims the run; where there are several ranks, collective.

    Args:
        checkpoint_minutes: work that may be lost.
        recorded: the step up to which everything is on record, given what earlier attempts left.
            No later checkpoint is resumed from: an attempt that was overtaken can leave one
            ahead of the record that counts.
        writes: False on ranks other than 0, where the methods do nothing.
        share: makes rank 0's value every rank's.

    Attributes:
        step: of the checkpoint that this attempt starts from; 0 without one.
        saved: that checkpoint; None without one.
        evaluation: the last evaluation, up to ``step``, that is on record; None for none.
        evaluated: the step of it; −1 for none.

    Raises:
        Stopped: asked to, by a person or a signal, while there was no room to claim the run.
        Superseded: by every method that writes, once a later attempt has claimed the run.
    """

    def __init__(
        self,
        run_dir: RunDir,
        control: Control,
        checkpoint_minutes: float,
        recorded: Callable[[Sequence[Record]], int],
        writes: bool = True,
        share: Callable[[Found], Found] = _alone,
    ) -> None:
        self._run_dir = run_dir
        self._writes = writes
        self._control = control
        self._save_seconds = self._save_interval = 60 * checkpoint_minutes
        self._beat = self._saved_at = time.monotonic()
        found = self._claim(recorded) if writes else _NOTHING
        self.step, self.saved, self.evaluation = share(found)
        self.evaluated: int = self.evaluation["step"] if self.evaluation is not None else -1

    def _claim(self, recorded: Callable[[Sequence[Record]], int]) -> Found:
        run_dir, control = self._run_dir, self._control
        number = self._with_room(run_dir.begin)
        before = run_dir.metrics()
        step, saved = checkpoint.load(run_dir.path, up_to=recorded(before)) or (0, None)
        evaluations = [r for r in before if r["kind"] == "epoch" and r["step"] <= step]
        evaluation = max(evaluations, key=lambda r: int(r["step"]), default=None)
        evaluated = evaluation["step"] if evaluation is not None else -1
        self._metrics = run_dir.open_metrics(number, step, evaluated)
        earlier = run_dir.state()
        self._state = next_state(
            earlier, number, step, control.job, control.requeues, run_dir.forgotten()
        )
        with despite_full_disk():
            run_dir.write_state(self._state)
        self._heed_requests()
        return step, saved, evaluation

    # --- while it runs

    def record(self, record: Record) -> None:
        """Append to the metrics: ``kind`` is ``steps`` or ``epoch`` (see store.MetricsWriter)."""
        if self._writes:
            self._metrics.write(record)

    def progress(self, step: int, total_steps: int, epoch: int, loss: float | None = None) -> None:
        """Take note of where the run is; ``heartbeat`` tells the store. No loss: as before."""
        if self._writes:
            loss = self._state.loss if loss is None else loss
            self._state = replace(
                self._state, step=step, total_steps=total_steps, epoch=epoch, loss=loss
            )

    def heartbeat(self) -> None:
        """Tell the store where the run is, and look what is wanted of it; unless that was done a
        moment ago."""
        if self._writes and time.monotonic() - self._beat >= self._control.heartbeat_seconds:
            with despite_full_disk():
                self._metrics.flush()
                self._run_dir.write_state(self._state)
            self._heed_requests()
            self._beat = time.monotonic()

    def _heed_requests(self) -> bool:
        """Whether the run is to stop, as a person or a signal wants it to."""
        self._control.stop = self._control.stop or self._run_dir.asked()
        return self._control.stop is not None

    def save_due(self, ahead: float = 0.0) -> bool:
        """Whether to save now, with ``ahead`` seconds to come in which nothing can be saved."""
        return time.monotonic() - self._saved_at + ahead >= self._save_interval

    def save(self, step: int, state: dict[str, Any]) -> bool:
        """Write a checkpoint; whether there was room for it. The next is not due before this
        one's cost is 2 % of the time."""
        if not self._writes:
            return True
        started, saved = time.monotonic(), False
        with despite_full_disk():
            self._metrics.flush()
            self._run_dir.check_current(self._state.attempt)
            checkpoint.save(self._run_dir.path, step, state)
            saved = True
        self._saved_at = time.monotonic()
        cost = self._saved_at - started
        self._save_interval = max(self._save_seconds, cost / SHARE)
        return saved

    # --- at its end

    def leave(self, reason: StopReason) -> None:
        """The run stops here, to be resumed. What was asked of another run, with which it is
        stepped together, interrupts it only."""
        if self._writes:
            of_another = reason in get_args(Request) and self._run_dir.asked() != reason
            left_as = "interrupted" if of_another else _LEFT_AS[reason]
            with despite_full_disk():
                self._metrics.close()
                self._run_dir.write_state(replace(self._state, state=left_as))

    def finish(
        self,
        state: Literal["done", "diverged"],
        step: int,
        epoch: int,
        summary: Record,
        cause: str = "",
        evaluated: int | None = None,
        predictions: bytes | None = None,
    ) -> None:
        """The run has ended: write ``summary``, with the metrics of one evaluation: that at
        step ``evaluated``, or the last; and ``predictions`` (see ``lrscale.predictions``).

        Waits for room on a full disk. Raises Stopped where it is asked to stop meanwhile.
        """
        if not self._writes:
            return
        self._with_room(self._metrics.close)
        records = self._run_dir.metrics(self._state.attempt)
        evaluations = [r for r in records if r["kind"] == "epoch"]
        if evaluated is not None:
            evaluations = [r for r in evaluations if r["step"] == evaluated]
        last = evaluations[-1] if evaluations else {}
        summary = {
            "step": step,
            "epoch": epoch,
            "metrics": {k: v for k, v in last.items() if k not in _BOOKKEEPING},
            "attempts": self._state.attempt,
            **summary,
        }
        ended = replace(self._state, state=state, step=step, epoch=epoch, cause=cause)
        self._with_room(lambda: self._run_dir.finish(ended, summary, predictions))
        checkpoint.remove(self._run_dir.path)

    def _with_room(self, write: Callable[[], T]) -> T:
        try:
            return once_there_is_room(write, self._heed_requests)
        except OSError as error:
            if is_full(error) and self._control.stop is not None:
                raise Stopped(self._control.stop) from error
            raise
