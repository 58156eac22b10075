"""What is measured along a trajectory, in float64 whatever the training's precision.

For linear networks pass the compressed problem (``lrscale.theory.problem.compress``): its
measurements are those of the given one and cost nothing in the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from scipy.special import expit

from lrscale.theory.problem import Array, Problem
from lrscale.theory.starts import imbalances

# σ(z), and σ' and σ'' as functions of a = σ(z)
_VALUE: dict[str, Any] = {
    "linear": lambda z: z,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "sigmoid": expit,
}
_SLOPE: dict[str, Any] = {
    "linear": np.ones_like,
    "tanh": lambda a: 1 - a * a,
    "relu": lambda a: np.asarray(a > 0, dtype=np.float64),
    "sigmoid": lambda a: a * (1 - a),
}
_CURVATURE: dict[str, Any] = {
    "linear": np.zeros_like,
    "tanh": lambda a: -2 * a * (1 - a * a),
    "relu": np.zeros_like,
    "sigmoid": lambda a: a * (1 - a) * (1 - 2 * a),
}


def forward(problem: Problem, weights: Sequence[Array]) -> list[Array]:
    """a_0 = X, a_l = σ_l(W_l a_{l−1}), l = 1, …, N; each n_l × m."""
    values = [problem.inputs]
    for weight, name in zip(weights, problem.activations, strict=True):
        values.append(_VALUE[name](weight @ values[-1]))
    return values


def loss(problem: Problem, weights: Sequence[Array]) -> float:
    """½‖Y − σ_N(W_N ⋯ σ_1(W_1X))‖_F² + floor, from the residual; inf or nan once diverged."""
    with np.errstate(over="ignore", invalid="ignore"):
        residual = forward(problem, weights)[-1] - problem.targets
        return 0.5 * float(np.vdot(residual, residual)) + problem.floor


def gradient(problem: Problem, weights: Sequence[Array]) -> list[Array]:
    """∂L/∂W_1, …, ∂L/∂W_N by backpropagation."""
    values = forward(problem, weights)
    signal = values[-1] - problem.targets
    found: list[Array] = []
    for layer in range(problem.depth - 1, -1, -1):
        delta = signal * _SLOPE[problem.activations[layer]](values[layer + 1])
        found.insert(0, delta @ values[layer].T)
        signal = weights[layer].T @ delta
    return found


def hessian(problem: Problem, weights: Sequence[Array]) -> Callable[[Sequence[Array]], list[Array]]:
    """The map V ↦ ∇²L · V at the weights; V and the result are one matrix a layer.

    Pearlmutter, "Fast exact multiplication by the Hessian" (1994): ``gradient``, differentiated
    along V. In the names below, a *move* is the derivative of a quantity along V.
    """
    depth, names = problem.depth, problem.activations
    values = forward(problem, weights)
    slopes = [_SLOPE[name](a) for name, a in zip(names, values[1:], strict=True)]
    signals, deltas = [values[-1] - problem.targets], []  # ∂L/∂a_l and ∂L/∂z_l, last layer first
    for layer in range(depth - 1, -1, -1):
        deltas.append(signals[-1] * slopes[layer])
        signals.append(weights[layer].T @ deltas[-1])
    bends = [
        signals[depth - 1 - layer] * _CURVATURE[names[layer]](values[layer + 1])
        for layer in range(depth)
    ]
    deltas.reverse()

    def product(direction: Sequence[Array]) -> list[Array]:
        z_moves = [direction[0] @ values[0]]
        a_moves = [slopes[0] * z_moves[0]]
        for layer in range(1, depth):
            z_moves.append(direction[layer] @ values[layer] + weights[layer] @ a_moves[-1])
            a_moves.append(slopes[layer] * z_moves[layer])
        signal_move = a_moves[-1]
        found: list[Array] = []
        for layer in range(depth - 1, -1, -1):
            delta_move = signal_move * slopes[layer] + bends[layer] * z_moves[layer]
            result = delta_move @ values[layer].T
            if layer > 0:
                result += deltas[layer] @ a_moves[layer - 1].T
                signal_move = direction[layer].T @ deltas[layer] + weights[layer].T @ delta_move
            found.append(result)
        return found[::-1]

    return product


def sharpness(problem: Problem, weights: Sequence[Array], tolerance: float = 1e-2) -> float:
    """The largest eigenvalue of ∇²L, by Lanczos on Hessian products; nan if those overflow.

    Args:
        tolerance: of the eigenvector; the eigenvalue's relative error is of its square.
    """
    shapes = [w.shape for w in weights]
    ends = np.cumsum([w.size for w in weights])
    apply = hessian(problem, weights)

    def product(flat: NDArray[Any]) -> NDArray[Any]:
        parts = np.split(flat.reshape(-1), ends[:-1])
        direction = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return np.concatenate([h.ravel() for h in apply(direction)])

    size = int(ends[-1])
    if size <= 20:  # too small for ARPACK's basis of 20 vectors
        dense = np.stack([product(column) for column in np.eye(size)])
        return float(np.linalg.eigvalsh((dense + dense.T) / 2)[-1])
    start = np.random.default_rng(0).normal(size=size)  # fixed, so that records repeat
    if not product(start).any():  # the Hessian is zero, as with all relu units dead
        return 0.0
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    try:
        found = eigsh(operator, 1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)
    except ArpackError:  # products overflow shortly before a divergence
        return math.nan
    return float(found[0])


def effective_rank(singular_values: Array) -> float:
    """exp of the entropy of the singular values' shares (Roy and Vetterli, 2007); 0 for a zero
    matrix."""
    total = singular_values.sum()
    shares = singular_values[singular_values > 0] / total if total > 0 else np.empty(0)
    return float(np.exp(-np.sum(shares * np.log(shares)))) if len(shares) else 0.0


def measure(problem: Problem, weights: Sequence[Array], with_sharpness: bool) -> dict[str, Any]:
    """One record of a finite state: all but the sharpness are exact to rounding.

    Keys: ``loss``; ``product_norm`` and ``product_frobenius`` of W_N ⋯ W_1; ``layer_norms`` and
    ``layer_frobenius``, one a layer; ``imbalances``, ‖D_j‖ one a hidden layer;
    ``effective_rank`` of the product; ``gradient_norm`` (Frobenius, all layers together);
    ``sharpness`` if asked for.
    """
    weights = [np.asarray(w, dtype=np.float64) for w in weights]
    product = reduce(lambda below, w: w @ below, weights)
    values = np.asarray(np.linalg.svd(product, compute_uv=False), dtype=np.float64)
    record: dict[str, Any] = {
        "loss": loss(problem, weights),
        "product_norm": float(values[0]),
        "product_frobenius": float(np.linalg.norm(values)),
        "effective_rank": effective_rank(values),
        "layer_norms": [_spectral_norm(w) for w in weights],
        "layer_frobenius": [float(np.linalg.norm(w)) for w in weights],
        "imbalances": imbalances(weights),
        "gradient_norm": math.sqrt(sum(float(np.vdot(g, g)) for g in gradient(problem, weights))),
    }
    if with_sharpness:
        record["sharpness"] = sharpness(problem, weights)
    return record


def _spectral_norm(weight: Array) -> float:
    """From the smaller Gram matrix: a third of the time of an SVD, the same digits at the top."""
    gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    return math.sqrt(max(float(np.linalg.eigvalsh(gram)[-1]), 0.0))
