"""Where a run is, and what became of its earlier attempts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

RunState = Literal[
    "running", "done", "diverged", "failed",
    "preempted", "timeout", "interrupted", "killed", "cancelled", "paused",
]  # fmt: skip
# A run in one of these states came to an end of its own, with a summary and one file of metrics.
FINISHED: frozenset[str] = frozenset({"done", "diverged"})
# A run in one of these states is finished business: nothing resumes it unless asked to.
ENDED: frozenset[str] = FINISHED | {"failed", "cancelled", "paused"}
# Ends of an attempt that may not happen again and again without a new checkpoint between them.
BADLY: frozenset[str] = frozenset({"failed", "killed", "timeout"})


@dataclass(frozen=True)
class State:
    """Where a run is.

    Attributes:
        state: see RunState. ``running`` is only as true as ``updated`` is recent.
        attempt: counts the processes that have worked on the run, from 1.
        step, total_steps: optimizer steps taken and planned.
        resumed_from: the step that this attempt started from.
        epoch: passes over the data completed.
        loss: the last minibatch (or full-batch) loss seen; None before the first.
        started, updated: Unix seconds of this attempt's start and last sign of life, by the clock
            of its host.
        host, pid: where the attempt runs.
        job: Slurm job id such as ``123_4``; empty elsewhere.
        requeues: how often that job had been requeued when the attempt began.
        cause: for failed and killed runs, one line.
        interruptions: how many of the earlier attempts ended in which state, such as
            ``{"preempted": 3, "killed": 1}``.
        retries: how many earlier attempts in a row ended badly (killed, failed, timeout) without
            a checkpoint later than the one they began with; since a person asked last.
        heard: Unix seconds of that last sign of life by the clock of the file system
            (``files.clock_of``), since hosts' clocks differ; not on record, known to readers only.
    """

    state: RunState
    attempt: int
    step: int = 0
    total_steps: int = 0
    resumed_from: int = 0
    epoch: int = 0
    loss: float | None = None
    started: float = 0.0
    updated: float = 0.0
    host: str = ""
    pid: int = 0
    job: str = ""
    requeues: int = 0
    cause: str = ""
    interruptions: dict[str, int] = field(default_factory=dict)
    retries: int = 0
    heard: float = field(default=0.0, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any], heard: float) -> State:
        """From what a state file holds, which a later version may have written more into, and when
        that was written."""
        known = {name: value for name, value in raw.items() if name in cls.__annotations__}
        return cls(**{**known, "heard": heard})

    def record(self) -> dict[str, Any]:
        """What a state file holds."""
        record = asdict(self)
        del record["heard"]
        return record


def has_ended(state: State | None) -> bool:
    """Whether a run is finished business; one that has not begun is not."""
    return state is not None and state.state in ENDED


def next_state(
    earlier: State | None,
    attempt: int,
    step: int,
    job: str = "",
    requeues: int = 0,
    forgotten: int = 0,
) -> State:
    """The state of an attempt that begins with a checkpoint of ``step``; what came before it is
    counted.

    An earlier attempt that could not say how it ended was killed; unless its job is here again:
    then the scheduler has taken its node away and requeued it. Of some there is no state at all,
    because the disk was full or they were overtaken as they began: these count as killed too, but
    not as retries.

    Args:
        forgotten: the last attempt before the run began afresh, none of which counts.
    """
    now = State(
        "running",
        attempt,
        step=step,
        resumed_from=step,
        started=time.time(),
        job=job,
        requeues=requeues,
    )
    if earlier is None:
        return replace(now, interruptions=_and_killed({}, attempt - forgotten - 1))
    ended = earlier.state
    if ended == "running":
        ended = "preempted" if job and job == earlier.job else "killed"
    interruptions = Counter(earlier.interruptions)
    interruptions[ended] += 1
    retries = earlier.retries + (ended in BADLY)
    return replace(
        now,
        total_steps=earlier.total_steps,
        epoch=earlier.epoch,
        interruptions=_and_killed(interruptions, attempt - earlier.attempt - 1),
        retries=0 if step > earlier.resumed_from else retries,
    )


def _and_killed(interruptions: Mapping[str, int], more: int) -> dict[str, int]:
    return dict(+(Counter(interruptions) + Counter(killed=more)))
