"""Each optimizer against its paper's formulas, transcribed, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lrscale.optim.adagrad import Adagrad
from lrscale.optim.adam import Adam, AdamW
from lrscale.optim.nadam import NAdam
from lrscale.optim.radam import RAdam
from lrscale.optim.rmsprop import RMSprop
from lrscale.optim.sgd import SGD

Vector = NDArray[np.float64]
CURVATURE = np.array([0.1, 1.0, 5.0])


def gradient(x: Vector) -> Vector:
    return CURVATURE * x + np.sin(3 * x)


class Problem(nn.Module):
    """½ xᵀ diag(curvature) x − ⅓ Σ cos 3x."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([1.0, -2.0, 0.7], dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        curvature = torch.from_numpy(CURVATURE)
        return (curvature * self.x**2 / 2 - torch.cos(3 * self.x) / 3).sum()


def ours(component: Any, steps: int) -> Vector:
    model = Problem()
    optimizer = component.build(model)
    for _ in range(steps):
        optimizer.zero_grad()
        model().backward()
        optimizer.step()
    return model.x.detach().numpy()


def sgd(o: SGD, x: Vector, steps: int) -> Vector:
    v = np.zeros_like(x)
    for t in range(steps):
        g = gradient(x) + o.weight_decay * x
        v = g if t == 0 else o.momentum * v + (1 - o.dampening) * g
        x = x - o.lr * (g + o.momentum * v if o.nesterov else v)
    return x


def adam(o: Adam, x: Vector, steps: int) -> Vector:
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(1, steps + 1):
        g = gradient(x) + o.weight_decay * x
        m = o.beta1 * m + (1 - o.beta1) * g
        v = o.beta2 * v + (1 - o.beta2) * g**2
        m_hat, v_hat = m / (1 - o.beta1**t), v / (1 - o.beta2**t)
        x = x - o.lr * m_hat / (np.sqrt(v_hat) + o.eps)
    return x


def adamw(o: AdamW, x: Vector, steps: int) -> Vector:
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(1, steps + 1):
        g = gradient(x)
        m = o.beta1 * m + (1 - o.beta1) * g
        v = o.beta2 * v + (1 - o.beta2) * g**2
        m_hat, v_hat = m / (1 - o.beta1**t), v / (1 - o.beta2**t)
        x = x - o.lr * (m_hat / (np.sqrt(v_hat) + o.eps) + o.weight_decay * x)
    return x


def nadam(o: NAdam, x: Vector, steps: int) -> Vector:
    m, v = np.zeros_like(x), np.zeros_like(x)
    product = 1.0

    def mu(t: int) -> float:
        return o.beta1 * (1 - 0.5 * 0.96 ** (t * o.momentum_decay))

    for t in range(1, steps + 1):
        g = gradient(x)
        x = x * (1 - o.lr * o.weight_decay)
        product *= mu(t)
        m = o.beta1 * m + (1 - o.beta1) * g
        v = o.beta2 * v + (1 - o.beta2) * g**2
        m_hat = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        x = x - o.lr * m_hat / (np.sqrt(v / (1 - o.beta2**t)) + o.eps)
    return x


def radam(o: RAdam, x: Vector, steps: int) -> Vector:
    m, v = np.zeros_like(x), np.zeros_like(x)
    rho_inf = 2 / (1 - o.beta2) - 1
    for t in range(1, steps + 1):
        g = gradient(x)
        x = x * (1 - o.lr * o.weight_decay)
        m = o.beta1 * m + (1 - o.beta1) * g
        v = o.beta2 * v + (1 - o.beta2) * g**2
        m_hat = m / (1 - o.beta1**t)
        rho = rho_inf - 2 * t * o.beta2**t / (1 - o.beta2**t)
        if rho > 5:
            r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            x = x - o.lr * r * m_hat / ((np.sqrt(v) + o.eps) / math.sqrt(1 - o.beta2**t))
        else:
            x = x - o.lr * m_hat
    return x


def rmsprop(o: RMSprop, x: Vector, steps: int) -> Vector:
    v, mean, buffer = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for _ in range(steps):
        g = gradient(x) + o.weight_decay * x
        v = o.rho * v + (1 - o.rho) * g**2
        mean = o.rho * mean + (1 - o.rho) * g
        scale = np.sqrt(v - mean**2 if o.centered else v) + o.eps
        buffer = o.momentum * buffer + g / scale
        x = x - o.lr * buffer
    return x


def adagrad(o: Adagrad, x: Vector, steps: int) -> Vector:
    s = np.full_like(x, o.initial_accumulator)
    for _ in range(steps):
        g = gradient(x) + o.weight_decay * x
        s = s + g**2
        x = x - o.lr * g / (np.sqrt(s) + o.eps)
    return x


CASES = [
    (sgd, SGD(lr=0.05)),
    (sgd, SGD(lr=0.05, momentum=0.9, weight_decay=0.01)),
    (sgd, SGD(lr=0.05, momentum=0.9, nesterov=True)),
    (sgd, SGD(lr=0.05, momentum=0.5, dampening=0.3)),
    (adam, Adam()),
    (adam, Adam(lr=0.1, beta1=0.99, beta2=0.9, eps=1e-3, weight_decay=0.1)),
    (adamw, AdamW()),
    (adamw, AdamW(lr=0.1, beta1=0.8, weight_decay=0.1)),
    (nadam, NAdam()),
    (nadam, NAdam(lr=0.05, momentum_decay=0.1, weight_decay=0.1)),
    (radam, RAdam(lr=0.01)),
    (radam, RAdam(lr=0.01, beta2=0.9, weight_decay=0.1)),
    (rmsprop, RMSprop()),
    (rmsprop, RMSprop(lr=0.01, rho=0.99, momentum=0.9, centered=True, weight_decay=0.01)),
    (adagrad, Adagrad()),
    (adagrad, Adagrad(lr=0.1, initial_accumulator=0.1, weight_decay=0.01)),
]


@pytest.mark.parametrize(
    ("rule", "component"), CASES, ids=lambda case: getattr(case, "__name__", str(case)[:60])
)
def test_transcription_of_the_paper(rule: Any, component: Any) -> None:
    expected = rule(component, np.array([1.0, -2.0, 0.7]), 50)
    # NAdam's product of the μ_t is kept in float32 by torch
    rtol = 1e-7 if isinstance(component, NAdam) else 1e-11
    np.testing.assert_allclose(ours(component, 50), expected, rtol=rtol)


@pytest.mark.parametrize(
    "parameters",
    [{"nesterov": True}, {"momentum": 0.9, "dampening": 0.1, "nesterov": True}, {"dampening": 0.1}],
)
def test_parameters_that_contradict_each_other(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="momentum"):
        SGD(lr=0.1, **parameters)


@pytest.mark.parametrize(
    ("component", "state"),
    [(SGD(lr=0.1, momentum=0.9), 1), (Adam(), 2), (AdamW(), 2), (Adagrad(), 1)],
)
def test_memory_of_the_state(component: Any, state: int) -> None:
    """Buffers of the size of the parameters that each method keeps."""
    model = nn.Linear(10, 10)
    optimizer = component.build(model)
    model(torch.ones(1, 10)).sum().backward()
    optimizer.step()
    buffers = [b for b in optimizer.state[model.weight].values() if torch.is_tensor(b)]
    assert sum(b.numel() == 100 for b in buffers) == state
