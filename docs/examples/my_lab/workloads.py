"""Telling malignant tumours from benign ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lrscale.registry import workloads
from lrscale.workloads.classification import Classification

if TYPE_CHECKING:
    from torch import Tensor


@workloads.register("tumours")
class TumoursWorkload(Classification):
    """A residual network on 369 training samples, compared by the share of wrong answers."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 10,
        "batch_size": 32,
        "optimizer": {"name": "signum"},
        "schedule": {"name": "inverted_root"},
        "model": {"name": "residual_mlp"},
        "data": {"name": "tumours"},
    }
    metric: ClassVar[str] = "error"
    direction: ClassVar[str] = "min"
    target: ClassVar[Mapping[str, float]] = {"val_error": 0.05}
    budget: ClassVar[Mapping[str, float]] = {"epochs": 10, "minutes": 1}

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """As ``Classification.sums``, and the wrong answers."""
        wrong = (outputs.argmax(dim=1) != targets).sum().double()
        return super().sums(outputs, targets) | {"error": wrong}
