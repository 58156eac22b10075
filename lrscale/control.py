"""What the outside may ask of a running run: to stop, and after how many steps."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType
from typing import Literal

# What a person may ask of a run; it stays in the run's folder until the run is handed over again.
Request = Literal["cancelled", "paused"]
StopReason = Literal["preempted", "timeout", "interrupted", "max_steps", "cancelled", "paused"]

# Slurm sends USR2 ahead of a time limit (as submitit asks it to) and TERM on preemption, requeue
# and scancel; INT is a person's Ctrl-C.
_REASONS: dict[int, StopReason] = {
    signal.SIGUSR2: "timeout",
    signal.SIGTERM: "preempted",
    signal.SIGINT: "interrupted",
}


@dataclass
class Control:
    """Asked by a trainer between steps; written by signal handlers, which do nothing else, and
    by the trainer when another rank was asked to stop.

    Attributes:
        stop: why the run should save and leave at the next step boundary; None to go on.
        max_steps: stop after this many optimizer steps in this process; None for no limit.
        heartbeat_seconds: how often the run tells the store where it is.
        job: the scheduler's name for this process, recorded in the run's state; empty without.
        requeues: how often the scheduler has requeued that job.
        sharing: runs that may compute on this run's GPU, or its job's cores, at the same time,
            this one included. Times of runs that share are no measure of what was run.
    """

    stop: StopReason | None = None
    max_steps: int | None = None
    heartbeat_seconds: float = 10.0
    job: str = ""
    requeues: int = 0
    sharing: int = 1

    def listen(self) -> None:
        """Have TERM, USR2 and INT ask for a stop. Main thread only."""
        for number in _REASONS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.stop = self.stop or _REASONS[number]


class Stopped(Exception):
    """Raised inside a trainer to leave a run because ``control`` asked for it."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason: StopReason = reason


class ForeignRanks(Exception):
    """Raised by a trainer whose process group has ranks of another run in it, or of another start
    of the same job: they found each other at the same port of the same host."""


@dataclass(frozen=True)
class Outcome:
    """How a trainer left a run.

    Attributes:
        state: ``done``, ``diverged`` (a non-finite loss) or ``stopped`` (saved; to be resumed).
        step: the last optimizer step taken; for ``diverged`` the step whose loss was not finite.
        reason: for ``stopped``, why.
    """

    state: Literal["done", "diverged", "stopped"]
    step: int
    reason: StopReason | None = None


def ignore_signals() -> None:
    """For DataLoader workers: Slurm signals every process of a step, but only ranks may act."""
    for number in _REASONS:
        signal.signal(number, signal.SIG_IGN)
