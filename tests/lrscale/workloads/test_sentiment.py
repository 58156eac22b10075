"""F1 of the positive class."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from lrscale.workloads.imdb_lstm import ImdbLSTM


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_f1_is_scikit_learns_however_the_split_was_cut_up(share: float) -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(50, 2), (torch.rand(50) < share).long()
    workload = ImdbLSTM()
    parts = [workload.sums(outputs[a:b], targets[a:b]) for a, b in ((0, 7), (7, 30), (30, 50))]
    sums = {name: sum(part[name].item() for part in parts) for name in parts[0]}
    found = workload.metrics(sums, 50)
    assert set(found) == {"loss", "accuracy", "f1"}
    guessed = outputs.argmax(dim=1)
    assert found["f1"] == pytest.approx(f1_score(targets, guessed), rel=1e-12)
    assert found["accuracy"] == accuracy_score(targets, guessed)


def test_f1_where_nothing_is_positive() -> None:
    outputs, targets = torch.tensor([[1.0, 0.0]] * 3), torch.zeros(3, dtype=torch.int64)
    workload = ImdbLSTM()
    sums = {name: value.item() for name, value in workload.sums(outputs, targets).items()}
    assert workload.metrics(sums, 3)["f1"] == 0
    assert workload.metrics(sums, 3)["accuracy"] == 1
