"""A small convolutional network on patches of ten photographs: CIFAR-10's shape, no download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lrscale.config import merge
from lrscale.registry import workloads
from lrscale.workloads.classification import Classification


@workloads.register("photo_patches")
class PhotoPatches(Classification):
    """The small network on 3,510 augmented patches: a run takes a minute or two on a core."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 10,
        "batch_size": 64,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"name": "cosine"},
        "model": {"name": "cnn_small"},
        "data": {"name": "photo_patches"},
    }
    target: ClassVar[Mapping[str, float]] = {"val_accuracy": 0.8}
    budget: ClassVar[Mapping[str, float]] = {"epochs": 10, "minutes": 10}


@workloads.register("photo_patches_resnet20")
class PhotoPatchesResNet20(PhotoPatches):
    """The 20-layer residual network on the same patches."""

    defaults: ClassVar[Mapping[str, Any]] = merge(
        PhotoPatches.defaults, {"model": {"name": "resnet20"}}
    )
    budget: ClassVar[Mapping[str, float]] = {"epochs": 10, "minutes": 20}
