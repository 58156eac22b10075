"""Where gradient descent starts, and how balanced that is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq

from lrscale.errors import UserError
from lrscale.theory.problem import START, Array, orthonormal
from lrscale.workloads.gd import (
    BalancedStart,
    GaussianStart,
    GDConfig,
    IdentityStart,
    PerturbedStart,
)


def make_start(config: GDConfig) -> list[Array]:
    """W_1(0), …, W_N(0): a function of the start, the widths and the seed.

    Raises:
        UserError: more singular values than the narrowest layer has, or an imbalance that no
            perturbation of this start reaches.
    """
    random = np.random.default_rng([config.seed, START])
    start, widths = config.start, config.widths
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    if isinstance(start, GaussianStart):
        return [start.scale * random.normal(size=shape) for shape in shapes]
    if isinstance(start, IdentityStart):
        return [start.scale * np.eye(*shape) for shape in shapes]
    if isinstance(start, BalancedStart):
        return balanced(widths, start.singular_values, random)
    assert isinstance(start, PerturbedStart)
    weights = balanced(widths, start.singular_values, random)
    directions = [random.normal(size=shape) / np.sqrt(max(shape)) for shape in shapes]
    return perturbed(weights, directions, start.alpha * start.delta)


def balanced(
    widths: tuple[int, ...], singular_values: float | tuple[float, ...], random: np.random.Generator
) -> list[Array]:
    """W_j = U_j diag(s) U_{j−1}ᵀ, U_j of n_j × s random and orthonormal (Haar)."""
    narrowest = min(widths)
    if not isinstance(singular_values, tuple):
        singular_values = (singular_values,) * narrowest
    if len(singular_values) > narrowest:
        raise UserError(
            f"start.singular_values: {len(singular_values)} values, but the narrowest layer has "
            f"room for {narrowest}"
        )
    values = np.array(singular_values, dtype=np.float64)
    frames = [orthonormal(width, len(values), random) for width in widths]
    return [(upper * values) @ lower.T for lower, upper in pairwise(frames)]


def perturbed(weights: list[Array], directions: list[Array], imbalance: float) -> list[Array]:
    """The weights moved along ``directions`` until max_j ‖D_j‖ is ``imbalance``."""

    def moved(size: float) -> list[Array]:
        return [w + size * e for w, e in zip(weights, directions, strict=True)]

    def excess(size: float) -> float:
        return max(imbalances(moved(size))) - imbalance

    if excess(0.0) >= 0:
        return weights
    size = 1e-8
    while excess(size) < 0:
        size *= 2
        if size > 1e8:
            raise UserError("start: no perturbation of this start has ‖D_j‖ = alpha · delta")
    return moved(float(brentq(excess, 0.0, size, xtol=1e-300, rtol=1e-15)))


def imbalances(weights: Sequence[Array]) -> list[float]:
    """‖D_j‖ for j = 1, …, N − 1, with D_j = W_{j+1}ᵀW_{j+1} − W_jW_jᵀ (spectral norm)."""
    return [
        float(np.abs(np.linalg.eigvalsh(upper.T @ upper - lower @ lower.T)).max())
        for lower, upper in pairwise(weights)
    ]
