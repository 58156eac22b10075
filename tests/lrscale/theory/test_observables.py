from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscale.config import decode
from lrscale.theory.engine import engine_coordinates
from lrscale.theory.observables import (
    effective_rank,
    gradient,
    hessian,
    loss,
    measure,
    sharpness,
)
from lrscale.theory.problem import make_problem

networks = st.tuples(
    st.lists(st.integers(1, 6), min_size=3, max_size=5).map(tuple),
    st.integers(1, 9),
    st.sampled_from(["linear", "tanh", "sigmoid", "relu"]),
    st.integers(0, 10**6),
)


def dense_hessian(plain_loss, problem, weights):
    """Through autograd, all entries."""
    shapes = [w.shape for w in weights]
    sizes = [w.size for w in weights]

    def of_flat(flat):
        parts = torch.split(flat, sizes)
        return plain_loss(problem, [p.reshape(s) for p, s in zip(parts, shapes, strict=True)])

    flat = torch.tensor(np.concatenate([w.ravel() for w in weights]))
    return torch.autograd.functional.hessian(of_flat, flat).numpy()


@settings(max_examples=30)
@given(network=networks)
def test_loss_gradient_and_hessian_against_autograd(network, random_problem, plain_loss):
    widths, samples, name, seed = network
    problem, weights = random_problem(widths, samples, seed, name, name)
    tensors = [torch.tensor(w, requires_grad=True) for w in weights]
    value = plain_loss(problem, tensors)
    value.backward()
    assert loss(problem, weights) == pytest.approx(value.item(), rel=1e-12)
    for found, tensor in zip(gradient(problem, weights), tensors, strict=True):
        np.testing.assert_allclose(found, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)
    direction = [np.random.default_rng(seed).normal(size=w.shape) for w in weights]
    dense = dense_hessian(plain_loss, problem, weights)
    expected = dense @ np.concatenate([v.ravel() for v in direction])
    product = np.concatenate([v.ravel() for v in hessian(problem, weights)(direction)])
    np.testing.assert_allclose(product, expected, rtol=1e-8, atol=1e-10)


@settings(max_examples=20)
@given(network=networks)
def test_sharpness_against_the_dense_hessian(network, random_problem, plain_loss):
    widths, samples, name, seed = network
    problem, weights = random_problem(widths, samples, seed, name, name)
    eigenvalues = np.linalg.eigvalsh(dense_hessian(plain_loss, problem, weights))
    # within the square of the tolerance, on the scale of the spectrum
    assert sharpness(problem, weights, 1e-4) == pytest.approx(
        eigenvalues[-1], abs=1e-6 * np.abs(eigenvalues).max() + 1e-12
    )


def test_sharpness_at_a_scalar_minimum():
    """At w_1 w_2 = 1 the Hessian of ½(w_1w_2 − 1)² has the eigenvalue w_1² + w_2²."""
    problem = make_problem(decode({"workload": "gd", "dim": 1, "rank": 1, "input": {"samples": 1}}))
    x, y = problem.inputs[0, 0], problem.targets[0, 0]
    weights = [np.array([[2.0]]), np.array([[y / x / 2]])]
    assert sharpness(problem, weights) == pytest.approx(x**2 * (4 + (y / x / 2) ** 2))


@pytest.mark.parametrize(
    ("values", "rank"),
    [([1.0, 1.0, 1.0], 3.0), ([2.0, 0.0], 1.0), ([0.0, 0.0], 0.0), ([3.0, 1.0], None)],
)
def test_effective_rank(values, rank):
    if rank is None:
        rank = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(np.array(values)) == pytest.approx(rank)


def test_record_against_its_definitions(random_problem):
    problem, weights = random_problem((5, 4, 3, 6), 11)
    record = measure(problem, weights, with_sharpness=True)
    product = weights[2] @ weights[1] @ weights[0]
    assert record["product_norm"] == pytest.approx(np.linalg.norm(product, 2))
    assert record["product_frobenius"] == pytest.approx(np.linalg.norm(product))
    assert record["layer_norms"] == pytest.approx([np.linalg.norm(w, 2) for w in weights])
    assert record["layer_frobenius"] == pytest.approx([np.linalg.norm(w) for w in weights])
    drifts = [weights[j + 1].T @ weights[j + 1] - weights[j] @ weights[j].T for j in (0, 1)]
    assert record["imbalances"] == pytest.approx([np.linalg.norm(d, 2) for d in drifts])
    squares = sum(np.sum(g**2) for g in gradient(problem, weights))
    assert record["gradient_norm"] == pytest.approx(math.sqrt(squares))
    assert "sharpness" not in measure(problem, weights, with_sharpness=False)


def test_engine_coordinates_change_no_measurement(random_problem):
    problem, weights = random_problem((6, 4, 4, 5), 30)
    given_record = measure(problem, weights, with_sharpness=True)
    record = measure(*engine_coordinates(problem, weights), with_sharpness=True)
    for name, value in given_record.items():
        rel = 1e-4 if name == "sharpness" else 1e-10
        assert record[name] == pytest.approx(value, rel=rel), name
