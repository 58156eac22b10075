"""Runs of several processes: one srun task a rank, gloo between them."""

from __future__ import annotations

import pytest


def test_two_tasks_and_two_nodes_compute_what_one_process_does(launcher, slurm, reference, losses):
    arms = {
        "tasks": {"seeds": [0], "resources": {"tasks_per_node": 2}},
        "nodes": {"seeds": [1], "resources": {"nodes": 2}},
    }
    launcher.submit(launcher.sweep(arms=arms))
    asked = [slurm.squeue("-j", job, "-o", "%D %C")[0] for job in launcher.jobs()]
    assert asked == ["1 2", "2 2"]
    expected = [reference(seed) for seed in (0, 1)]
    launcher.finish()
    assert launcher.counts() == {"done": 2}
    for run, single in zip(launcher.runs(), expected, strict=True):
        assert run.summary()["world_size"] == 2
        assert losses(run) == pytest.approx(losses(single), rel=1e-4)
        assert run.summary()["metrics"] == pytest.approx(single.summary()["metrics"], rel=1e-4)
