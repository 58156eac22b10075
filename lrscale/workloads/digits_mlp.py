"""A multilayer perceptron on scikit-learn's digits: the smoke test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lrscale.registry import workloads
from lrscale.workloads.classification import Classification


@workloads.register("digits_mlp")
class DigitsMLP(Classification):
    """64-32-10 on 1,197 images of 8 × 8: a run takes a fraction of a second."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 10,
        "batch_size": 32,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "schedule": {"name": "constant"},
        "model": {"name": "mlp", "width": 32, "second_width": None},
        "data": {"name": "digits"},
    }
    target: ClassVar[Mapping[str, float]] = {"val_accuracy": 0.95}
    budget: ClassVar[Mapping[str, float]] = {"epochs": 10, "minutes": 1}
