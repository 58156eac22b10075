"""A multilayer perceptron on MNIST, without and with BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lrscale.config import merge
from lrscale.registry import workloads
from lrscale.workloads.classification import Classification


@workloads.register("mnist_mlp")
class MnistMLP(Classification):
    """784-1024-256-10 with ReLU on MNIST; the course's assignment gives batches of 100 and ten
    epochs."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 10,
        "batch_size": 100,
        "optimizer": {"name": "sgd", "lr": 0.1},
        "schedule": {"name": "constant"},
        "model": {"name": "mlp"},
        "data": {"name": "mnist"},
    }
    target: ClassVar[Mapping[str, float]] = {"val_accuracy": 0.98}
    budget: ClassVar[Mapping[str, float]] = {"epochs": 10, "minutes": 20}


@workloads.register("mnist_mlp_bn")
class MnistMLPBatchNorm(MnistMLP):
    """The same with BatchNorm before each ReLU."""

    defaults: ClassVar[Mapping[str, Any]] = merge(
        MnistMLP.defaults, {"model": {"batch_norm": True}}
    )
