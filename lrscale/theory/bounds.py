"""What the theory promises: the step-size theorem, and the levels at which the loss can rest.

The theorem is recalled from Nguegnang, Rauhut and Terstiege, "Convergence of gradient descent
for learning linear neural networks" (arXiv 2108.02040). Let XXᵀ have full rank, L(0) be the
initial loss and D_j = W_{j+1}ᵀW_{j+1} − W_jW_jᵀ. With

    M = (√(2L(0)) + ‖Y‖) / σ_min(X),      K_δ = M^{2/N} + (N + 1)²δ,
    B_δ = 2eN K_δ^{N−1} ‖X‖² + √e N K_δ^{N/2−1} ‖X‖‖Y‖,

if ‖D_j(0)‖ ≤ αδ for some 0 ≤ α < 1, Σ η_k = ∞ and

    η_k ≤ 2(1 − α)δ / (4L(0) + (1 − α)δB_δ),

then ‖W_j(k)‖² ≤ K_δ and ‖D_j(k)‖ ≤ δ for all k, and the iterates converge to a critical point.
Its structure is easily derived again; the constant (N + 1)² is the paper's and is not proved
here. The theorem is for linear networks; for others the same number is only a rule of thumb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from lrscale.errors import UserError
from lrscale.theory.observables import loss
from lrscale.theory.problem import Array, Problem, compress
from lrscale.theory.starts import imbalances


@dataclass(frozen=True)
class Bound:
    """The theorem for one start.

    Attributes:
        eta: greatest step size that the theorem covers.
        delta, alpha: the constants for which it does.
        weight_bound: K_δ, which ‖W_j(k)‖² then never exceeds.
    """

    eta: float
    delta: float
    alpha: float
    weight_bound: float


@dataclass(frozen=True)
class Constants:
    """What the theorem needs to know. Norms are spectral.

    Attributes:
        depth: N.
        initial_loss: L(0).
        input_norm, input_least: ‖X‖ and σ_min(X).
        target_norm: ‖Y‖.
        imbalance: max_j ‖D_j(0)‖.
    """

    depth: int
    initial_loss: float
    input_norm: float
    input_least: float
    target_norm: float
    imbalance: float

    def weight_bound(self, delta: float) -> float:
        """K_δ."""
        m = (math.sqrt(2 * self.initial_loss) + self.target_norm) / self.input_least
        return float(m ** (2 / self.depth) + (self.depth + 1) ** 2 * delta)

    def curvature_bound(self, delta: float) -> float:
        """B_δ."""
        n, k = self.depth, self.weight_bound(delta)
        quadratic = 2 * math.e * n * k ** (n - 1) * self.input_norm**2
        cross = math.sqrt(math.e) * n * k ** (n / 2 - 1) * self.input_norm * self.target_norm
        return float(quadratic + cross)

    def step_bound(self, delta: float, alpha: float) -> float:
        """2(1 − α)δ / (4L(0) + (1 − α)δB_δ)."""
        room = (1 - alpha) * delta
        return 2 * room / (4 * self.initial_loss + room * self.curvature_bound(delta))


def constants(problem: Problem, weights: Sequence[Array]) -> Constants:
    """The theorem's constants at a start. Raises UserError when XXᵀ is rank-deficient."""
    rows, epsilon = problem.widths[0], np.finfo(np.float64).eps
    spectrum = np.linalg.eigvalsh(problem.inputs @ problem.inputs.T)
    rank = int(np.sum(spectrum > spectrum[-1] * rows * epsilon))
    if rank < rows:
        raise UserError(
            f"step_size: the theorem's bound needs XXᵀ of full rank, but it has rank {rank} of "
            f"{rows}; use at least {rows} independent samples, or a constant step"
        )
    imbalance = max(imbalances(weights))
    largest = max(float(np.linalg.norm(w, 2)) for w in weights)
    return Constants(
        problem.depth,
        loss(problem, weights),
        math.sqrt(spectrum[-1]),
        math.sqrt(spectrum[0]),
        float(np.linalg.norm(problem.targets, 2)),
        imbalance if imbalance > 10 * max(problem.widths) * epsilon * largest**2 else 0.0,
    )


def best_bound(known: Constants, alpha: float | None = None, delta: float | None = None) -> Bound:
    """The step bound, maximised over what is not given of δ and α.

    For a given δ the best α is the least that the start allows, ‖D_j(0)‖/δ. Along δ the bound
    has one maximum: with s = δ − ‖D_j(0)‖, s²B'(δ) = 4L(0) has one root, as s²B' increases.

    Raises:
        UserError: the start is not balanced enough for the given α and δ.
    """
    if alpha == 0 and known.imbalance > 0:
        raise UserError(
            f"step_size.alpha: the start is not balanced enough: ‖D_j(0)‖ = {known.imbalance:.3g} "
            "where alpha 0 needs 0; leave alpha out, or give one between 0 and 1"
        )
    least = known.imbalance / alpha if alpha else known.imbalance

    def at(delta: float) -> Bound:
        least_alpha = known.imbalance / delta if alpha is None else alpha
        return Bound(
            known.step_bound(delta, least_alpha), delta, least_alpha, known.weight_bound(delta)
        )

    if delta is not None:
        if delta < least * (1 - 1e-12) or delta <= known.imbalance:
            raise UserError(
                f"step_size.delta: the start is not balanced enough: ‖D_j(0)‖ = "
                f"{known.imbalance:.3g} is above alpha · delta = {(alpha or 1) * delta:.3g}"
            )
        return at(delta)
    best = minimize_scalar(
        lambda log_excess: -at(least + math.exp(log_excess)).eta,
        bounds=(-50.0, 50.0),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return at(least + math.exp(float(best.x)))


def saddle_levels(problem: Problem) -> Array:
    """Losses at which GD on a linear network can rest, the greatest first.

    Entry k is the loss with the k largest modes of Q learned, ½Σ_{i>k} σ_i² plus the constant
    ½(‖Y‖_F² − ‖Q‖_F²), for k = 0, …, the narrowest width; the last is the global minimum, the
    one before it the plateau that precedes it (½σ_r² for a noise-free target of rank r). The
    other critical points lack other subsets of modes (Bah, Rauhut, Terstiege and Westdickenberg,
    "Learning deep linear neural networks: Riemannian gradient flows").
    """
    compressed, _ = compress(problem)
    squares = np.linalg.svd(compressed.targets, compute_uv=False) ** 2
    missing = np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])
    return 0.5 * missing[: min(problem.widths) + 1] + compressed.floor
