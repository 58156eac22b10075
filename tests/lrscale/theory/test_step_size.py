from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscale.errors import UserError
from lrscale.theory.bounds import best_bound, constants
from lrscale.theory.engine import StepSizes
from lrscale.theory.problem import Problem
from lrscale.theory.step_size import end_state, resolve, scan
from lrscale.workloads.gd import BoundStep, ConstantStep, DecreasingStep, EdgeStep


def scalar(start):
    """½(w_2w_1 − 1)²: its balanced minimum has the sharpness 2, the least of all."""
    one = np.array([[1.0]])
    return Problem(one, one, (1, 1, 1), ("linear", "linear")), [start * one, start * one]


def test_rules(random_problem):
    problem, weights = random_problem((5, 4, 6), 12)
    bound = best_bound(constants(problem, weights)).eta
    assert resolve(ConstantStep(0.25), problem, weights) == (StepSizes(0.25), None)
    assert resolve(BoundStep(0.5), problem, weights)[0] == StepSizes(0.5 * bound)
    assert resolve(DecreasingStep(0.5, factor=2), problem, weights)[0] == StepSizes(2 * bound, 0.5)
    (steps, _) = resolve(DecreasingStep(0.5, eta_max=0.1), problem, weights)
    assert [steps.at(k) for k in (0, 3, 99)] == pytest.approx([0.1, 0.05, 0.01])
    tighter, _ = resolve(BoundStep(alpha=0.9), problem, weights)
    assert 0 < tighter.eta_max < bound


def test_three_end_states():
    """Above 2/2 = 1 no minimum is stable; far above, the iterates leave."""
    problem, weights = scalar(0.8)
    states = [end_state(problem, weights, eta, 2000, "float64") for eta in (0.01, 0.9, 1.1, 30.0)]
    assert states == ["converged", "converged", "oscillating", "diverged"]


def test_edge_of_the_scalar_problem():
    problem, weights = scalar(0.8)
    steps, bracket = resolve(EdgeStep(factor=0.5, resolution=1.02), problem, weights)
    assert bracket is not None
    assert 0.97 < bracket.converges <= 1.0 < bracket.fails < 1.03
    assert bracket.fails / bracket.converges == pytest.approx(1.02)
    assert steps == StepSizes(0.5 * bracket.converges)
    assert bracket.diverges > bracket.fails
    assert [eta for eta, _ in bracket.trials] == sorted(eta for eta, _ in bracket.trials)


@given(
    border=st.floats(1e-6, 1e6),
    guess=st.floats(1e-3, 1e3),
    resolution=st.floats(1.01, 2),
    hole=st.floats(0.3, 0.99),
)
def test_scan_finds_the_border_wherever_it_is(border, guess, resolution, hole):
    def trial(eta):
        return "converged" if eta <= border else "diverged"

    bracket = scan(trial, guess, resolution)
    assert bracket.converges <= border < bracket.fails
    assert bracket.fails / bracket.converges == pytest.approx(resolution)
    assert bracket.greatest == bracket.converges
    assert bracket.diverges == bracket.fails


def test_scan_reports_a_ragged_border():
    def trial(eta):
        return "converged" if eta < 1.0 or 1.3 < eta < 1.5 else "oscillating"

    bracket = scan(trial, 0.9, 1.05)
    assert bracket.converges < 1.0 <= bracket.fails < 1.05
    assert 1.3 < bracket.greatest < 1.5
    assert np.isnan(bracket.diverges)


def test_scan_without_a_converging_step():
    with pytest.raises(UserError, match="no step that converges"):
        scan(lambda eta: "oscillating", 1.0, 1.5)


def test_scan_ends_where_every_step_converges():
    with pytest.raises(UserError, match="from which on none"):
        scan(lambda eta: "converged", 1.0, 1.5)


def test_dead_units_have_not_converged():
    """One huge step makes every relu unit negative for good: the gradient is zero ever after."""
    inputs = np.ones((1, 1))
    problem = Problem(inputs, np.ones((1, 1)), (1, 1, 1), ("relu", "relu"))
    weights = [np.full((1, 1), 2.0), np.full((1, 1), 2.0)]
    assert end_state(problem, weights, 10.0, 300, np.float64) == "oscillating"
    assert end_state(problem, weights, 0.01, 3000, np.float64) == "converged"
