"""What every classification workload shares: cross-entropy, and accuracy as the metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from lrscale.train_config import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor


class Classification:
    """One label per example, among classes of equal cost.

    Attributes:
        label_smoothing: of the run's configuration, for the loss.
    """

    schema: ClassVar[type[Any]] = TrainConfig
    runner: ClassVar[str] = "lrscale.train"
    likelihood: ClassVar[str] = "categorical"
    label_smoothing: float = 0.0
    defaults: ClassVar[Mapping[str, Any]]
    metric: ClassVar[str] = "accuracy"
    direction: ClassVar[str] = "max"
    target: ClassVar[Mapping[str, float]]
    budget: ClassVar[Mapping[str, float]]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of logits (batch, classes) and labels (batch,), in nats; the labels
        smoothed."""
        return self._cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    @cached_property
    def _cross_entropy(self) -> Callable[..., Tensor]:
        """Imported at its first use, for names and defaults are read without torch; and once, since
        ``loss`` is called at each step."""
        from torch.nn.functional import cross_entropy

        return cross_entropy

    def answers(self, outputs: Tensor) -> Tensor:
        """The class that each row of logits (batch, classes) speaks for: int64 (batch,)."""
        return outputs.argmax(dim=1)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Sums over the batch, 0-dimensional float64: cross-entropy, and correct answers.

        In float64, so that the mean over a split does not depend on how it was cut up.
        """
        losses = self._cross_entropy(outputs, targets, reduction="none")
        return {
            "loss": losses.double().sum(),
            "accuracy": (self.answers(outputs) == targets).sum().double(),
        }
