"""Residual networks on CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lrscale.config import merge
from lrscale.registry import workloads
from lrscale.workloads.classification import Classification


@workloads.register("cifar10_resnet18")
class CIFAR10ResNet18(Classification):
    """ResNet-18 with the 3×3 stem, by the usual recipe: SGD at 0.1 with momentum 0.9 and weight
    decay 5e-4, cosine over 200 epochs, batch 128, crops and mirror images. Reports of it lie at
    95.5 to 96.0 % of the test images."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 200,
        "batch_size": 128,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"name": "cosine"},
        "model": {"name": "resnet18_cifar"},
        "data": {"name": "cifar10"},
    }
    target: ClassVar[Mapping[str, float]] = {"val_accuracy": 0.95}
    budget: ClassVar[Mapping[str, float]] = {"epochs": 200, "minutes": 120}


@workloads.register("cifar10_resnet20")
class CIFAR10ResNet20(CIFAR10ResNet18):
    """The 20-layer network of He et al. (2016), who report 91.25 % of the test images."""

    defaults: ClassVar[Mapping[str, Any]] = merge(
        CIFAR10ResNet18.defaults, {"model": {"name": "resnet20"}}
    )
    target: ClassVar[Mapping[str, float]] = {"val_accuracy": 0.91}
