"""What a cluster's controller has done with the jobs of benchmarks/chaos.py, by its log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import inf
from pathlib import Path

STAMP = r"\[([\d\-T:.]+)\] "
# Until a slurmd that was started again is known to the controller.
SECONDS_TO_REGISTER = 5.0


@dataclass(frozen=True)
class Outage:
    """When a node had no slurmd, Unix seconds."""

    node: str
    since: float
    until: float


@dataclass(frozen=True)
class Start:
    """One start of a job.

    Attributes:
        since, until: Unix seconds; ``inf`` if the log does not say that it ended.
        nodes: its nodes' names.
        told: what the log says of the job from then on, up to its next start.
    """

    since: float
    until: float
    nodes: frozenset[str]
    told: str

    @property
    def killed(self) -> bool:
        """Whether its batch script was."""
        completed = re.search(r"_job_complete: JobId=(.*)", self.told)
        return completed is not None and " WTERMSIG 9" in completed[1]

    @property
    def died_before_its_limit(self) -> bool:
        """Whether nobody was left to say that it had ended, as after a crash of its node, when
        its time limit was over before Slurm had noticed."""
        return "_job_complete: " not in self.told and "Time limit exhausted" in self.told

    @property
    def ended_by_slurm(self) -> bool:
        """Whether nobody was left to have it requeued."""
        return self.killed or self.died_before_its_limit

    def lost_a_node(self, outages: Iterable[Outage]) -> bool:
        """Whether a node of it was away for a while, or Slurm thought so: a busy one may answer
        late."""
        return "due to node failure" in self.told or any(
            outage.node in self.nodes
            and outage.since < self.until
            and outage.until + SECONDS_TO_REGISTER > self.since
            for outage in outages
        )


class ControllerLog:
    """What slurmctld has written so far.

    Args:
        state_dir: of the cluster.
    """

    def __init__(self, state_dir: Path) -> None:
        self._text = (state_dir / "log" / "slurmctld.log").read_text(errors="replace")

    def starts(self, job: str) -> Iterator[Start]:
        """Those of a job or array element such as ``7_1``, in order."""
        lines = re.findall(rf".*JobId={job}\b.*", self._text)
        begun = [
            (number, found)
            for number, line in enumerate(lines)
            if (found := re.search(r"(?:Started|Allocate) JobId=.*?(?: on |NodeList=)(\S+)", line))
        ]
        for (number, found), (end, _) in pairwise([*begun, (len(lines), None)]):
            assert found is not None
            told = "\n".join(lines[number + 1 : end])
            ended = re.search(
                rf"{STAMP}.*(?:requeu|_job_complete: |_KILL_JOB)", told, re.IGNORECASE
            )
            until = _unix(ended[0]) if ended else inf
            yield Start(_unix(lines[number]), until, node_names(found[1]), told)

    def ended_for_good(self, job: str) -> bool:
        """Whether Slurm has ended a job without the batch script that would have had it requeued,
        and no other job has since: as Start has it, or killed on a node that came back with an
        older start of the job still alive, whose step registered with it."""
        *_, last = [None, *self.starts(job)]
        if last is None:
            return False
        registered = re.search(rf"Registered .*JobId={job}\b", self._text)
        return last.died_before_its_limit or (last.killed and registered is not None)


def node_names(nodes: str) -> frozenset[str]:
    """``127.0.0.[1-2,4]`` one by one."""
    prefix, bracket, parts = nodes.partition("[")
    if not bracket:
        return frozenset(nodes.split(","))
    found = set()
    for part in parts.rstrip("]").split(","):
        first, _, last = part.partition("-")
        found |= {f"{prefix}{number}" for number in range(int(first), int(last or first) + 1)}
    return frozenset(found)


def _unix(line: str) -> float:
    stamp = re.match(STAMP, line)
    assert stamp, line
    return datetime.fromisoformat(stamp[1]).timestamp()
