"""What the runs of benchmarks/chaos.py tell of themselves, and how much they did twice."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks._chaos_runs import CHECKPOINT_SECONDS


class Told(NamedTuple):
    """A line of an attempt: when it was at which step, in Unix seconds, and how many seconds it
    meant to work until its next checkpoint."""

    time: float
    attempt: int
    step: int
    interval: float


@dataclass
class Unsaved:
    """When there was less than the newest checkpoint to resume from, Unix seconds.

    Attributes:
        damaged: by run, when checkpoints of it were damaged.
        full: from when to when the disk was full.
    """

    damaged: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    full: list[tuple[float, float]] = field(default_factory=list)

    def excuses(self, run: str, saved: float, last: float, resumed: float) -> bool:
        """Whether more may have been done twice of what a run did from its checkpoint ``saved``
        until ``last``, by an attempt that began at ``resumed``."""
        return any(saved <= at <= resumed for at in self.damaged.get(run, ())) or any(
            since <= last and saved <= until for since, until in self.full
        )


def told(trace: Path, run: str) -> list[Told]:
    """What a run's attempts have told, attempt by attempt; a torn line is left out."""
    path = trace / run
    pattern = re.compile(r"(\d+\.?\d*) (\d+) (\d+) (\d+\.?\d*)\n")
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    matches = (pattern.fullmatch(line) for line in lines)
    words = [match.groups() for match in matches if match]
    found = [Told(float(t), int(a), int(s), float(i)) for t, a, s, i in words]
    return sorted(found, key=lambda line: line.attempt)


def by_attempt(lines: Iterable[Told]) -> Iterator[list[Told]]:
    """One list for each attempt that has told anything."""
    for _, of_attempt in itertools.groupby(lines, key=lambda line: line.attempt):
        yield list(of_attempt)


@dataclass
class Redone:
    """What interruptions of the training cost.

    Attributes:
        cut: interruptions of attempts that had taken steps.
        seconds: that were done twice, of those with any: between the checkpoint that was resumed
            from and the last that was heard.
        late: of those that exceed what is allowed, a line each.
        excused: left out: a checkpoint was damaged, or found no room.
        grown: that were allowed more than CHECKPOINT_SECONDS, since a checkpoint took over 2 % of
            that.
    """

    cut: int = 0
    seconds: list[float] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    excused: int = 0
    grown: int = 0

    def __str__(self) -> str:
        seconds = sorted(self.seconds) or [0.0]
        return (
            f"the training was interrupted {self.cut} times; at {len(seconds)} work was done "
            f"twice, {seconds[len(seconds) // 2]:.1f} s in the median, {seconds[-1]:.1f} s at "
            f"most, {len(self.late)} times too much ({self.grown} with an interval that had "
            f"grown); {self.excused} left out, as a checkpoint was damaged or had no room"
        )


def redone(runs: Iterable[str], trace: Path, unsaved: Unsaved) -> Redone:
    """Of all runs. An interruption may cost the seconds between two checkpoints, and those
    between two looks at the clock: a step, or the time that the process stood still."""
    result = Redone()
    for run in runs:
        done: list[Told] = []  # the run's history as its record has it
        trained = False  # the attempt before
        for begun in by_attempt(told(trace, run)):
            result.cut += trained
            trained = begun[-1].step > begun[0].step
            repeated = [line for line in done if line.step > begun[0].step]
            done = [line for line in done if line.step <= begun[0].step]
            if repeated:
                lines = done[-1:] + repeated
                if unsaved.excuses(run, lines[0].time, lines[-1].time, begun[0].time):
                    result.excused += 1
                else:
                    _judge(result, f"{run}, attempt {begun[0].attempt}", lines)
            done += begun
    return result


def _judge(result: Redone, name: str, lines: list[Told]) -> None:
    """``lines``: from the checkpoint to the last that was heard, perhaps of several attempts."""
    gaps = [
        after.time - before.time if after.attempt == before.attempt else 0.0
        for before, after in itertools.pairwise(lines)
    ]
    interval = max(line.interval for line in lines)
    result.grown += interval > CHECKPOINT_SECONDS
    result.seconds.append(sum(gaps))
    # Twice the longest gap: the look at which a checkpoint is due comes late by one, and what
    # was done until the one that is resumed from began is counted from the look before it.
    if sum(gaps) > interval + 2 * max(gaps, default=0.0):
        result.late.append(f"{name}: {sum(gaps):.1f} s done twice, {interval:.1f} s allowed")
