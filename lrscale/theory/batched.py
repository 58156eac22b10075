"""Gradient descent for many runs at once: batched products, captured in a CUDA graph.

One network of this size leaves a GPU idle, and launching its kernels takes longer than running
them. Runs of the same shape are therefore stacked, and a block of steps is recorded once and
replayed. Without CUDA the same steps run one by one; on a CPU
``lrscale.theory.engine.GradientDescent`` is several times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lrscale.theory.engine import BLOCK, StepSizes
from lrscale.theory.problem import Problem

GRAPH_STEPS = 100  # steps in a captured graph; divides BLOCK

_VALUE: dict[str, Any] = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}
_SLOPE: dict[str, Any] = {
    "tanh": lambda a: 1 - a * a,
    "relu": lambda a: (a > 0).to(a.dtype),
    "sigmoid": lambda a: a * (1 - a),
}


class BatchedGradientDescent:
    """As ``GradientDescent``, for R runs whose problems share widths, samples and activations.

    Args:
        problems: in the coordinates of ``engine_coordinates``.
        weights: W_1, …, W_N of each run.
        step_sizes: of each run.
        dtype: torch.float64 or torch.float32.
        device: ``cuda`` uses graphs.
        epoch: steps already taken, the same for all runs.

    Attributes:
        epoch: steps taken.
        diverged: for each run, the first epoch whose weights or loss are not finite, else
            None. The others go on.

    Neither the division of steps among calls of ``advance`` nor the other runs of the batch make a
    difference to any bit.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        weights: Sequence[Sequence[NDArray[Any]]],
        step_sizes: Sequence[StepSizes],
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
        epoch: int = 0,
    ) -> None:
        def stack(arrays: Sequence[Any]) -> Tensor:
            return torch.as_tensor(np.stack(arrays), device=device)

        first = problems[0]
        self.epoch = epoch
        self.diverged: list[int | None] = [None] * len(problems)
        if device == "cuda" and len(problems) == 1:
            # A batch of one goes to other kernels, which sum in another order: a run that was left
            # alone, the others having ended, would differ in the last digit.
            problems, weights, step_sizes = [*problems] * 2, [*weights] * 2, [*step_sizes] * 2
        self._activations = first.activations
        self._weights = [stack(layer).to(dtype) for layer in zip(*weights, strict=True)]
        self._data = tuple(stack([getattr(p, n) for p in problems]) for n in ("inputs", "targets"))
        inputs, targets = self._data
        if first.linear:  # the steps need XXᵀ, which is diagonal, and YXᵀ
            scales = inputs.diagonal(dim1=1, dim2=2)[:, None, :]
            inputs, targets = scales**2, targets * scales
        self._inputs, self._targets = inputs.to(dtype), targets.to(dtype)
        # η_k is computed on the device, from a counter there: a graph has no arguments
        self._next = torch.tensor(epoch + 1.0, dtype=torch.float64, device=device)
        self._eta_max, self._exponent = (
            torch.tensor(values, dtype=torch.float64, device=device)[:, None, None]
            for values in ([s.eta_max for s in step_sizes], [s.exponent for s in step_sizes])
        )
        self._step = self._linear_step if first.linear else self._nonlinear_step
        self._graph = self._capture() if device == "cuda" else None

    @property
    def weights(self) -> list[list[NDArray[Any]]]:
        """Copies of W_1, …, W_N of each run."""
        layers = [layer.cpu().numpy().copy() for layer in self._weights]
        return [[layer[run] for layer in layers] for run in range(len(self.diverged))]

    def advance(self, steps: int) -> None:
        """Take ``steps`` steps in all runs."""
        while steps > 0:
            count = min(steps, BLOCK)
            before = self._save()
            was_finite = self._finite()
            self._descend(count)
            if bool((was_finite & ~self._finite()).any()):
                self._restore(before)
                self.epoch -= count
                for _ in range(count):
                    self._descend(1)
                    self._note_divergence()
            steps -= count

    def at_floor(self) -> list[bool]:
        """For each run, whether the next step changes no bit."""
        before = self._save()
        self._descend(1)
        same = [
            (old == new).flatten(1).all(dim=1)
            for old, new in zip(before, self._weights, strict=False)
        ]
        self._restore(before)
        self.epoch -= 1
        still = torch.stack(same).all(dim=0).tolist()
        return [bool(run) for run in still[: len(self.diverged)]]

    def _descend(self, count: int) -> None:
        single = count
        if self._graph is not None:
            replays, single = divmod(count, GRAPH_STEPS)
            for _ in range(replays):
                self._graph.replay()
        for _ in range(single):
            self._step()
        self.epoch += count

    def _linear_step(self) -> None:
        """See ``lrscale.theory.steps.linear_steps``."""
        weights = self._weights
        minus_eta = self._take_step_size()
        below = [weights[0]]
        for weight in weights[1:-1]:
            below.append(weight @ below[-1])
        signal = (weights[-1] @ below[-1]) * self._inputs - self._targets
        for layer in range(len(weights) - 1, 0, -1):
            slope = signal @ below[layer - 1].mT
            signal = weights[layer].mT @ signal
            weights[layer].add_(minus_eta * slope)
        weights[0].add_(minus_eta * signal)

    def _nonlinear_step(self) -> None:
        """See ``lrscale.theory.steps.nonlinear_steps``."""
        weights, names = self._weights, self._activations
        minus_eta = self._take_step_size()
        values = self._forward(self._inputs, weights)
        signal = values[-1] - self._targets
        for layer in range(len(weights) - 1, -1, -1):
            if names[layer] != "linear":
                signal = signal * _SLOPE[names[layer]](values[layer + 1])
            slope = signal @ values[layer].mT
            if layer > 0:
                signal = weights[layer].mT @ signal
            weights[layer].add_(minus_eta * slope)

    def _forward(self, inputs: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
        """a_0, …, a_N, each (R, n_l, samples)."""
        values = [inputs]
        for weight, name in zip(weights, self._activations, strict=True):
            z = weight @ values[-1]
            values.append(_VALUE[name](z) if name != "linear" else z)
        return values

    def _take_step_size(self) -> Tensor:
        """−η_k of each run (R, 1, 1), and k ← k + 1."""
        eta = self._eta_max * self._next**-self._exponent
        self._next.add_(1)
        return -eta.to(self._targets.dtype)

    def _capture(self) -> torch.cuda.CUDAGraph:
        """A graph of GRAPH_STEPS steps. The steps taken to warm up are undone."""
        before = self._save()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries set themselves up outside the capture
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(GRAPH_STEPS):
                self._step()
        self._restore(before)
        return graph

    def _save(self) -> list[Tensor]:
        return [tensor.clone() for tensor in (*self._weights, self._next)]

    def _restore(self, saved: list[Tensor]) -> None:
        for tensor, old in zip((*self._weights, self._next), saved, strict=True):
            tensor.copy_(old)  # in place: the graph knows the addresses

    def _finite(self) -> Tensor:
        """Whether each run's weights and loss are finite, (R,)."""
        inputs, targets = self._data
        weights = [layer.double() for layer in self._weights]
        losses = (self._forward(inputs, weights)[-1] - targets).square().sum(dim=(1, 2))
        each = [layer.isfinite().all(dim=(1, 2)) for layer in weights]
        return torch.stack([losses.isfinite(), *each]).all(dim=0)

    def _note_divergence(self) -> None:
        for run, finite in enumerate(self._finite().tolist()[: len(self.diverged)]):
            if not finite and self.diverged[run] is None:
                self.diverged[run] = self.epoch
