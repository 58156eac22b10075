"""What the published figures show, where it takes seconds: see docs for the million epochs.

Steps of 50 times the bound still follow gradient flow closely here, 50 times as fast.
"""

from __future__ import annotations

import numpy as np
import pytest

from lrscale.config import decode
from lrscale.theory.engine import GradientDescent, StepSizes
from lrscale.theory.observables import loss
from lrscale.theory.setting import new_setting


def at_the_bound(depth, seed, times=1.0):
    step = {"name": "bound", "factor": times}
    setting = new_setting(
        decode({"workload": "gd", "depth": depth, "seed": seed, "step_size": step})
    )
    return setting, GradientDescent(setting.problem, setting.weights, setting.step_sizes)


def test_two_layers_over_a_thousand_epochs():
    """By eye in the figures: loss 12 at 10³, least norm of the product .961 at about 120."""
    losses, norms, epochs = [], [], []
    for seed in range(5):
        setting, descent = at_the_bound(2, seed)
        seen = []
        for _ in range(40):
            descent.advance(10)
            seen.append(np.linalg.norm(descent.weights[1] @ descent.weights[0], 2))
        descent.advance(600)
        losses.append(loss(setting.problem, descent.weights))
        norms.append(min(seen))
        epochs.append(10 * int(np.argmin(seen)) + 10)
    assert min(losses) - 0.5 < 12 < max(losses) + 0.5
    assert max(losses) - min(losses) < 3
    assert min(norms) < 0.961 < max(norms)
    assert 60 < min(epochs) < 120 < max(epochs) < 250


@pytest.mark.parametrize("depth", [2, 3])
def test_float64_floor_is_far_below_the_published_one(depth):
    setting, descent = at_the_bound(depth, seed=0, times=50)
    descent.advance(20_000)
    assert loss(setting.problem, descent.weights) < 1e-20


def test_plateau_of_depth_five_lies_at_the_predicted_level():
    """½σ_r², the last mode missing. When it ends depends on the seed; in the figure, at 6e5."""
    setting, descent = at_the_bound(5, seed=4, times=50)
    level = setting.theory["saddle_levels"][-2]
    descent.advance(11_000)
    before = loss(setting.problem, descent.weights)
    descent.advance(3_000)
    after = loss(setting.problem, descent.weights)
    assert level < after < before < 1.07 * level


def test_a_bound_this_loose_is_no_edge():
    """GD converges at 150 times the bound for N = 2 and diverges at 300 times."""
    setting, descent = at_the_bound(2, seed=0, times=150)
    descent.advance(3000)
    assert loss(setting.problem, descent.weights) < 1e-6
    _, descent = at_the_bound(2, seed=0, times=300)
    descent.advance(3000)
    assert descent.diverged is not None
    assert descent.step_sizes == StepSizes(300 * setting.theory["bound"])
