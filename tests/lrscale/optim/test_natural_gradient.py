"""Natural gradient against a dense solve, in float64."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from stepping import Bits, Classes, Squares, add_gradients, take_step
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from lrscale.errors import UserError
from lrscale.optim.curvature.natural_gradient import conjugate_gradients
from lrscale.optim.natural_gradient import NaturalGradient

EXACT = NaturalGradient(lr=0.5, damping=0.1, cg_steps=200, cg_tolerance=1e-13)


pytestmark = pytest.mark.usefixtures("in_float64")


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 3))


def example(workload: Any, size: int = 6) -> tuple[Tensor, Tensor]:
    targets = {
        Classes: torch.randint(3, (size,)),
        Bits: torch.randint(2, (size, 3)).double(),
        Squares: torch.randn(size, 3),
    }
    return torch.randn(size, 4), targets[type(workload)]


def parameters_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def gauss_newton(model: nn.Module, workload: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """JᵀHJ of the whole batch, with BatchNorm over it: dense."""
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    inputs, targets = batch

    def outputs(theta: Tensor) -> Tensor:
        parts = theta.split([shape.numel() for shape in shapes])
        named = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        buffers = {n: b.clone() for n, b in model.named_buffers()}
        result: Tensor = torch.func.functional_call(model, {**named, **buffers}, (inputs,))
        return result.flatten()

    theta = parameters_of(model)
    z = outputs(theta)
    hessian = torch.autograd.functional.hessian(
        lambda flat: workload.loss(flat.view(len(inputs), -1), targets), z
    )
    j = jacobian(outputs, theta)
    assert isinstance(j, Tensor)
    return j.T @ hessian @ j


@pytest.mark.parametrize("workload", [Classes(), Bits(), Squares()])
def test_step_solves_the_damped_system(workload: Any):
    model, batch = network(), example(workload)
    matrix = gauss_newton(model, workload, batch) + 0.1 * torch.eye(len(parameters_of(model)))
    optimizer = EXACT.build(model)
    before = parameters_of(model)
    optimizer.zero_grad()
    add_gradients(model, optimizer, workload, batch)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    optimizer.step()
    expected = before - 0.5 * torch.linalg.solve(matrix, gradient)
    torch.testing.assert_close(parameters_of(model), expected, rtol=1e-9, atol=1e-11)


def test_one_step_solves_least_squares():
    model = nn.Linear(4, 3)
    batch = example(Squares(), size=20)
    newton = dataclasses.replace(EXACT, lr=1.0, damping=1e-14)
    take_step(model, newton.build(model), Squares(), batch)
    design = torch.cat([batch[0], torch.ones(20, 1)], dim=1)
    expected = torch.linalg.lstsq(design, batch[1]).solution.T
    torch.testing.assert_close(model.weight.detach(), expected[:, :4])
    torch.testing.assert_close(model.bias.detach(), expected[:, 4])


def test_micro_batches_are_one_batch():
    results = []
    for cuts in ([12], [6, 6], [4, 4, 4]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
        optimizer = EXACT.build(model)
        inputs, targets = example(Classes(), size=12)
        optimizer.zero_grad()
        first = 0
        for x, y in zip(inputs.split(cuts), targets.split(cuts), strict=True):
            add_gradients(model, optimizer, Classes(), (x, y), first=first, of=12)
            first += len(x)
        optimizer.step()
        results.append(parameters_of(model))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-10, atol=1e-12)


def test_products_leave_the_model_as_it_was():
    """Dropout draws nothing in them, and BatchNorm averages the training's pass alone."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 3))
    reference = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 3))
    reference.load_state_dict(model.state_dict())
    model[1].eval()
    reference[1].eval()
    batch = example(Classes())
    for net, optimizer in (
        (model, EXACT.build(model)),
        (reference, torch.optim.SGD(reference.parameters())),
    ):
        torch.manual_seed(3)
        take_step(net, optimizer, Classes(), batch)
        net.drawn = torch.rand(3)
    assert torch.equal(model.drawn, reference.drawn)
    assert [m.training for m in model.modules()] == [m.training for m in reference.modules()]
    for buffer, other in zip(model.buffers(), reference.buffers(), strict=True):
        assert torch.equal(buffer, other)


def test_conjugate_gradients():
    root = torch.randn(10, 10)
    matrix, b = root @ root.T + 0.1 * torch.eye(10), torch.randn(10)
    products = 0

    def product(v: Tensor) -> Tensor:
        nonlocal products
        products += 1
        return matrix @ v

    x = conjugate_gradients(product, b, 40, 1e-12)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b), rtol=1e-8, atol=1e-10)
    rough = conjugate_gradients(product, b, 40, 0.5)
    assert (matrix @ rough - b).norm() <= 0.5 * b.norm()
    products = 0
    early = conjugate_gradients(product, b, 3, 0.0)
    assert products == 3
    assert early.dot(b) > 0
    assert torch.equal(conjugate_gradients(product, torch.zeros(10), 3, 0.0), torch.zeros(10))


def test_a_recurrent_network_is_refused():
    with pytest.raises(UserError, match=r"LSTM \(1\)"):
        EXACT.build(nn.Sequential(nn.Embedding(3, 3), nn.LSTM(3, 3)))


def test_a_step_that_was_not_observed_is_refused():
    model = network()
    optimizer = EXACT.build(model)
    model(torch.randn(6, 4)).sum().backward()
    with pytest.raises(RuntimeError, match="observe"):
        optimizer.step()
