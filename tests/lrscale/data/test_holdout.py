"""Validation and test are apart from training by a fixed, stratified rule."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lrscale.data.arrays import fingerprint, holdout, normalise, three_way

labelled = arrays(np.uint8, st.integers(1, 300), elements=st.integers(0, 9))


@given(labelled, st.data())
def test_exactly_the_size_and_every_class_its_share(labels: Any, data: Any) -> None:
    size = data.draw(st.integers(0, len(labels)))
    held = holdout(labels, size)
    assert held.sum() == size
    for label in np.unique(labels):
        share = size * (labels == label).sum() / len(labels)
        assert abs(held[labels == label].sum() - share) < 1


@given(labelled, st.data())
def test_more_held_out_keeps_what_was(labels: Any, data: Any) -> None:
    """Within a class: the rule is an order, and the size says how far to go."""
    few, many = sorted(data.draw(st.tuples(*[st.integers(0, len(labels))] * 2)))
    small, large = holdout(labels, few), holdout(labels, many)
    for label in np.unique(labels):
        members = labels == label
        if small[members].sum() <= large[members].sum():
            assert (small[members] <= large[members]).all()


def test_the_rule_is_the_same_for_ever() -> None:
    """Another rule would silently compare old results with new ones on other images."""
    labels = np.repeat(np.arange(10), 500)
    held = np.flatnonzero(holdout(labels, 500))
    assert held[:5].tolist() == [2, 4, 32, 33, 41]
    assert hashlib.sha256(held.astype("<i8").tobytes()).hexdigest()[:12] == "752f6a8ac35b"


def test_held_out_examples_are_spread_over_the_data() -> None:
    held = np.flatnonzero(holdout(np.zeros(10_000, dtype=int), 1_000))
    counts, _ = np.histogram(held, bins=10, range=(0, 10_000))
    assert counts.min() > 60


def test_three_way_is_a_partition_whose_test_is_fixed() -> None:
    labels = np.arange(200) % 4
    inputs = np.arange(200)
    small, large = three_way((inputs, labels), 20, 40), three_way((inputs, labels), 60, 40)
    assert (small["test"][0] == large["test"][0]).all()
    for splits in (small, large):
        everything = np.concatenate([splits[name][0] for name in ("train", "val", "test")])
        assert sorted(everything) == list(range(200))


def test_normalise() -> None:
    images = np.array([[[0, 255]]], dtype=np.uint8)
    inputs, labels = normalise({"train": (images, np.array([3]))}, 255, 0.25, 0.5)["train"]
    assert inputs.shape == (1, 1, 1, 2)
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs.ravel(), [-0.5, 1.5], rtol=1e-6)
    assert labels.dtype == np.int64


def test_fingerprint_depends_on_values_shape_and_type() -> None:
    a = np.arange(6, dtype=np.uint8)
    different = [a, a.reshape(2, 3), a.astype(np.int16), a[::-1], a[:5]]
    assert len({fingerprint(x) for x in different}) == len(different)
    assert fingerprint(a[::-1]) == fingerprint(a[::-1].copy())
