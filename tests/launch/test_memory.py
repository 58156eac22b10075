"""The kernel's count of what it has killed, as it writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.memory import oom_kills
from launch.requeue import cause_of_death

OF_VERSION_1 = (
    "9:name=systemd:/\n4:cpu,memory:/slurm/job_7/task_0\n0::/\n",
    "memory/slurm/job_7/task_0",
)
OF_VERSION_2 = ("0::/system.slice/slurmstepd.scope/job_7\n", "system.slice/slurmstepd.scope/job_7")


@pytest.mark.parametrize(
    ("listed", "folder", "name", "text"),
    [
        (*OF_VERSION_1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        (*OF_VERSION_2, "memory.events", "low 0\nhigh 0\nmax 31\noom 3\noom_kill 2\n"),
    ],
    ids=["version 1", "version 2"],
)
def test_counts_what_was_killed(
    tmp_path: Path, listed: str, folder: str, name: str, text: str
) -> None:
    own, groups = tmp_path / "own", tmp_path / "groups"
    assert oom_kills(own, groups) == 0
    own.write_text(listed)
    assert oom_kills(own, groups) == 0
    (groups / folder).mkdir(parents=True)
    (groups / folder / name).write_text(text)
    assert oom_kills(own, groups) == 2


def test_the_cause_says_so() -> None:
    assert cause_of_death(-9, starved=True) == "killed by SIGKILL for want of memory"
    assert cause_of_death(-9) == "killed by SIGKILL, perhaps for want of memory"
