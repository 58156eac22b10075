"""Batches in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrscale.data.source import InMemory


@pytest.fixture
def source() -> InMemory:
    inputs = np.arange(10 * 6, dtype=np.float32).reshape(10, 1, 2, 3)
    labels = np.arange(10, dtype=np.int64) % 3
    splits = {
        "train": (inputs[:6], labels[:6]),
        "val": (inputs[6:8], labels[6:8]),
        "test": (inputs[8:], labels[8:]),
    }
    return InMemory("ten", splits, classes=3, device=torch.device("cpu"))  # type: ignore[arg-type]


def test_shapes_and_sizes(source: InMemory) -> None:
    assert source.input_shape == (1, 2, 3)
    assert [source.size(split) for split in ("train", "val", "test")] == [6, 2, 2]


def test_a_batch_is_what_its_indices_say(source: InMemory) -> None:
    indices = [torch.tensor([5, 0]), torch.tensor([2, 2, 4]), torch.tensor([], dtype=torch.int64)]
    batches = list(source.batches("train", indices, (0, 3)))
    assert [inputs[:, 0, 0, 0].tolist() for inputs, _ in batches] == [[30, 0], [12, 12, 24], []]
    assert [targets.tolist() for _, targets in batches] == [[2, 0], [2, 2, 1], []]


def test_batches_are_drawn_one_by_one(source: InMemory) -> None:
    """An endless order is fine: nothing is read ahead."""

    def endless():  # type: ignore[no-untyped-def]
        while True:
            yield torch.tensor([1])

    batches = source.batches("val", endless(), None)
    assert [next(batches)[1].item() for _ in range(3)] == [1, 1, 1]


def test_a_batch_does_not_alias_the_data(source: InMemory) -> None:
    inputs, _ = next(source.batches("train", [torch.arange(6)], None))
    inputs.zero_()
    again, _ = next(source.batches("train", [torch.arange(6)], None))
    assert again.sum() > 0
