"""Failed runs by kind, with what they have in common: "37 runs: CUDA OOM, all with batch_size
1024"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.common_ground import sentence
from launch.survey import RunStatus

WAITING = frozenset({"queued", "paused", "missing"})  # have not shown yet whether they would fail


@dataclass(frozen=True)
class FailureGroup:
    """Runs that failed alike.

    Attributes:
        kind: such as ``CUDA OOM``.
        runs: their ids.
        common: what they have in common that those which did not fail have not; may be empty.
        line: the decisive line of the first of them.
        advice: what to try.
    """

    kind: str
    runs: Sequence[str]
    common: str
    line: str
    advice: str

    def __str__(self) -> str:
        count = f"{len(self.runs):,} run" + ("" if len(self.runs) == 1 else "s")
        return f"{count}: {self.kind}" + (f", {self.common}" if self.common else "")


def failure_groups(runs: Sequence[RunStatus]) -> list[FailureGroup]:
    """The largest first.

    Args:
        runs: all of a sweep, that those which failed can be held against the others.
    """
    kinds: dict[str, list[RunStatus]] = {}
    for run in runs:
        if run.failure:
            kinds.setdefault(run.failure, []).append(run)
    others = [_facts(run) for run in runs if not run.failure and run.state not in WAITING]
    groups = [
        FailureGroup(
            kind,
            [run.id for run in failed],
            sentence([_facts(run) for run in failed], others) if len(failed) > 1 else "",
            failed[0].cause,
            failed[0].advice,
        )
        for kind, failed in kinds.items()
    ]
    return sorted(groups, key=lambda group: -len(group.runs))


def _facts(run: RunStatus) -> Mapping[str, Any]:
    return {**run.point, **({"arm": run.arm} if run.arm else {}), "seed": run.seed}
