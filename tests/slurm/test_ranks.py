"""Runs of several processes: one srun task a rank, gloo between them."""

from __future__ import annotations

import socket

import pytest

from launch.ranks import master_port, this_start


def test_two_tasks_and_two_nodes_compute_what_one_process_does(launcher, slurm, reference, losses):
    arms = {
        "tasks": {"seeds": [0], "resources": {"tasks_per_node": 2}},
        "nodes": {"seeds": [1], "resources": {"nodes": 2}},
    }
    # What submitit leaves where it could not write a rank's result whole, as on a full disk.
    left = f"{launcher.root}/submissions/*/"
    plant = f'for d in {left}; do touch "$d/${{SLURM_JOB_ID}}_1_result.pkl.save_tmp"; done'
    launcher.submit(launcher.sweep(arms=arms), "--profile", launcher.profile(preamble=[plant]))
    asked = [slurm.squeue("-j", job, "-o", "%D %C")[0] for job in launcher.jobs()]
    assert asked == ["1 2", "2 2"]
    expected = [reference(seed) for seed in (0, 1)]
    launcher.finish()
    assert launcher.counts() == {"done": 2}
    for job in launcher.jobs():
        # Accounting hears of a job's end a little after squeue has forgotten the job.
        slurm.wait_until(
            lambda job=job: slurm.states(job).get(job) not in (None, "RUNNING"), 60, "accounted for"
        )
        assert slurm.states(job)[job] == "COMPLETED"
    for run, single in zip(launcher.runs(), expected, strict=True):
        assert run.summary()["world_size"] == 2
        assert losses(run) == pytest.approx(losses(single), rel=1e-4)
        assert run.summary()["metrics"] == pytest.approx(single.summary()["metrics"], rel=1e-4)


def test_the_port_at_which_they_meet_is_taken(launcher, slurm, reference, losses):
    """As by an older start of the job that lives on: the next one has another."""
    sweep = launcher.sweep(arms={"pair": {"resources": {"tasks_per_node": 2}}})
    launcher.submit(sweep, "--profile", launcher.profile(sbatch={"hold": True}))
    (run,), (job,) = launcher.runs(), launcher.jobs()
    ports = [master_port(this_start(run, job, restarts)) for restarts in (0, 1)]
    assert ports[0] != ports[1]
    with socket.create_server(("", ports[0])):
        slurm.run("scontrol", "release", job)
        launcher.finish()
    assert launcher.counts() == {"done": 1}
    assert run.state().interruptions == {"killed": 1}
    assert losses(run) == pytest.approx(losses(reference(0)), rel=1e-4)
