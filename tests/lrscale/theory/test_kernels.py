from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core.caching import IndexDataCacheFile

from lrscale.theory.activations import CODES, activate, chain
from lrscale.theory.kernels import (
    compiled,
    multiply,
    multiply_add,
    multiply_scale_subtract,
    padded,
    transpose,
)

sizes = st.integers(1, 40)
precisions = st.sampled_from([np.float64, np.float32])


def in_corner(matrix, dtype):
    """``matrix`` in the corner of a zero-padded one."""
    matrix = np.asarray(matrix, dtype)
    place = np.zeros([padded(size, dtype) for size in matrix.shape], dtype)
    place[tuple(slice(size) for size in matrix.shape)] = matrix
    return place


def padding_is_zero(place, rows, cols):
    return not place[rows:].any() and not place[:, cols:].any()


@given(rows=sizes, inner=sizes, cols=sizes, dtype=precisions, flipped=st.booleans())
def test_products_equal_numpy_and_keep_the_padding_zero(rows, inner, cols, dtype, flipped):
    random = np.random.default_rng([rows, inner, cols])
    a, b, c = (random.normal(size=s) for s in ((rows, inner), (inner, cols), (rows, cols)))
    scale = random.normal(size=(1, cols))
    left = in_corner(a.T, dtype).T if flipped else in_corner(a, dtype)
    right, size = in_corner(b, dtype), (rows, inner, cols)
    tolerance = 40 * 40 * np.finfo(dtype).eps

    result = in_corner(np.full((rows, cols), 7.0), dtype)
    multiply(result, left, right, *size)
    np.testing.assert_allclose(result[:rows, :cols], a @ b, rtol=0, atol=tolerance)
    assert padding_is_zero(result, rows, cols)

    result = in_corner(c, dtype)
    multiply_add(result, left, right, *size, dtype(-0.3))
    np.testing.assert_allclose(result[:rows, :cols], c - 0.3 * a @ b, rtol=0, atol=tolerance)
    assert padding_is_zero(result, rows, cols)

    result = in_corner(np.zeros((rows, cols)), dtype)
    multiply_scale_subtract(
        result, left, right, *size, in_corner(scale, dtype)[0], in_corner(c, dtype)
    )
    np.testing.assert_allclose(result[:rows, :cols], a @ b * scale - c, rtol=0, atol=tolerance)
    assert padding_is_zero(result, rows, cols)


@given(rows=sizes, cols=sizes, dtype=precisions)
def test_transpose_overwrites_what_was_there(rows, cols, dtype):
    matrix = np.random.default_rng([rows, cols]).normal(size=(rows, cols)).astype(dtype)
    result = np.full((padded(cols, dtype), padded(rows, dtype)), 7, dtype)
    transpose(result, in_corner(matrix, dtype), rows, cols)
    np.testing.assert_array_equal(result[:cols, :rows], matrix.T)
    assert not result[:cols, rows:].any()


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("tanh", math.tanh),
        ("sigmoid", lambda z: 1 / (1 + math.exp(-z))),
        ("relu", lambda z: max(z, 0.0)),
    ],
)
@given(z=st.floats(-600, 600) | st.floats(-1e-3, 1e-3) | st.floats(-3, 3))
def test_activations_are_good_to_a_few_units_in_the_last_place(name, reference, z):
    values = np.array([[z]])
    activate(CODES[name], values, 1, 1)
    assert values[0, 0] == pytest.approx(reference(z), rel=2e-15, abs=1e-300)


def test_activations_at_the_extremes():
    values = np.array([[np.inf, -np.inf, np.nan, 0.0, 1e308, -1e308]])
    for name, expected in (
        ("tanh", [1, -1, np.nan, 0, 1, -1]),
        ("relu", [np.inf, 0, np.nan, 0, 1e308, 0]),
    ):
        result = values.copy()
        activate(CODES[name], result, 1, 6)
        np.testing.assert_array_equal(result[0], expected)
    activate(CODES["sigmoid"], values, 1, 6)
    np.testing.assert_allclose(values[0], [1, 0, np.nan, 0.5, 1, 0], atol=1e-300)


@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid"])
def test_chain_multiplies_by_the_derivative(name):
    z, step = np.linspace(-3, 3, 24).reshape(4, 6) + 0.01, 1e-6
    ends = [z - step, z, z + step]
    for values in ends:
        activate(CODES[name], values, 4, 6)
    delta = np.full((4, 6), 2.0)
    chain(CODES[name], delta, ends[1], 4, 6)
    np.testing.assert_allclose(delta, (ends[2] - ends[0]) / step, rtol=1e-8, atol=1e-10)


def test_without_room_what_was_compiled_is_used_and_not_kept(monkeypatch, capfd):
    def save(*_):
        raise OSError(28, "No space left on device")

    def double(x):
        return 2 * x

    monkeypatch.setattr(IndexDataCacheFile, "save", save)
    assert compiled(double)(1.5) == 3.0
    assert "No space left on device; going on without" in capfd.readouterr().err
