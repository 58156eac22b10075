"""What reaches the queue: every run once, within the limits, whatever happens to the command."""

from __future__ import annotations

import getpass
import re
import sys
from collections import Counter

import pytest

HELD = {"sbatch": {"hold": True}}
# Two shapes of resources, and so two arrays.
SHAPES = {"narrow": {}, "wide": {"resources": {"mem": "2G"}, "optimizer": {"lr": 0.05}}}


def queued(slurm, job: str) -> list[str]:
    """The array elements of a job that are in the queue."""
    return slurm.squeue("--array", "-j", job, "-o", "%i")


def test_two_commands_in_the_same_second_submit_once(launcher, slurm, job_ids):
    sweep = launcher.sweep(seeds=3)
    both = [launcher.start(sweep) for _ in range(2)]
    outputs = [command.communicate(timeout=120)[0] for command in both]
    assert [command.returncode for command in both] == [0, 0], outputs
    assert sorted(len(job_ids(output)) for output in outputs) == [0, 1], outputs
    (job,) = launcher.jobs()
    assert len(queued(slurm, job)) == 3
    counts = Counter(launcher.counts())
    assert counts["queued"] + counts["running"] + counts["done"] == 3
    assert not job_ids(launcher.submit(sweep))

    launcher.finish()
    assert launcher.counts() == {"done": 3}
    elements = {f"{job}_{index}": "COMPLETED" for index in range(3)}
    slurm.wait_until(lambda: slurm.states(job) == elements, 20, "accounted for")
    output = launcher.submit(sweep)
    assert "3  skip" in output
    assert len(launcher.jobs()) == 1


def test_what_a_person_has_squeue_show_hides_no_job(launcher, slurm):
    launcher.env |= {"SQUEUE_STATES": "CANCELLED", "SQUEUE_PARTITION": "high"}
    sweep, held = launcher.sweep(), launcher.profile(**HELD)
    for _ in range(2):
        launcher.submit(sweep, "--profile", held)
    assert len(launcher.jobs()) == len(slurm.squeue()) == 1


def test_an_array_is_cut_to_what_the_controller_takes(launcher, slurm, job_ids):
    output = launcher.submit(launcher.sweep(seeds=45), "--profile", launcher.profile(**HELD))
    jobs = job_ids(output)
    (record,) = launcher.records()
    assert [len(queued(slurm, job)) for job in jobs] == [15, 15, 15]  # MaxArraySize is 21
    names = slurm.squeue("-j", ",".join(jobs), "-o", "%j")
    assert sorted(set(names)) == [f"tried.{record['id']}.{index}" for index in range(3)]


def test_what_was_cancelled_while_it_waited_stays_so(launcher, slurm, job_ids):
    """One element of an array, then all that are left; plain scancel, nothing has begun."""
    sweep, held = launcher.sweep(seeds=4), launcher.profile(**HELD)
    (job,) = job_ids(launcher.submit(sweep, "--profile", held))
    slurm.run("scancel", f"{job}_2")
    slurm.wait_until(lambda: len(queued(slurm, job)) == 3, 20, "one is cancelled")
    slurm.wait_until(lambda: launcher.counts() == {"paused": 3, "cancelled": 1}, 20, "and shown so")
    assert "1  skip    its job was cancelled" in launcher.submit(sweep, "--profile", held)
    slurm.run("scancel", job)
    slurm.wait_until(lambda: launcher.counts() == {"cancelled": 4}, 30, "all are")
    output = launcher.submit(sweep, "--profile", held)
    assert "4  skip  its job was cancelled" in output
    assert launcher.jobs() == [job]

    (again,) = job_ids(launcher.submit(sweep, "--profile", held, "--retry", "cancelled"))
    assert len(queued(slurm, again)) == 4
    assert launcher.counts() == {"paused": 4}  # held


def test_no_more_than_the_user_may_submit(launcher, slurm, job_ids):
    account = ("sacctmgr", "-iQ", "modify", "user", getpass.getuser(), "where", "cluster=dev")
    sweep, profile = launcher.sweep(seeds=7), launcher.profile(**HELD)
    slurm.run(*account, "set", "maxsubmitjobs=5")
    try:
        output = launcher.submit(sweep, "--profile", profile)
        assert "2 runs are over the limit" in output
    finally:
        slurm.run(*account, "set", "maxsubmitjobs=-1")
    (first,) = job_ids(output)
    (second,) = job_ids(launcher.submit(sweep, "--profile", profile))
    assert (len(queued(slurm, first)), len(queued(slurm, second))) == (5, 2)


def test_parallel_holds_over_chunks_shapes_and_commands(launcher, slurm):
    profile = launcher.profile(max_array_size=2)
    for seeds in (1, 4):  # what the second command adds waits for what the first has queued
        sweep = launcher.sweep(arms=SHAPES, parallel=2, seeds=seeds)
        launcher.submit(sweep, "--profile", profile)
    assert len(launcher.jobs()) == 6
    at_once = []

    def over() -> bool:
        states = slurm.squeue("--array", "-o", "%T")
        at_once.append(states.count("RUNNING"))
        return not states

    slurm.wait_until(over, 250, "everything ended")
    assert max(at_once) == 2
    assert launcher.counts() == {"done": 8}


def test_a_launcher_killed_after_sbatch(launcher, slurm, wrapped, unwrap, job_ids):
    """Its first array is found by name and completed; the second was never queued."""
    wrapped("sbatch", '"$REAL" "$@"; kill -KILL $PPID')
    sweep = launcher.sweep(arms=SHAPES, seeds=2)
    launcher.submit(sweep, code=-9)
    assert launcher.jobs() == []
    assert len(slurm.squeue("--array")) == 2

    unwrap()
    output = launcher.submit(sweep)
    assert "found in the queue and completed" in output
    (second,) = job_ids(output)
    first, again = launcher.jobs()
    assert again == second
    assert (len(queued(slurm, first)), len(queued(slurm, second))) == (2, 2)
    launcher.finish()
    assert launcher.counts() == {"done": 4}
    assert {run.summary()["attempts"] for run in launcher.runs()} == {1}


def test_an_array_that_sbatch_refuses(launcher, slurm, wrapped, unwrap, job_ids):
    """What was queued before it stays on record; the same command submits the rest."""
    wrapped(
        "sbatch",
        'if [ -e queued ]; then echo "sbatch: error: no more" >&2; exit 1; fi\n'
        'touch queued; exec "$REAL" "$@"',
    )
    sweep, held = launcher.sweep(arms=SHAPES, seeds=2), launcher.profile(**HELD)
    output = launcher.submit(sweep, "--profile", held, code=2)
    assert "sbatch: error: no more" in output
    assert "1 of 2 arrays were queued; the same command submits the rest" in output
    (first,) = launcher.jobs()
    # One file for the array, under each element's name; of the one refused nothing is left.
    pickles = {path.name for path in launcher.root.glob("submissions/*/*.pkl")}
    assert pickles == {f"{first}{element}_submitted.pkl" for element in ("", "_0", "_1")}

    unwrap()
    (second,) = job_ids(launcher.submit(sweep, "--profile", held))
    assert (len(queued(slurm, first)), len(queued(slurm, second))) == (2, 2)
    assert len(slurm.squeue("--array")) == 4


def test_an_array_that_sbatch_queued_without_saying_so(launcher, slurm, wrapped, unwrap):
    wrapped("sbatch", '"$REAL" "$@" >/dev/null; echo "sbatch: error: timed out" >&2; exit 1')
    sweep, held = launcher.sweep(seeds=2), launcher.profile(**HELD)
    assert "timed out" in launcher.submit(sweep, "--profile", held, code=2)
    unwrap()
    assert "found in the queue and completed" in launcher.submit(sweep, "--profile", held)
    (job,) = launcher.jobs()
    assert queued(slurm, job) == slurm.squeue("--array", "-o", "%i")
    assert len(list(launcher.root.glob(f"submissions/*/{job}_*_submitted.pkl"))) == 2


def test_submitting_from_within_a_job(launcher, slurm):
    """The new job inherits nothing of the one around it: no GPUs, no memory, no ranks."""
    sweep = launcher.sweep(run={"workload": "digits_mlp", "epochs": 1})
    command = [sys.executable, launcher.tree / "launch/submit.py", sweep, "--runs", launcher.root]
    script = launcher.folder / "outer.sh"
    script.write_text(
        f"#!/bin/sh\nexport RANK=1 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=29500\n"
        f"exec {' '.join(map(str, command))}\n"
    )
    outer = ("--gpus-per-node=2", "--nodes=2", "--mem=9G", "--time=9")
    done = slurm.run(
        "sbatch", "--parsable", "--wait", *outer, script, cwd=launcher.folder, timeout=120
    )
    printed = (launcher.folder / f"slurm-{done.stdout.strip()}.out").read_text()
    assert "submitted: " in printed
    (job,) = launcher.jobs()
    asked = slurm.run("scontrol", "show", "job", job).stdout
    assert re.search(r"NumNodes=1(-1)? NumCPUs=1", asked)  # 1-1 while it waits
    assert "mem=1G" in asked
    assert "TimeLimit=00:20:00" in asked
    assert "TresPerNode" not in asked
    launcher.finish()
    assert launcher.counts() == {"done": 1}
    assert launcher.runs()[0].summary()["world_size"] == 1


def test_no_controller_that_answers(launcher):
    conf = launcher.folder / "slurm.conf"
    conf.write_text("ClusterName=gone\nSlurmctldHost=localhost\nSlurmctldPort=1\n")
    launcher.env["SLURM_CONF"] = str(conf)
    output = launcher.submit(launcher.sweep(), code=2)
    assert "no SLURM controller answers" in output
    assert "--backend local" in output
    assert not launcher.root.exists()


@pytest.mark.parametrize("name", ["50%", "back\\slash", "two\nlines"])
def test_a_store_whose_path_slurm_would_not_take(launcher, name):
    launcher.root = launcher.folder / name
    assert "choose another with --runs DIR" in launcher.submit(launcher.sweep(), code=2)
    assert not launcher.root.exists()
