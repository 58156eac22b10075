from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscale.config import decode
from lrscale.errors import UserError
from lrscale.theory.bounds import Constants, best_bound, constants, saddle_levels
from lrscale.theory.engine import GradientDescent, StepSizes, engine_coordinates
from lrscale.theory.observables import gradient, loss
from lrscale.theory.problem import make_problem
from lrscale.theory.starts import imbalances, make_start

known = st.builds(
    Constants,
    depth=st.integers(2, 8),
    initial_loss=st.floats(1e-6, 1e4),
    input_norm=st.floats(1, 100),
    input_least=st.floats(0.01, 1),
    target_norm=st.floats(0, 100),
    imbalance=st.sampled_from([0.0, 0.01, 3.0]),
)


def reconstruction(depth, seed=0):
    config = decode({"workload": "gd", "depth": depth, "seed": seed})
    return make_problem(config), make_start(config)


def test_constants_written_out():
    c = Constants(3, 2.0, 5.0, 0.5, 4.0, 0.0)
    m = (math.sqrt(2 * 2.0) + 4.0) / 0.5
    k = m ** (2 / 3) + 16 * 0.1
    b = 2 * math.e * 3 * k**2 * 25 + math.sqrt(math.e) * 3 * k**0.5 * 5 * 4
    assert c.weight_bound(0.1) == pytest.approx(k)
    assert c.curvature_bound(0.1) == pytest.approx(b)
    assert c.step_bound(0.1, 0.25) == pytest.approx(2 * 0.75 * 0.1 / (4 * 2.0 + 0.75 * 0.1 * b))


@given(c=known, alpha=st.none() | st.floats(0.01, 0.99), other=st.floats(1e-6, 1e3))
def test_no_delta_has_a_greater_bound(c, alpha, other):
    best = best_bound(c, alpha)
    assert c.imbalance <= best.alpha * best.delta * (1 + 1e-9)
    assert best.eta == pytest.approx(c.step_bound(best.delta, best.alpha))
    delta = other + (c.imbalance / alpha if alpha else c.imbalance)
    assert best_bound(c, alpha, delta).eta <= best.eta * (1 + 1e-9)


@given(c=known, delta=st.floats(4, 100), alpha=st.floats(0.8, 0.99))
def test_the_least_alpha_is_the_best(c, delta, alpha):
    assert best_bound(c, None, delta).eta >= best_bound(c, alpha, delta).eta * (1 - 1e-12)


def test_start_not_balanced_enough():
    c = Constants(2, 1.0, 1.0, 1.0, 1.0, imbalance=0.5)
    with pytest.raises(UserError, match=r"‖D_j\(0\)‖ = 0.5 where alpha 0 needs 0"):
        best_bound(c, alpha=0.0)
    with pytest.raises(UserError, match=r"‖D_j\(0\)‖ = 0.5 is above alpha · delta = 0.3"):
        best_bound(c, alpha=0.3, delta=1.0)
    with pytest.raises(UserError, match=r"not balanced enough"):
        best_bound(c, delta=0.5)
    assert best_bound(c, delta=1.0).alpha == 0.5


def test_rank_deficient_input(random_problem):
    problem, weights = random_problem((9, 4, 9), 5)
    with pytest.raises(UserError, match="needs XXᵀ of full rank, but it has rank 5 of 9"):
        constants(problem, weights)


def test_exact_balance_is_recognised_through_rounding():
    for depth in (2, 3, 5):
        assert constants(*reconstruction(depth)).imbalance == 0.0


@pytest.mark.parametrize(("depth", "eta"), [(2, 7.0e-4), (3, 1.37e-4), (5, 2.6e-5)])
def test_published_step_sizes_and_initial_losses(depth, eta):
    for seed in range(3):
        c = constants(*reconstruction(depth, seed))
        assert 100 < c.initial_loss < 111
        assert best_bound(c).eta == pytest.approx(eta, rel=0.05)


@settings(max_examples=25)
@given(
    depth=st.integers(2, 4),
    hidden=st.integers(1, 6),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
)
def test_the_theorem_holds_along_the_path(depth, hidden, seed, scale, random_problem):
    """At the bound: ‖W_j‖² ≤ K_δ and ‖D_j‖ ≤ δ, and the loss never rises."""
    problem, weights = random_problem((6, *(hidden,) * (depth - 1), 5), 12, seed)
    weights = [scale * w for w in weights]
    bound = best_bound(constants(problem, weights))
    descent = GradientDescent(*engine_coordinates(problem, weights), StepSizes(bound.eta))
    before = math.inf
    for _ in range(20):
        descent.advance(50)
        assert max(np.linalg.norm(w, 2) for w in descent.weights) ** 2 <= bound.weight_bound
        assert max(imbalances(descent.weights)) <= bound.delta
        now = loss(descent.problem, descent.weights)
        assert now <= before
        before = now


def test_saddle_levels_are_losses_of_critical_points(random_problem):
    """Balanced factors of Q's leading modes are stationary, at the levels predicted."""
    problem, _ = random_problem((6, 4, 5), 20, seed=3)
    compressed, _ = engine_coordinates(problem, [np.eye(4, 6), np.eye(5, 4)])
    scale = np.diagonal(compressed.inputs)
    left, values, right = np.linalg.svd(compressed.targets)
    levels = saddle_levels(problem)
    assert len(levels) == 5
    for modes in range(5):
        # W = U Σ_k Vᵀ Λ^{-1/2} is stationary when split as (U) (Σ_k Vᵀ Λ^{-1/2})
        upper = np.zeros((5, 4))
        upper[:, :modes] = left[:, :modes]
        lower = np.zeros((4, 6))
        lower[:modes] = values[:modes, None] * right[:modes] / scale
        assert loss(compressed, [lower, upper]) == pytest.approx(levels[modes], rel=1e-12)
        assert max(np.abs(g).max() for g in gradient(compressed, [lower, upper])) < 1e-13
        subsets = combinations(values, len(values) - modes)
        floor = compressed.floor
        assert levels[modes] == pytest.approx(min(0.5 * sum(np.square(s)) for s in subsets) + floor)


def test_plateau_of_a_noise_free_target():
    problem, _ = reconstruction(5)
    values = np.linalg.svd(engine_coordinates(problem, make_weights(problem))[0].targets)[1]
    levels = saddle_levels(problem)
    assert levels[-1] < 1e-25
    assert levels[-2] == pytest.approx(0.5 * values[34] ** 2)
    assert levels[-2] == pytest.approx(0.587, abs=0.06)


def make_weights(problem):
    return [np.zeros(s) for s in zip(problem.widths[1:], problem.widths[:-1], strict=True)]
