"""Optimizers that tell matrices from vectors, or train where they are not evaluated, against
their papers' formulas, transcribed, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lrscale.errors import UserError
from lrscale.models.mlp import MLP
from lrscale.optim.lamb import LAMB
from lrscale.optim.lars import LARS
from lrscale.optim.lion import Lion
from lrscale.optim.muon import Muon
from lrscale.optim.own.muon import COEFFICIENTS, orthogonalise
from lrscale.optim.prodigy import Prodigy
from lrscale.optim.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from lrscale.optim.shampoo import Shampoo
from lrscale.optim.soap import SOAP

Array = NDArray[np.float64]
STARTS = [
    np.array([[1.0, -2.0], [0.7, 0.3], [-0.4, 1.5]]),
    np.array([0.5, -0.1, 0.0]),
    np.array([0.2, -0.3, 0.1, 0.4, -0.2, 0.6, 0.9, -0.8, 0.3, 0.5, -0.5, 0.1]).reshape(2, 3, 1, 2),
]
MATRIX = STARTS[:1]
STEPS = 30


def gradient(x: Array) -> Array:
    """Of the problem below; elements of one row are coupled."""
    rows = x.reshape(len(x), -1)
    coupled = rows + 0.3 * rows.sum(1, keepdims=True)
    return coupled.reshape(x.shape) + np.sin(3 * x)


class Problem(nn.Module):
    """Σ ½x² + 0.15 Σ (Σ_row x)² − ⅓ Σ cos 3x over all parameters."""

    def __init__(self, starts: list[Array]) -> None:
        super().__init__()
        self.xs = nn.ParameterList([nn.Parameter(torch.from_numpy(x.copy())) for x in starts])

    def forward(self) -> torch.Tensor:
        rows = [x.reshape(len(x), -1).sum(1) for x in self.xs]
        return sum(
            x.square().sum() / 2 + 0.15 * row.square().sum() - torch.cos(3 * x).sum() / 3
            for x, row in zip(self.xs, rows, strict=True)
        )  # type: ignore[return-value]


def ours(component: Any, starts: list[Array]) -> list[Array]:
    """The delivered parameters after STEPS steps."""
    model = Problem(starts)
    optimizer = component.build(model)
    for _ in range(STEPS):
        optimizer.zero_grad()
        model().backward()
        optimizer.step()
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    return [x.detach().numpy() for x in model.xs]


def norm(x: Array) -> float:
    return float(np.sqrt((x**2).sum()))


def lars(o: LARS, x: Array) -> Array:
    v = np.zeros_like(x)
    for _ in range(STEPS):
        g = gradient(x)
        rate = o.trust_coefficient * norm(x) / (norm(g) + o.weight_decay * norm(x))
        v = o.momentum * v + (rate if x.ndim > 1 else 1) * o.lr * (g + o.weight_decay * x)
        x = x - v
    return x


def lamb(o: LAMB, x: Array) -> Array:
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(1, STEPS + 1):
        g = gradient(x)
        m, v = o.beta1 * m + (1 - o.beta1) * g, o.beta2 * v + (1 - o.beta2) * g**2
        r = m / (1 - o.beta1**t) / (np.sqrt(v / (1 - o.beta2**t)) + o.eps)
        u = r + o.weight_decay * x
        x = x - o.lr * (norm(x) / norm(u) if x.ndim > 1 else 1) * u
    return x


def lion(o: Lion, x: Array) -> Array:
    m = np.zeros_like(x)
    for _ in range(STEPS):
        g = gradient(x)
        c = o.beta1 * m + (1 - o.beta1) * g
        x = x - o.lr * (np.sign(c) + o.weight_decay * x)
        m = o.beta2 * m + (1 - o.beta2) * g
    return x


def quintic(sigma: Array, steps: int) -> Array:
    """What Newton and Schulz make of singular values."""
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        sigma = a * sigma + b * sigma**3 + c * sigma**5
    return sigma


def orthogonal(x: Array, steps: int) -> Array:
    u, sigma, vt = np.linalg.svd(x, full_matrices=False)
    return np.asarray((u * quintic(sigma / norm(sigma), steps)) @ vt)


def muon(o: Muon, x: Array) -> Array:
    if x.ndim == 1:
        return adamw(o, x)
    shape, x = x.shape, x.reshape(len(x), -1)
    buffer = np.zeros_like(x)
    for _ in range(STEPS):
        g = gradient(x)
        buffer = o.momentum * buffer + (1 - o.momentum) * g
        m = o.momentum * buffer + (1 - o.momentum) * g if o.nesterov else buffer
        scale = np.sqrt(max(1, x.shape[0] / x.shape[1]))
        x = x * (1 - o.lr * o.weight_decay) - o.lr * scale * orthogonal(m, o.ns_steps)
    return x.reshape(shape)


def adamw(o: Muon, x: Array) -> Array:
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(1, STEPS + 1):
        g = gradient(x)
        m = o.adamw_beta1 * m + (1 - o.adamw_beta1) * g
        v = o.adamw_beta2 * v + (1 - o.adamw_beta2) * g**2
        root = np.sqrt(v / (1 - o.adamw_beta2**t)) + o.adamw_eps
        x = x - o.adamw_lr * (m / (1 - o.adamw_beta1**t) / root + o.weight_decay * x)
    return x


def power(matrix: Array, exponent: float) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * values**exponent) @ vectors.T)


def shampoo(o: Shampoo, x: Array) -> Array:
    """For a matrix; a vector has the left preconditioner only."""
    columns = x.reshape(len(x), -1)
    left, right = o.eps * np.eye(len(x)), o.eps * np.eye(columns.shape[1])
    m = np.zeros_like(columns)
    for t in range(STEPS):
        g = gradient(columns.reshape(x.shape)).reshape(columns.shape) + o.weight_decay * columns
        left, right = left + g @ g.T, right + g.T @ g
        m = o.momentum * m + (1 - o.momentum) * g
        if t % o.precondition_frequency == 0:
            exponent = -1 / 4 if x.ndim == 2 else -1 / 2
            roots = power(left, exponent), power(right, exponent if x.ndim == 2 else 0.0)
        columns = columns - o.lr * roots[0] @ m @ roots[1]
    return columns.reshape(x.shape)


def soap(o: SOAP, x: Array) -> Array:
    """With the eigenbasis of the first step throughout."""
    first = gradient(x)
    left, right = (np.linalg.eigh(f)[1] for f in (first @ first.T, first.T @ first))
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(1, STEPS):
        g = gradient(x)
        m = o.beta1 * m + (1 - o.beta1) * g
        v = o.beta2 * v + (1 - o.beta2) * (left.T @ g @ right) ** 2
        rate = o.lr * np.sqrt(1 - o.beta2**t) / (1 - o.beta1**t)
        x = x - rate * left @ (left.T @ m @ right / (np.sqrt(v) + o.eps)) @ right.T
        x = x * (1 - o.lr * o.weight_decay)
    return x


def schedule_free_sgd(o: ScheduleFreeSGD, x: Array) -> Array:
    z = x
    for t in range(1, STEPS + 1):
        y = (1 - o.momentum) * z + o.momentum * x
        z = z - o.lr * (gradient(y) + o.weight_decay * y)
        x = (1 - 1 / t) * x + z / t
    return x


def schedule_free_adamw(o: ScheduleFreeAdamW, x: Array) -> Array:
    z, v = x, np.zeros_like(x)
    for t in range(1, STEPS + 1):
        y = (1 - o.beta1) * z + o.beta1 * x
        g = gradient(y)
        v = o.beta2 * v + (1 - o.beta2) * g**2
        z = z - o.lr * (g / (np.sqrt(v / (1 - o.beta2**t)) + o.eps) + o.weight_decay * y)
        x = (1 - 1 / t) * x + z / t
    return x


def prodigy(o: Prodigy, x: Array) -> Array:
    start, d, r = x, o.d0, 0.0
    s, m, v = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for _ in range(STEPS):
        g = gradient(x)
        m = o.beta1 * m + (1 - o.beta1) * d * g
        v = o.beta2 * v + (1 - o.beta2) * d**2 * g**2
        forget = np.sqrt(o.beta2)
        r = forget * r + (1 - forget) * o.lr * d**2 * (g * (start - x)).sum()
        s = forget * s + (1 - forget) * o.lr * d**2 * g
        x = x - o.lr * d * (m / (np.sqrt(v) + d * o.eps) + o.weight_decay * x)
        d = max(d, o.d_coef * r / abs(s).sum())
    return x


CASES: list[tuple[Callable[[Any, Array], Array], Any, list[Array]]] = [
    (lars, LARS(lr=0.1), STARTS),
    (lars, LARS(lr=0.1, momentum=0.5, trust_coefficient=0.1, weight_decay=0.1), STARTS),
    (lamb, LAMB(lr=0.01), STARTS),
    (lamb, LAMB(lr=0.1, beta1=0.5, beta2=0.9, eps=1e-3, weight_decay=0.1), STARTS),
    (lion, Lion(lr=0.01), STARTS),
    (lion, Lion(lr=0.01, beta1=0.5, beta2=0.7, weight_decay=0.1), STARTS),
    (muon, Muon(), STARTS),
    (muon, Muon(lr=0.1, momentum=0.5, nesterov=False, ns_steps=3, weight_decay=0.1), STARTS),
    (shampoo, Shampoo(lr=0.1), STARTS[:2]),
    (shampoo, Shampoo(lr=0.1, momentum=0, precondition_frequency=1, weight_decay=0.1), STARTS[:2]),
    (soap, SOAP(precondition_frequency=1000), MATRIX),
    (soap, SOAP(lr=0.1, beta1=0.5, precondition_frequency=1000, weight_decay=0.1), MATRIX),
    (schedule_free_sgd, ScheduleFreeSGD(lr=0.1), STARTS),
    (schedule_free_sgd, ScheduleFreeSGD(lr=0.1, momentum=0.5, weight_decay=0.1), STARTS),
    (schedule_free_adamw, ScheduleFreeAdamW(), STARTS),
    (schedule_free_adamw, ScheduleFreeAdamW(lr=0.1, beta1=0.5, weight_decay=0.1), STARTS),
    # its package multiplies ε by the next d instead of this one
    (prodigy, Prodigy(eps=1e-15), MATRIX),
    (prodigy, Prodigy(d0=1e-2, beta2=0.9, eps=1e-15, weight_decay=0.1), MATRIX),
]


@pytest.mark.parametrize(
    ("rule", "component", "starts"), CASES, ids=lambda case: getattr(case, "__name__", "")
)
def test_transcription_of_the_paper(rule: Any, component: Any, starts: list[Array]) -> None:
    for start, found in zip(starts, ours(component, starts), strict=True):
        assert np.abs(found - start).max() > 1e-4
        np.testing.assert_allclose(found, rule(component, start), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 3, 7), (2, 7, 3), (1, 20, 20), (2, 5, 40), (2, 40, 5)]
)
def test_orthogonalisation_acts_on_singular_values_alone(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = orthogonalise(matrices, 5)
    for matrix, result in zip(matrices, found, strict=True):
        np.testing.assert_allclose(result.numpy(), orthogonal(matrix.numpy(), 5), atol=1e-10)


def test_a_wide_matrix_of_low_rank_is_orthogonalised_in_float32_too() -> None:
    """By its Gram matrix, whose small eigenvalues are all rounding."""
    draw = torch.Generator().manual_seed(2)
    left, right = (torch.randn(shape, generator=draw) for shape in ((64, 4), (4, 576)))
    matrix = left @ right + 1e-5 * torch.randn((64, 576), generator=draw)
    found = orthogonalise(matrix[None], 5)[0]
    np.testing.assert_allclose(found.numpy(), orthogonal(matrix.double().numpy(), 5), atol=1e-3)


def test_large_dimensions_of_shampoo_keep_the_diagonal() -> None:
    """Of the 3 × 2 matrix the rows: their preconditioner is (ε + Σ_t Σ_j g²)^(−1/4)."""
    x, rows, right = MATRIX[0], np.full(3, 1e-4), 1e-4 * np.eye(2)
    for _ in range(STEPS):
        g = gradient(x)
        rows, right = rows + (g**2).sum(1), right + g.T @ g
        x = x - 0.1 * rows[:, None] ** -0.25 * (g @ power(right, -0.25))
    component = Shampoo(lr=0.1, momentum=0, precondition_frequency=1, max_dimension=2)
    (found,) = ours(component, MATRIX)
    np.testing.assert_allclose(found, x, rtol=1e-9)


def test_shampoo_puts_every_dimension_back() -> None:
    """A statistic of one dimension only, the others being 1 wide, is that of a vector."""
    start = STARTS[1] + 0.1
    component = Shampoo(lr=0.1, precondition_frequency=1)
    (vector,) = ours(component, [start])
    for shape in ((3, 1, 1), (3, 1, 1, 1)):
        (found,) = ours(component, [start.reshape(shape)])
        assert found.shape == shape
        assert np.abs(found.reshape(3) - start).max() > 1e-3
        assert np.sign(found.reshape(3) - start).tolist() == np.sign(vector - start).tolist()


def split(model: nn.Module) -> tuple[set[str], set[str]]:
    """Names of what Muon takes, and of what AdamW does."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = Muon().build(model).param_groups
    hidden, rest = ({names[id(p)] for p in group["params"]} for group in groups)
    return hidden, rest


def test_muon_leaves_embeddings_and_the_output_layer_to_adamw() -> None:
    text = nn.ModuleDict(
        {"embedding": nn.Embedding(9, 4), "lstm": nn.LSTM(4, 4), "out": nn.Linear(4, 2)}
    )
    assert split(text)[0] == {"lstm.weight_ih_l0", "lstm.weight_hh_l0"}
    images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    assert split(images) == ({"0.weight"}, {"0.bias", "1.weight", "1.bias", "3.weight", "3.bias"})
    assert split(nn.Linear(3, 2))[0] == {"weight"}  # a linear model has nothing else


def test_muon_on_a_network_without_matrices() -> None:
    with pytest.raises(UserError, match="two dimensions and more"):
        Muon().build(nn.BatchNorm1d(3))
    with pytest.raises(UserError, match="apart from embeddings"):
        Muon().build(nn.Embedding(3, 3))


def test_channels_last_weights_learn_the_same() -> None:
    """Muon sees a convolution as a matrix whatever its strides."""
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)).to(memory_format=layout)
        optimizer = Muon().build(model)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 3, 8, 8)).square().sum().backward()
            optimizer.step()
        found.append([p.detach().contiguous() for p in model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_mlp_of_the_registry_has_hidden_weights() -> None:
    torch.manual_seed(0)
    hidden, rest = split(MLP(width=8, second_width=None).build((1, 4, 4), 3))
    assert len(hidden) == 1
    assert len(rest) == 3
