"""The exact identity that says how one step changes the balancedness."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lrscale.theory.engine import GradientDescent, StepSizes
from lrscale.theory.observables import gradient
from lrscale.theory.problem import Array, Problem


def drift_residual(
    problem: Problem, weights: Sequence[Array], increment: float = 1e-2
) -> tuple[float, float]:
    """How well one float64 step keeps D_j(k+1) − D_j(k) = η²(∇_{j+1}ᵀ∇_{j+1} − ∇_j∇_jᵀ).

    The identity is exact for linear networks: the terms in η cancel, as gradient flow conserves
    D_j. η is chosen so that the right-hand side is of the size ``increment``; at the small steps
    of the theorem both sides would vanish in rounding and a wrong sign would pass.

    Args:
        problem, weights: in the engine's coordinates.

    Returns:
        The largest ‖left − right‖ over j, and the largest ‖right‖ (spectral norms).
    """
    slopes = gradient(problem, weights)
    predicted = [upper.T @ upper - lower @ lower.T for lower, upper in pairwise(slopes)]
    size = max(float(np.linalg.norm(p, 2)) for p in predicted)
    if size == 0:  # a critical point
        return 0.0, 0.0
    eta = (increment / size) ** 0.5
    descent = GradientDescent(problem, weights, StepSizes(eta))
    descent.advance(1)
    residual = max(
        float(np.linalg.norm(after - before - eta**2 * p, 2))
        for after, before, p in zip(
            _imbalance(descent.weights), _imbalance(weights), predicted, strict=True
        )
    )
    return residual, eta**2 * size


def _imbalance(weights: Sequence[Array]) -> list[Array]:
    return [upper.T @ upper - lower @ lower.T for lower, upper in pairwise(weights)]
