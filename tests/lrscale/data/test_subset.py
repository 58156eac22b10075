"""A subset of the training examples: the same examples, drawn and augmented as in the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrscale.data.images import AugmentedImages
from lrscale.data.source import InMemory, Source
from lrscale.data.subset import Subset
from lrscale.errors import UserError

CPU = torch.device("cpu")


def whole(size: int = 10) -> AugmentedImages:
    pictures = np.random.default_rng(0).integers(256, size=(size, 12, 12, 3), dtype=np.uint8)
    labels = np.arange(size, dtype=np.uint8)
    splits = dict.fromkeys(("train", "val", "test"), (pictures, labels))
    return AugmentedImages("some", splits, size, CPU, (0.5,) * 3, (0.2,) * 3, True)  # type: ignore[arg-type]


def test_examples_are_those_of_the_whole_evenly_spread() -> None:
    source = whole()
    subset = Subset(source, 4)
    assert (subset.size("train"), subset.size("val"), subset.size("test")) == (4, 10, 10)
    assert subset.title == "some, 4 of 10 training examples"
    assert (subset.input_shape, subset.classes) == (source.input_shape, source.classes)
    for key in (None, (3, 1)):
        ((inputs, targets),) = subset.batches("train", [torch.arange(4)], key)
        assert targets.tolist() == [0, 2, 5, 7]
        ((expected, _),) = source.batches("train", [targets], key)
        torch.testing.assert_close(inputs, expected, rtol=0, atol=0)
    ((inputs, targets),) = subset.batches("val", [torch.tensor([9, 1])], None)
    assert targets.tolist() == [9, 1]


def test_the_rest_is_the_whole_s() -> None:
    source = whole()
    assert not hasattr(Subset(source, 4), "lengths")
    assert not hasattr(Subset(source, 4), "waited")
    source.waited, source.lengths = 2.5, lambda split: torch.arange(10) ** 2  # type: ignore[attr-defined]
    subset = Subset(source, 4)
    assert subset.waited == 2.5
    assert subset.lengths("train").tolist() == [0, 4, 25, 49]
    assert len(subset.lengths("test")) == 10


def test_more_than_there_are_is_refused() -> None:
    arrays = (np.zeros((3, 2), dtype=np.float32), np.zeros(3))
    splits = dict.fromkeys(("train", "val", "test"), arrays)
    source: Source = InMemory("three", splits, 2, CPU)  # type: ignore[arg-type]
    assert Subset(source, 3).size("train") == 3
    with pytest.raises(UserError, match="train_examples: 4 of 3"):
        Subset(source, 4)
