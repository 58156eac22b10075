"""How often a job has lost a node, as benchmarks/chaos.py reads it from the controller's log."""

from __future__ import annotations

from datetime import datetime
from math import inf
from pathlib import Path

import pytest

from benchmarks._slurm_log import ControllerLog, Outage, Start, node_names

LOG = """\
[2026-11-26T19:40:10.000] sched/backfill: _start_job: Started JobId=6 in main on 127.0.0.[1-2]
[2026-11-26T19:40:10.000] sched/backfill: _start_job: Started JobId=6_1(9) in main on 127.0.0.3
[2026-11-26T19:40:20.000] Requeuing JobId=6
[2026-11-26T19:40:30.000] sched: Allocate JobId=6 NodeList=127.0.0.[3-4] #CPUs=4 Partition=main
[2026-11-26T19:40:40.000] _job_complete: requeue JobId=6 due to node failure
[2026-11-26T19:40:50.000] sched: Allocate JobId=6 NodeList=127.0.0.1,127.0.0.3 #CPUs=4
"""


def at(second: float) -> float:
    return datetime(2026, 11, 26, 19, 40).timestamp() + second


@pytest.fixture
def log(tmp_path: Path) -> ControllerLog:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "slurmctld.log").write_text(LOG)
    return ControllerLog(tmp_path)


def test_starts(log: ControllerLog):
    first, second, third = log.starts("6")
    assert (first.since, first.until, first.nodes) == (at(10), at(20), {"127.0.0.1", "127.0.0.2"})
    assert (second.since, second.until) == (at(30), at(40))
    assert (third.since, third.until, third.nodes) == (at(50), inf, {"127.0.0.1", "127.0.0.3"})
    (of_the_element,) = log.starts("6_1")
    assert of_the_element.nodes == {"127.0.0.3"}
    assert list(log.starts("7")) == []


@pytest.mark.parametrize(
    ("node", "since", "until", "lost"),
    [
        (2, 12, 14, [True, True, False]),  # the second by Slurm's own word
        (2, 5, 12, [True, True, False]),  # away before the job began there
        (2, 21, 60, [False, True, False]),  # no longer the job's
        (4, 12, 60, [False, True, False]),
        (1, 5, 60, [True, True, True]),
        (3, 46, 47, [False, True, True]),  # back, but not known to be
        (3, 41, 42, [False, True, False]),
    ],
)
def test_starts_that_lost_a_node(
    log: ControllerLog, node: int, since: float, until: float, lost: list[bool]
):
    outages = [Outage(f"127.0.0.{node}", at(since), at(until))]
    assert [start.lost_a_node(outages) for start in log.starts("6")] == lost


def test_without_an_outage_only_slurm_says_so(log: ControllerLog):
    assert [start.lost_a_node([]) for start in log.starts("6")] == [False, True, False]


@pytest.mark.parametrize(
    ("nodes", "names"),
    [("n1", {"n1"}), ("n1,m2", {"n1", "m2"}), ("n[1-3,5]", {"n1", "n2", "n3", "n5"})],
)
def test_node_names(nodes: str, names: set[str]):
    assert node_names(nodes) == names


@pytest.mark.parametrize(
    ("told", "ended"),
    [
        ("_job_complete: JobId=6 WTERMSIG 9", True),
        ("Time limit exhausted for JobId=6", True),
        ("Time limit exhausted for JobId=6\n[…] _job_complete: JobId=6 WEXITSTATUS 0", False),
        ("_job_complete: JobId=6 WEXITSTATUS 137", False),
        ("Requeuing JobId=6", False),
    ],
)
def test_starts_that_slurm_ended_with_their_batch_scripts(told: str, ended: bool):
    assert Start(at(0), at(9), frozenset({"n"}), told).ended_by_slurm is ended
