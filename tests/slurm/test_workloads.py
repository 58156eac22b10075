"""Workloads on files of their published formats, on the cluster: interrupted, they go on exactly.

Images in ImageNet's layout over two nodes, and reviews as aclImdb has them. One sweep, so that
the waiting is shared; its run ``whole`` is ``images`` once more, which nothing disturbs.
"""

from __future__ import annotations

from typing import Any

import pytest
from image_folders import write_images
from reviews import write_reviews

SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}
IMAGES: dict[str, Any] = {
    "workload": "imagenet_resnet18",
    "epochs": 2,
    "batch_size": 4,
    "precision": "no",
    "schedule": {"name": "cosine"},
    "resources": {"nodes": 2},
}
REVIEWS: dict[str, Any] = {
    "workload": "imdb_lstm",
    "epochs": 2,
    "batch_size": 4,
    "model": {"hidden": 8},
}


@pytest.fixture
def arms(tmp_path, flag):
    """Of a sweep on files that are written for it; two are slow while there is the flag."""
    slow = SGD | {"name": "slow", "seconds": 1.0, "slow_while": str(flag)}
    pictures = {"root": str(write_images(tmp_path / "pictures")), "resolution": 32, "workers": 0}
    texts = {"root": str(write_reviews(tmp_path)), "validation": 8, "length": 16}
    images, reviews = {**IMAGES, "data": pictures}, {**REVIEWS, "data": texts}
    return {
        "images": {**images, "optimizer": slow},
        "reviews": {**reviews, "optimizer": slow},
        "whole": {**images, "optimizer": SGD},
    }


def test_images_on_two_nodes_and_reviews_go_on_exactly(
    planted, slurm, reference, losses, arms, flag
):
    planted.submit(planted.sweep(run={}, arms=arms))
    pair, core = planted.jobs()
    images, reviews, whole = planted.runs()
    disturbed = {
        images: ("scancel", "--signal=USR2", f"{pair}_0"),
        reviews: ("scontrol", "requeue", core),
    }
    for run, command in disturbed.items():
        planted.wait_for_state(run, "running")
        slurm.run(*command)
    for run in disturbed:
        planted.wait_for_state(run, "preempted", "timeout", "done")
        assert run.state().attempt == 1
        assert 0 < run.state().step < 14
    flag.unlink()
    single = reference(**{**arms["reviews"], "optimizer": SGD})
    planted.finish()
    assert planted.counts() == {"done": 3}

    assert images.summary()["world_size"] == whole.summary()["world_size"] == 2
    for run, uninterrupted in ((images, whole), (reviews, single)):
        assert (run.summary()["attempts"], uninterrupted.summary()["attempts"]) == (2, 1)
        assert losses(run) == losses(uninterrupted)
        assert run.summary()["weights"] == uninterrupted.summary()["weights"]
        assert run.summary()["metrics"] == uninterrupted.summary()["metrics"]
