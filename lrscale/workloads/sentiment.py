"""What the workloads of two classes share: F1 beside accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from lrscale.workloads.classification import Classification

if TYPE_CHECKING:
    from torch import Tensor


class Sentiment(Classification):
    """Negative (0) or positive (1)."""

    also: ClassVar[tuple[str, ...]] = ("f1",)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """As ``Classification.sums``, and the true and false positives and false negatives."""
        guessed, true = outputs.argmax(dim=1) == 1, targets == 1
        return super().sums(outputs, targets) | {
            "true_positives": (guessed & true).sum().double(),
            "false_positives": (guessed & ~true).sum().double(),
            "false_negatives": (~guessed & true).sum().double(),
        }

    def metrics(self, sums: Mapping[str, float], examples: int) -> dict[str, float]:
        """Mean loss, accuracy, and F1 = 2TP / (2TP + FP + FN) of the positive class.

        F1 is 0 where there is nothing positive and nothing was taken for it.
        """
        hits = 2 * sums["true_positives"]
        misses = sums["false_positives"] + sums["false_negatives"]
        return {
            "loss": sums["loss"] / examples,
            "accuracy": sums["accuracy"] / examples,
            "f1": hits / (hits + misses) if hits + misses else 0.0,
        }
