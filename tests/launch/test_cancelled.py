"""What accounting tells of jobs that somebody took out of the queue."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launch.accounting import JobEnd, ask_sacct
from launch.cancelled import cancelled, cancelled_runs
from launch.claims import Claim, Claims
from launch.run_logs import RunLogs
from launch.submissions import Found
from lrscale.run_state import RunState, State
from lrscale.store import Store

OTHER = State("timeout", attempt=1, job="6_0")
LAST = State("timeout", attempt=1, job="7_0")


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    ("ends", "state", "expected"),
    [
        ({"7_0": JobEnd("CANCELLED")}, None, (True, True)),
        ({"7_0": JobEnd("CANCELLED")}, LAST, (True, True)),
        ({"7_0": JobEnd("NODE_FAIL")}, None, (False, False)),
        # Without an account, or with a late one: what never began was cancelled.
        ({"7_0": JobEnd("PENDING")}, None, (True, False)),
        ({}, None, (True, False)),
        ({}, OTHER, (True, False)),
        ({}, LAST, (False, False)),
    ],
)
def test_whether_a_job_was_cancelled(
    tmp_path: Path,
    ends: dict[str, JobEnd],
    state: State | None,
    expected: tuple[bool, bool],
    log: bool,
) -> None:
    store = Store(tmp_path)
    store.create()
    array = {"name": "tried", "job_id": "7", "elements": [["run0"], ["run1"]]}
    store.write_submission("one", {"id": "one", "backend": "slurm", "arrays": [array]})
    if log:
        (store.submission_dir("one") / "7_0_0_log.out").touch()
    assert cancelled("7_0", state, ends, RunLogs(store)) is expected[log]


@pytest.mark.parametrize(
    ("state", "is_cancelled"),
    [
        ("running", True),  # and nobody has it: its processes died before they knew
        ("preempted", True),
        ("timeout", True),
        ("killed", True),
        ("done", False),
        ("failed", False),
        ("cancelled", False),  # has said so itself
    ],
)
def test_of_which_runs_the_job_s_end_is_asked(
    tmp_path: Path, state: RunState, is_cancelled: bool
) -> None:
    store = Store(tmp_path)
    store.create()
    array = {"name": "tried", "job_id": "7", "elements": [["run0"], ["run1"]]}
    store.write_submission("one", {"id": "one", "backend": "slurm", "arrays": [array]})
    found = {run: Found(State(state, 1, job=f"7_{run[-1]}")) for run in ("run0", "run1")}
    claims = Claims({"run1": Claim("one", "tried", "slurm", "7_1", "RUNNING", 0.0)})
    ends = {f"7_{element}": JobEnd("CANCELLED") for element in (0, 1)}
    expected = {"run0"} if is_cancelled else set()
    assert cancelled_runs(store, found, claims, lambda _: ends) == expected


def test_elements_that_wait_share_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Slurm 22.05 prints them, ``%2`` being the throttle."""
    sacct = tmp_path / "sacct"
    sacct.write_text(
        "#!/bin/sh\n"
        "echo '7_[0-1,4,6-7%2]|CANCELLED by 1000|0:0|None assigned|tried'\n"
        "echo '7_5|COMPLETED|0:0|node1|tried'\n"
        "echo '8_[3]|PENDING|0:0|None assigned|tried'\n"
        "echo '9_[0-3]|CANCELLED|0:0|None assigned|of somebody else'\n"
    )
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    ends = ask_sacct({"7": "tried", "8": "tried", "9": "tried"})
    assert {job: end.state for job, end in ends.items()} == {
        **{f"7_{element}": "CANCELLED" for element in (0, 1, 4, 6, 7)},
        "7_5": "COMPLETED",
        "8_3": "PENDING",
    }
