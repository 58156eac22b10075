from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscale.theory.bounds import best_bound, constants
from lrscale.theory.engine import GradientDescent, StepSizes, engine_coordinates
from lrscale.theory.observables import gradient, loss
from lrscale.theory.problem import Problem, compress, orthonormal

shapes = st.tuples(
    st.lists(st.integers(1, 13), min_size=3, max_size=6).map(tuple),  # widths
    st.integers(0, 20),  # samples beyond the input's dimensions
    st.integers(0, 10**6),  # seed
)


def bounded_step(problem, weights):
    return best_bound(constants(problem, weights)).eta


def relative(found, expected):
    return max(
        np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, expected, strict=True)
    )


def descend_linear(problem, weights, eta, steps, **options):
    """The engine's weights after some steps, in the coordinates they were given in."""
    descent = GradientDescent(*engine_coordinates(problem, weights), StepSizes(eta), **options)
    descent.advance(steps)
    first, *others = descent.weights
    return [first @ compress(problem)[1].T, *others]


@settings(max_examples=40)
@given(shape=shapes)
def test_linear_steps_equal_the_plain_loop(shape, random_problem, plain_descent):
    widths, more, seed = shape
    problem, weights = random_problem(widths, widths[0] + more, seed)
    eta = bounded_step(problem, weights)
    found = descend_linear(problem, weights, eta, 100)
    assert relative(found, plain_descent(problem, weights, lambda k: eta, 100)) < 1e-10


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_ten_thousand_steps_at_the_bound(depth, random_problem, plain_descent):
    problem, weights = random_problem((14, *(7,) * (depth - 1), 14), 42, seed=depth)
    eta = bounded_step(problem, weights)
    found = descend_linear(problem, weights, eta, 10_000)
    assert relative(found, plain_descent(problem, weights, lambda k: eta, 10_000)) < 1e-10


@settings(max_examples=40)
@given(
    shape=shapes,
    name=st.sampled_from(["tanh", "relu", "sigmoid"]),
    at=st.sampled_from(["hidden", "output", "both"]),
)
def test_nonlinear_steps_equal_the_plain_loop(shape, name, at, random_problem, plain_descent):
    widths, samples, seed = shape
    hidden = name if at != "output" else "linear"
    output = name if at != "hidden" else "linear"
    problem, weights = random_problem(widths, samples + 1, seed, hidden, output)
    descent = GradientDescent(problem, weights, StepSizes(1e-2, 0.5))
    descent.advance(50)
    expected = plain_descent(problem, weights, lambda k: 1e-2 * (k + 1) ** -0.5, 50)
    assert relative(descent.weights, expected) < 1e-10
    assert not descent._weights[:, max(widths) :].any()  # the padding stays clean


def test_fewer_samples_than_dimensions(random_problem, plain_descent):
    problem, weights = random_problem((9, 4, 6), 5)
    found = descend_linear(problem, weights, 1e-2, 300)
    assert relative(found, plain_descent(problem, weights, lambda k: 1e-2, 300)) < 1e-10


def test_float32_follows_to_its_precision(random_problem, plain_descent):
    for activation in ("linear", "tanh"):
        problem, weights = random_problem((9, 5, 5, 6), 20, 0, activation, activation)
        expected = plain_descent(problem, weights, lambda k: 1e-2, 300)
        if activation == "linear":
            found = descend_linear(problem, weights, 1e-2, 300, dtype="float32")
        else:
            descent = GradientDescent(problem, weights, StepSizes(1e-2), "float32")
            descent.advance(300)
            found = descent.weights
        assert found[1].dtype == np.float32
        assert 1e-9 < relative(found, expected) < 1e-4


@given(
    cuts=st.lists(st.integers(1, 2500), max_size=4), dtype=st.sampled_from(["float64", "float32"])
)
@settings(max_examples=10)
def test_the_cut_into_blocks_leaves_no_trace(cuts, dtype, random_problem):
    for activation in ("linear", "tanh"):
        problem, weights = random_problem((6, 5, 4, 3, 6), 20, 1, activation, activation)
        problem, weights = engine_coordinates(problem, weights)
        steps = StepSizes(1e-2, 0.3)
        whole = GradientDescent(problem, weights, steps, dtype)
        whole.advance(3000)
        part = GradientDescent(problem, weights, steps, dtype)
        for cut in sorted(cuts):
            part.advance(cut - part.epoch)
            part = GradientDescent(problem, part.weights, steps, dtype, part.epoch)
        part.advance(3000 - part.epoch)
        assert part.epoch == whole.epoch == 3000
        for a, b in zip(part.weights, whole.weights, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cuts", [[100_000], [1] * 30, [7] * 10])
@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_divergence_is_recorded_with_its_epoch(activation, cuts, random_problem, plain_descent):
    problem, weights = random_problem((6, 5, 6), 20, 2, activation, "linear")
    descent = GradientDescent(*engine_coordinates(problem, weights), StepSizes(2.0))
    for cut in cuts:
        descent.advance(cut)
    assert descent.diverged == descent.epoch
    before = plain_descent(problem, weights, lambda k: 2.0, descent.epoch - 1)
    after = plain_descent(problem, weights, lambda k: 2.0, descent.epoch)
    with np.errstate(all="ignore"):
        assert np.isfinite(loss(problem, before))
        assert not np.isfinite(loss(problem, after))


def test_scalar_problem_follows_its_recursion():
    """N = 2, one weight each, x = 2, y = 3: a ← a − ηb(4ab − 6), b ← b − ηa(4ab − 6)."""
    problem = Problem(np.array([[2.0]]), np.array([[3.0]]), (1, 1, 1), ("linear", "linear"))
    descent = GradientDescent(
        *engine_coordinates(problem, [np.array([[0.3]]), np.array([[-0.2]])]), StepSizes(0.02)
    )
    a, b = 0.3, -0.2
    signs = np.sign(descent.weights[0][0, 0])  # the eigenbasis of a scalar is ±1
    for _ in range(500):
        a, b = a - 0.02 * b * (4 * a * b - 6), b - 0.02 * a * (4 * a * b - 6)
    descent.advance(500)
    assert signs * descent.weights[0][0, 0] == pytest.approx(a, rel=1e-12)
    assert descent.weights[1][0, 0] == pytest.approx(b, rel=1e-12)
    assert a * b == pytest.approx(1.5, rel=1e-9)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_aligned_spectral_start_decouples_into_scalars(depth):
    """With W_j = U_j diag(s) U_{j−1}ᵀ in the singular bases of Y X⁺ and X, each mode is alone:
    s ← s − η s^{N−1} λ(s^N − t), λ an eigenvalue of XXᵀ and t of W*."""
    random = np.random.default_rng(depth)
    size, samples, eta = 6, 9, 5e-3
    left, basis = orthonormal(size, size, random), orthonormal(size, size, random)
    spectrum, target = random.uniform(0.5, 2, size), random.uniform(0.2, 1.5, size)
    inputs = basis * np.sqrt(spectrum) @ orthonormal(samples, size, random).T
    problem = Problem(
        inputs, (left * target) @ basis.T @ inputs, (size,) * (depth + 1), ("linear",) * depth
    )
    modes = random.uniform(0.5, 1.2, size)
    frames = [basis, *(orthonormal(size, size, random) for _ in range(depth - 1)), left]
    weights = [(upper * modes) @ lower.T for lower, upper in pairwise(frames)]
    found = descend_linear(problem, weights, eta, 2000)
    for _ in range(2000):
        modes = modes - eta * modes ** (depth - 1) * spectrum * (modes**depth - target)
    expected = [(upper * modes) @ lower.T for lower, upper in pairwise(frames)]
    assert relative(found, expected) < 1e-11


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_drift_identity_over_one_step(depth, random_problem):
    """D_j(k + 1) − D_j(k) = η²(∇_{j+1}ᵀ∇_{j+1} − ∇_j∇_jᵀ), exactly; of either sign it is not."""
    problem, weights = random_problem((8, *(6,) * (depth - 1), 8), 24, seed=depth)
    eta = 0.05
    found = descend_linear(problem, weights, eta, 1)
    slopes = gradient(problem, weights)
    for j in range(depth - 1):
        before, after = (w[j + 1].T @ w[j + 1] - w[j] @ w[j].T for w in (weights, found))
        predicted = eta**2 * (slopes[j + 1].T @ slopes[j + 1] - slopes[j] @ slopes[j].T)
        assert np.linalg.norm(predicted, 2) > 1e-3
        assert np.linalg.norm(after - before - predicted, 2) < 1e-13
        assert np.linalg.norm(after - before + predicted, 2) > 1e-3


def test_floor_is_where_a_step_changes_no_bit(random_problem):
    problem, weights = random_problem((3, 3, 3), 9, noise=0.0)
    descent = GradientDescent(*engine_coordinates(problem, weights), StepSizes(0.1), "float32")
    assert not descent.at_floor()
    assert descent.epoch == 0
    descent.advance(200_000)
    assert descent.at_floor()
    weights = descent.weights
    descent.advance(1000)
    for a, b in zip(weights, descent.weights, strict=True):
        np.testing.assert_array_equal(a, b)
