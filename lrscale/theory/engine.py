"""Gradient descent in compiled blocks of steps, on one core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lrscale.theory.activations import CODES
from lrscale.theory.kernels import padded
from lrscale.theory.observables import loss
from lrscale.theory.problem import Array, Problem, compress
from lrscale.theory.steps import linear_steps, nonlinear_steps

BLOCK = 1000  # steps between two looks at whether the weights are still finite


@dataclass(frozen=True)
class StepSizes:
    """η_k = ``eta_max`` (k + 1)^{−``exponent``}; constant where the exponent is 0."""

    eta_max: float
    exponent: float = 0.0

    def at(self, epoch: int) -> float:
        return float(self.eta_max * (epoch + 1.0) ** -self.exponent)


def engine_coordinates(problem: Problem, weights: Sequence[Array]) -> tuple[Problem, list[Array]]:
    """The problem and weights as ``GradientDescent`` takes them.

    A linear problem is compressed to as many samples as dimensions, in the eigenbasis of XXᵀ;
    W_1 is written in that basis. Every norm, ‖D_j‖ and the loss stay the same.
    """
    if not problem.linear:
        return problem, list(weights)
    compressed, basis = compress(problem)
    return compressed, [weights[0] @ basis, *weights[1:]]


class GradientDescent:
    """W(k + 1) = W(k) − η_k ∇L(W(k)), from W(``epoch``) = ``weights``.

    Args:
        problem: in the coordinates of ``engine_coordinates``.
        weights: W_1, …, W_N, rounded to ``dtype``.
        step_sizes: η_k.
        dtype: float64 or float32, the precision of the whole step.
        epoch: steps already taken.

    Attributes:
        problem: as given.
        epoch: steps taken.
        diverged: the first epoch whose weights or loss are not finite, else None. The weights
            are then those of that epoch, and no step is taken any more.

    How a number of steps is divided among calls of ``advance`` makes no difference to any bit.
    """

    def __init__(
        self,
        problem: Problem,
        weights: Sequence[NDArray[Any]],
        step_sizes: StepSizes,
        dtype: DTypeLike = np.float64,
        epoch: int = 0,
    ) -> None:
        self.problem, self.step_sizes, self.epoch = problem, step_sizes, epoch
        self.diverged: int | None = None
        self._dtype = np.dtype(dtype)
        self._weights = self._stack(weights, max(problem.widths))
        self._arguments = (
            self._linear_arguments() if problem.linear else self._nonlinear_arguments()
        )

    @property
    def weights(self) -> list[NDArray[Any]]:
        """Copies of W_1, …, W_N in the engine's precision and coordinates."""
        sizes = self.problem.widths
        return [w[:rows, :cols].copy() for w, rows, cols in zip(
            self._weights, sizes[1:], sizes[:-1], strict=True
        )]  # fmt: skip

    def advance(self, steps: int) -> None:
        """Take ``steps`` steps, or those that it takes to diverge."""
        while steps > 0 and self.diverged is None:
            count = min(steps, BLOCK)
            before = self._weights.copy()
            self._descend(count)
            if not self._finite():
                self._weights[...] = before
                self.epoch -= count
                self._diverge()
            steps -= count

    def at_floor(self) -> bool:
        """Whether the next step changes no bit. No later one does either, as η_k never grows."""
        before = self._weights.copy()
        self._descend(1)
        still = bool(np.array_equal(self._weights, before))
        self._weights[...] = before
        self.epoch -= 1
        return still

    def _diverge(self) -> None:
        """Step by step to the first epoch that is not finite."""
        while self._finite():
            self._descend(1)
        self.diverged = self.epoch

    def _finite(self) -> bool:
        if not np.isfinite(self._weights).all():
            return False
        weights = [w.astype(np.float64) for w in self.weights]
        return bool(np.isfinite(loss(self.problem, weights)))

    def _descend(self, count: int) -> None:
        steps: Any = linear_steps if self.problem.linear else nonlinear_steps
        eta_max, exponent = self.step_sizes.eta_max, self.step_sizes.exponent
        steps(self._weights, *self._arguments, self.epoch, count, eta_max, exponent)
        self.epoch += count

    def _linear_arguments(self) -> tuple[Any, ...]:
        problem, widths = self.problem, self.problem.widths
        scale = np.diagonal(problem.inputs)
        size = max(widths)
        spectrum = self._stack([(scale**2)[None]], size)[0, 0]
        cross = self._stack([problem.targets * scale], size)[0]
        prefix = np.zeros_like(self._weights)
        work = np.zeros((4, *prefix.shape[1:]), self._dtype)
        return np.array(widths), spectrum, cross, _narrow(widths), prefix, work

    def _nonlinear_arguments(self) -> tuple[Any, ...]:
        problem, widths = self.problem, self.problem.widths
        samples = problem.inputs.shape[1]
        size, length = max(widths), max(samples, *widths)
        codes = np.array([CODES[name] for name in problem.activations])
        later = [np.zeros((0, 0))] * (len(widths) - 1)
        activations = self._stack([problem.inputs, *later], size, length)
        transposed = self._stack([problem.inputs.T], length, size)
        return (
            np.array(widths), codes, self._stack([problem.targets], size, length)[0],
            transposed[0], samples, activations, np.zeros_like(activations[:2]),
            np.zeros_like(transposed[0]),
        )  # fmt: skip

    def _stack(
        self, matrices: Sequence[NDArray[Any]], rows: int, cols: int | None = None
    ) -> NDArray[Any]:
        """Matrices in the corners of zero-padded ones, see lrscale.theory.kernels."""
        shape = (padded(rows, self._dtype), padded(cols or rows, self._dtype))
        stack = np.zeros((len(matrices), *shape), self._dtype)
        for place, matrix in zip(stack, matrices, strict=True):
            place[: matrix.shape[0], : matrix.shape[1]] = matrix
        return stack


def _narrow(widths: tuple[int, ...]) -> bool:
    """Whether ``linear_steps`` saves multiplications by keeping W_1 out of the inner products."""
    d, first, last = widths[0], widths[1], widths[-2]
    inner = [n * m for n, m in pairwise(widths[1:-1])]
    return sum(inner) * d > sum(inner[1:]) * first + last * first * d
