"""Cross-entropy and accuracy by hand."""

from __future__ import annotations

import math

import pytest
import torch

from lrscale.workloads.mnist_mlp import MnistMLP


def test_sums_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.25, 0.25]]))
    targets = torch.tensor([0, 1, 0])
    sums = MnistMLP().sums(logits, targets)
    assert sums["accuracy"].item() == 2
    expected = -math.log(0.7) - math.log(0.3) - math.log(0.5)
    assert sums["loss"].item() == pytest.approx(expected, rel=1e-6)
    assert MnistMLP().loss(logits, targets).item() == pytest.approx(expected / 3, rel=1e-6)
    assert {value.dtype for value in sums.values()} == {torch.float64}


def test_a_tie_is_decided_once() -> None:
    sums = MnistMLP().sums(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))
    assert sums["accuracy"].item() == 2
