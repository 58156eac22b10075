"""Convolutional networks on MNIST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lrscale.config import merge
from lrscale.registry import workloads
from lrscale.workloads.classification import Classification


@workloads.register("mnist_cnn")
class MnistCNN(Classification):
    """The course's network of 83,514 parameters, trained with momentum."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 10,
        "batch_size": 100,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "schedule": {"name": "constant"},
        "model": {"name": "cnn"},
        "data": {"name": "mnist"},
    }
    target: ClassVar[Mapping[str, float]] = {"val_accuracy": 0.99}
    budget: ClassVar[Mapping[str, float]] = {"epochs": 10, "minutes": 60}


@workloads.register("mnist_cnn_small")
class MnistSmallCNN(MnistCNN):
    """Fewer than half of its parameters, and more accurate."""

    defaults: ClassVar[Mapping[str, Any]] = merge(
        MnistCNN.defaults, {"model": {"name": "cnn_small"}, "schedule": {"name": "cosine"}}
    )
