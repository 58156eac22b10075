"""Blocks of gradient-descent steps, compiled: no Python and no allocation between the products.

Both functions advance ``weights`` in place by ``count`` steps with η_k = η_max (k + 1)^{−a}.
A step reads nothing but the weights and k, so that the cut into blocks leaves no trace.

Stacks hold one zero-padded matrix per layer (see lrscale.theory.kernels): ``weights[layer]`` is
W_{l+1}, of widths[layer + 1] × widths[layer].
"""

from __future__ import annotations

from typing import Any

from lrscale.theory.activations import activate, chain, deviate
from lrscale.theory.kernels import (
    TILE_ROWS,
    compiled,
    multiply,
    multiply_add,
    multiply_scale_subtract,
    transpose,
)


@compiled
def linear_steps(
    weights: Any, widths: Any, spectrum: Any, cross: Any, narrow: bool, prefix: Any, work: Any,
    first: int, count: int, eta_max: float, exponent: float,
) -> None:  # fmt: skip
    """Steps k = first, …, first + count − 1 on ½‖Y − W_N ⋯ W_1 X‖_F² with XXᵀ = diag(spectrum).

    With G = W_N ⋯ W_1 XXᵀ − YXᵀ, the gradient of layer j is
    (W_N ⋯ W_{j+1})ᵀ G (W_{j−1} ⋯ W_1)ᵀ: the number of samples does not enter.

    Args:
        cross: YXᵀ.
        narrow: keep W_1 out of the inner products, so that those of the layers between are of
            hidden size on both sides; pays when the hidden layers are narrower than the input.
        prefix, work: scratch, N and 4 matrices.
    """
    depth, d = len(widths) - 1, widths[0]
    last, bottom = depth - 1, 1 if narrow else 0
    columns = widths[bottom]  # of every partial product
    gradient, transposed = work[0], work[1]
    for k in range(first, first + count):
        minus_eta = weights.dtype.type(-eta_max * (k + 1.0) ** -exponent)
        inner = weights[bottom]  # W_{N−1} ⋯ W_{bottom+1}, then down again
        for layer in range(bottom + 1, last):
            rows, cols = widths[layer + 1], widths[layer]
            multiply(prefix[layer], weights[layer], inner, rows, cols, columns)
            inner = prefix[layer]
        below = inner
        if narrow:
            multiply(prefix[0], inner, weights[0], widths[last], columns, d)
            below = prefix[0]
        multiply_scale_subtract(
            gradient, weights[last], below, widths[depth], widths[last], d, spectrum, cross
        )
        signal, other = work[2], work[3]  # (W_N ⋯ W_{l+1})ᵀ G, and its successor
        multiply(signal, weights[last].T, gradient, widths[last], widths[depth], d)
        transpose(transposed, below, widths[last], d)
        multiply_add(weights[last], gradient, transposed, widths[depth], d, widths[last], minus_eta)
        if narrow:
            transpose(transposed, weights[0], columns, d)
            multiply(other, signal, transposed, widths[last], d, columns)
            multiply_add(weights[0], inner.T, signal, columns, widths[last], d, minus_eta)
            signal, other = other, signal
        for layer in range(last - 1, bottom, -1):
            rows, cols = widths[layer + 1], widths[layer]
            multiply(other, weights[layer].T, signal, cols, rows, columns)
            lower = prefix[layer - 1] if layer - 1 > bottom else weights[bottom]
            transpose(transposed, lower, cols, columns)
            multiply_add(weights[layer], signal, transposed, rows, columns, cols, minus_eta)
            signal, other = other, signal
        for i in range(widths[bottom + 1]):
            for j in range(columns):
                weights[bottom, i, j] += minus_eta * signal[i, j]


@compiled
def nonlinear_steps(
    weights: Any, widths: Any, codes: Any, targets: Any, inputs_transposed: Any, samples: int,
    activations: Any, work: Any, transposed: Any,
    first: int, count: int, eta_max: float, exponent: float,
) -> None:  # fmt: skip
    """Steps k = first, …, first + count − 1 on ½‖Y − σ_N(W_N ⋯ σ_1(W_1 X))‖_F².

    Args:
        codes: activation of each layer, see lrscale.theory.activations.
        inputs_transposed: Xᵀ.
        activations: N + 1 matrices of widths[layer] × samples; the first is X, the others scratch.
        work, transposed: scratch, 2 such matrices and 1 of samples × width.
    """
    depth = len(widths) - 1
    for k in range(first, first + count):
        minus_eta = weights.dtype.type(-eta_max * (k + 1.0) ** -exponent)
        for layer in range(depth):
            rows, cols, values = widths[layer + 1], widths[layer], activations[layer + 1]
            multiply(values, weights[layer], activations[layer], rows, cols, samples)
            activate(codes[layer], values, rows, samples)
        delta, other = work[0], work[1]  # ∂loss/∂z of a layer, and of the one below
        rows = -(-widths[depth] // TILE_ROWS) * TILE_ROWS  # clears the last tile's rest
        deviate(codes[depth - 1], delta, activations[depth], targets, rows, samples)
        for layer in range(depth - 1, 0, -1):
            rows, cols = widths[layer + 1], widths[layer]
            multiply(other, weights[layer].T, delta, cols, rows, samples)
            transpose(transposed, activations[layer], cols, samples)
            multiply_add(weights[layer], delta, transposed, rows, samples, cols, minus_eta)
            chain(codes[layer - 1], other, activations[layer], cols, samples)
            delta, other = other, delta
        multiply_add(weights[0], delta, inputs_transposed, widths[1], samples, widths[0], minus_eta)
