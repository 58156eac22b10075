from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscale.config import decode
from lrscale.errors import UserError
from lrscale.theory.starts import imbalances, make_start


def start_of(start, **fields):
    return make_start(decode({"workload": "gd", "dim": 8, "rank": 4, "start": start, **fields}))


@given(
    depth=st.integers(2, 5),
    hidden=st.integers(4, 12),
    outputs=st.integers(4, 12),
    values=st.lists(st.floats(0, 3), min_size=1, max_size=4),
)
def test_balanced_start_is_balanced_with_the_given_singular_values(depth, hidden, outputs, values):
    weights = start_of(
        {"name": "balanced", "singular_values": values},
        depth=depth, hidden=hidden, output_dim=outputs,
    )  # fmt: skip
    assert [w.shape[0] for w in weights] == [hidden] * (depth - 1) + [outputs]
    assert max(imbalances(weights)) < 1e-13
    for weight in weights:
        found = np.linalg.svd(weight, compute_uv=False)
        np.testing.assert_allclose(found[: len(values)], sorted(values)[::-1], atol=1e-13)
        assert (found[len(values) :] < 1e-13).all()


def test_one_singular_value_stands_for_all():
    for weight in start_of({"name": "balanced", "singular_values": 0.7}, depth=3):
        np.testing.assert_allclose(np.linalg.svd(weight, compute_uv=False), [0.7] * 4)


def test_more_singular_values_than_room():
    with pytest.raises(UserError, match="5 values, but the narrowest layer has room for 4"):
        start_of({"name": "balanced", "singular_values": [1] * 5})


@given(depth=st.integers(2, 5), alpha=st.floats(0.01, 0.99), delta=st.floats(1e-3, 10))
def test_perturbed_start_has_the_imbalance_asked_for(depth, alpha, delta):
    weights = start_of({"name": "perturbed", "alpha": alpha, "delta": delta}, depth=depth)
    assert max(imbalances(weights)) == pytest.approx(alpha * delta, rel=1e-9)


def test_perturbation_of_nothing_is_the_balanced_start():
    balanced = start_of({"name": "balanced"})
    perturbed = start_of({"name": "perturbed", "alpha": 0, "delta": 1})
    for a, b in zip(balanced, perturbed, strict=True):
        np.testing.assert_array_equal(a, b)


def test_gaussian_and_identity():
    (first, _) = start_of({"name": "gaussian", "scale": 0.1}, dim=60, rank=50)
    assert first.std() == pytest.approx(0.1, rel=0.05)
    first, second = start_of({"name": "identity", "scale": 2})
    np.testing.assert_array_equal(first, 2 * np.eye(4, 8))
    np.testing.assert_array_equal(second, 2 * np.eye(8, 4))


def test_imbalances_are_spectral_norms():
    lower, upper = np.diag([2.0, 1.0]), np.diag([1.0, 3.0])
    assert imbalances([lower, upper]) == [8.0]
