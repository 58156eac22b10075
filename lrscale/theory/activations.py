"""tanh, relu and sigmoid: compiled over rows of matrices, and their derivatives.

All derivatives are written in the activation's own value a = σ(z), so that z need not be kept:
tanh' = 1 − a², relu' = [a > 0], sigmoid' = a(1 − a).

The C library's tanh is a call for each element. Here exp is a reduction to |r| ≤ ½ ln 2 and a
polynomial, without branches or calls, which the compiler turns into vector instructions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrscale.theory.kernels import compiled

LINEAR, TANH, RELU, SIGMOID = range(4)
CODES = {"linear": LINEAR, "tanh": TANH, "relu": RELU, "sigmoid": SIGMOID}

_LOG2_E = 1 / math.log(2)
_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 = high + low; k · high is exact for |k| < 2^20
_LN2_LOW = 1.90821492927058770002e-10
_ROUND = 1.5 * 2.0**52  # x + _ROUND has x, rounded to an integer, in its lowest bits


@compiled
def _reduce(x: float) -> tuple[float, float]:
    """(2^k, e^r − 1) with x = k ln 2 + r, for |x| < 700; relative error of a few 1e−16."""
    shifted = x * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    # (e^r − 1 − r)/r² by Taylor, up to r^13/13!, in pairs that do not wait for one another
    r2 = r * r
    r4 = r2 * r2
    p = 1 / 2 + r * (1 / 6) + r2 * (1 / 24 + r * (1 / 120))
    q = 1 / 720 + r * (1 / 5040) + r2 * (1 / 40320 + r * (1 / 362880))
    s = 1 / 3628800 + r * (1 / 39916800) + r2 * (1 / 479001600 + r * (1 / 6227020800))
    p = p + r4 * (q + r4 * s)
    bits = (np.float64(shifted).view(np.int64) + 1023) << 52  # the exponent field of 2^k
    return np.int64(bits).view(np.float64), r + r2 * p


@compiled
def tanh(z: float) -> float:
    """tanh(z) to a few units in the last place of a double; NaN stays NaN."""
    x = 2.0 * z
    x = 40.0 if x > 40.0 else x  # tanh(20) rounds to 1
    x = -40.0 if x < -40.0 else x
    power, part = _reduce(x)
    minus_one = power * part + (power - 1.0)  # e^{2z} − 1, without cancellation near 0
    return minus_one / (minus_one + 2.0)


@compiled
def sigmoid(z: float) -> float:
    """1 / (1 + e^{−z}) to a few units in the last place of a double; NaN stays NaN."""
    x = -z
    x = 700.0 if x > 700.0 else x
    x = -700.0 if x < -700.0 else x
    power, part = _reduce(x)
    return 1.0 / (1.0 + (power + power * part))


@compiled
def activate(code: int, z: Any, rows: int, cols: int) -> None:
    """z ← σ(z) on the leading rows × cols entries."""
    if code == TANH:
        for i in range(rows):
            for j in range(cols):
                z[i, j] = tanh(z[i, j])
    elif code == RELU:
        for i in range(rows):
            for j in range(cols):
                z[i, j] = z[i, j] if z[i, j] > 0.0 or z[i, j] != z[i, j] else 0.0
    elif code == SIGMOID:
        for i in range(rows):
            for j in range(cols):
                z[i, j] = sigmoid(z[i, j])


@compiled
def chain(code: int, delta: Any, a: Any, rows: int, cols: int) -> None:
    """delta ← delta ∘ σ'(z), for a = σ(z)."""
    if code == TANH:
        for i in range(rows):
            for j in range(cols):
                delta[i, j] *= 1 - a[i, j] * a[i, j]
    elif code == RELU:
        for i in range(rows):
            for j in range(cols):
                delta[i, j] = delta[i, j] if a[i, j] > 0 else 0 * delta[i, j]
    elif code == SIGMOID:
        for i in range(rows):
            for j in range(cols):
                delta[i, j] *= a[i, j] * (1 - a[i, j])


@compiled
def deviate(code: int, delta: Any, a: Any, targets: Any, rows: int, cols: int) -> None:
    """delta ← (a − targets) ∘ σ'(z), for a = σ(z)."""
    if code == TANH:  # in one pass
        for i in range(rows):
            for j in range(cols):
                delta[i, j] = (a[i, j] - targets[i, j]) * (1 - a[i, j] * a[i, j])
        return
    for i in range(rows):
        for j in range(cols):
            delta[i, j] = a[i, j] - targets[i, j]
    chain(code, delta, a, rows, cols)
