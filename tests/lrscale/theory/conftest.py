"""An independent oracle: the same descent as a plain float64 PyTorch loop, through autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from lrscale.theory.problem import Problem

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "linear": lambda z: z,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
}


def torch_loss(problem: Problem, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    a = torch.tensor(problem.inputs)
    for weight, name in zip(weights, problem.activations, strict=True):
        a = ACTIVATIONS[name](weight @ a)
    return 0.5 * (torch.tensor(problem.targets) - a).pow(2).sum()


@pytest.fixture(scope="session")
def plain_loss() -> Callable[..., torch.Tensor]:
    return torch_loss


@pytest.fixture(scope="session")
def plain_descent() -> Callable[..., list[Any]]:
    """(problem, weights, η of k, steps) ↦ the weights after so many steps."""

    def descend(
        problem: Problem, weights: Sequence[Any], eta: Callable[[int], float], steps: int
    ) -> list[Any]:
        tensors = [torch.tensor(np.asarray(w), requires_grad=True) for w in weights]
        optimizer = torch.optim.SGD(tensors, lr=0.0)
        for k in range(steps):
            optimizer.param_groups[0]["lr"] = eta(k)
            optimizer.zero_grad()
            torch_loss(problem, tensors).backward()
            optimizer.step()
        return [t.detach().numpy() for t in tensors]

    return descend


@pytest.fixture(scope="session")
def random_problem() -> Callable[..., tuple[Problem, list[Any]]]:
    """(widths, samples, seed, …) ↦ a problem with noise, and a start of moderate size."""

    def make(
        widths: tuple[int, ...],
        samples: int,
        seed: int = 0,
        hidden: str = "linear",
        output: str = "linear",
        noise: float = 0.1,
    ) -> tuple[Problem, list[Any]]:
        random = np.random.default_rng(seed)
        inputs = random.normal(size=(widths[0], samples)) / np.sqrt(widths[0])
        target = random.normal(size=(widths[-1], widths[0])) / np.sqrt(widths[0])
        targets = target @ inputs + noise * random.normal(size=(widths[-1], samples))
        names = (hidden,) * (len(widths) - 2) + (output,)
        weights = [
            random.normal(size=(rows, cols)) / np.sqrt(max(rows, cols))
            for rows, cols in zip(widths[1:], widths[:-1], strict=True)
        ]
        return Problem(inputs, targets, widths, names), weights

    return make
