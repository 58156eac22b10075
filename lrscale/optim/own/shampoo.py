"""Shampoo."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Shampoo(Optimizer):
    """Algorithms 1 and 2 of Gupta, Koren and Singer (2018); the parameters are ``shampoo``'s.

    The state of a parameter holds, for each of its dimensions, the statistics H and the root
    H^(−1/2k), where k is the number of dimensions: matrices, or their diagonals.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float,
        eps: float,
        precondition_frequency: int,
        max_dimension: int,
        weight_decay: float,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "eps": eps,
            "precondition_frequency": precondition_frequency,
            "max_dimension": max_dimension,
            "weight_decay": weight_decay,
            "t": 0,
        }
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, group)
            group["t"] += 1

    def _step(self, p: Tensor, group: dict[str, Any]) -> None:
        assert p.grad is not None
        gradient = p.grad.add(p, alpha=group["weight_decay"])
        gradient = gradient.reshape(1) if gradient.ndim == 0 else gradient
        state = self.state[p]
        if not state:
            state.update(_initial(gradient, group["eps"], group["max_dimension"]))
        for dimension, statistics in enumerate(state["statistics"]):
            unfolded = gradient.movedim(dimension, 0).reshape(gradient.shape[dimension], -1)
            if statistics.ndim == 2:
                statistics.addmm_(unfolded, unfolded.mT)
            else:
                statistics.add_(unfolded.square().sum(1))
        if group["t"] % group["precondition_frequency"] == 0:
            power = -1 / (2 * gradient.ndim)
            state["roots"] = [_power(s, power, group["eps"]) for s in state["statistics"]]
        step = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        for root in state["roots"]:
            # each takes the first dimension and puts it last: in the end all are in place again
            if root.ndim == 2:
                step = torch.tensordot(step, root, dims=([0], [0]))
            else:
                step = step.movedim(0, -1) * root
        p.add_(step.reshape(p.shape), alpha=-group["lr"])


def _initial(gradient: Tensor, eps: float, max_dimension: int) -> dict[str, Any]:
    statistics = []
    for size in gradient.shape:
        diagonal = torch.full((size,), eps, dtype=gradient.dtype, device=gradient.device)
        statistics.append(diagonal if size > max_dimension else diagonal.diag())
    return {"momentum_buffer": torch.zeros_like(gradient), "statistics": statistics, "roots": []}


def _power(statistics: Tensor, power: float, least: float) -> Tensor:
    """A matrix, symmetric with eigenvalues of at least ``least``, or a diagonal to a power."""
    if statistics.ndim == 1:
        return statistics**power
    values, vectors = torch.linalg.eigh(statistics)
    root: Tensor = (vectors * values.clamp(min=least) ** power) @ vectors.mT
    return root
