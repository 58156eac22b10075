from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscale.config import ConfigError, decode, encode, identity
from lrscale.errors import UserError
from lrscale.theory.observables import loss
from lrscale.theory.problem import compress, make_problem


def config(**fields):
    return decode({"workload": "gd", "dim": 8, "rank": 4, "input": {"samples": 24}, **fields})


def test_reconstruction_is_the_default():
    full = decode({"workload": "gd"})
    assert (full.epochs, full.widths, full.input.samples) == (10**6, (70, 35, 70), 210)
    problem = make_problem(full)
    assert problem.inputs.shape == (70, 210)
    assert problem.inputs.std() == pytest.approx(70**-0.5, rel=0.02)
    target = problem.targets @ np.linalg.pinv(problem.inputs)
    values = np.linalg.svd(target, compute_uv=False)
    np.testing.assert_allclose(values, [1] * 35 + [0] * 35, atol=1e-12)


def test_a_function_of_the_seed_and_the_data_alone():
    base = make_problem(config())
    same = make_problem(config(depth=3, epochs=5, start={"name": "gaussian", "scale": 2}))
    np.testing.assert_array_equal(base.inputs, same.inputs)
    np.testing.assert_array_equal(base.targets, same.targets)
    assert not np.array_equal(base.inputs, make_problem(config(seed=1)).inputs)


@pytest.mark.parametrize(
    ("at", "names"),
    [
        ("both", ("tanh",) * 3),
        ("hidden", ("tanh", "tanh", "linear")),
        ("output", ("linear", "linear", "tanh")),
    ],
)
def test_activation_at_hidden_output_or_both(at, names):
    assert make_problem(config(depth=3, activation="tanh", at=at)).activations == names


def test_noise_and_output_dimension():
    clean, noisy = make_problem(config(output_dim=5)), make_problem(config(output_dim=5, noise=0.5))
    assert clean.targets.shape == (5, 24)
    assert (noisy.targets - clean.targets).std() == pytest.approx(0.5, rel=0.3)


def test_whitened_input():
    whitened = {"name": "whitened", "samples": 24}
    inputs = make_problem(config(input=whitened)).inputs
    np.testing.assert_allclose(inputs @ inputs.T, np.eye(8), atol=1e-13)
    with pytest.raises(UserError, match="cannot be whitened in 8 dimensions; give at least 8"):
        make_problem(config(input={"name": "whitened", "samples": 7}))


def test_given_input(tmp_path):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, 5)), random.normal(size=(8, 5))
    path = tmp_path / "data.npz"
    np.savez(path, X=x, Y=y)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    given_input = {"name": "given", "path": str(path), "sha256": digest[:12]}
    problem = make_problem(config(input=given_input))
    np.testing.assert_array_equal(problem.inputs, x)
    np.testing.assert_array_equal(problem.targets, y)
    elsewhere = config(input=given_input | {"path": "elsewhere.npz"})
    assert identity(elsewhere) == identity(config(input=given_input))
    with pytest.raises(UserError, match=r"cannot read 'elsewhere.npz'"):
        make_problem(elsewhere)
    with pytest.raises(UserError, match=f"has the digest {digest[:16]}…, not abcabcabcabc"):
        make_problem(config(input=given_input | {"sha256": "abc" * 4}))
    with pytest.raises(UserError, match=r"X .* is of shape \(8, 5\); expected .* of 9"):
        make_problem(config(input=given_input, dim=9))
    np.savez(path, X=x)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    alone = make_problem(config(input=given_input | {"sha256": digest}))
    assert np.linalg.matrix_rank(alone.targets) == 4
    assert np.linalg.norm(alone.targets, 2) <= np.linalg.norm(x, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 9}, "rank 9 is above the narrowest width, 8"),
        ({"rank": 4, "hidden": 3}, "rank 4 is above the narrowest width, 3"),
        ({"depth": 1}, "depth must be at least 2"),
        ({"depth": 10**30}, "depth must be at most 1,000"),
        ({"depth": 3, "hidden": [4]}, "hidden has 1 widths; depth 3 has 2 hidden layers"),
        ({"start": {"name": "perturbed", "alpha": 1.0, "delta": 1.0}}, "start.alpha"),
        ({"step_size": {"name": "bound", "alpha": 1.5}}, "step_size.alpha"),
        ({"step_size": {"name": "decreasing", "exponent": 1.5}}, "finite length"),
        (
            {"step_size": {"name": "decreasing", "exponent": 1, "eta_max": 1, "factor": 2}},
            "not both",
        ),
        ({"step_size": {"name": "bond"}}, "did you mean 'bound'"),
        ({"activation": "gelu"}, "activation"),
    ],
)
def test_bad_input_has_a_message_of_its_own(fields, message):
    with pytest.raises(ConfigError, match=message):
        config(**fields)


def test_config_survives_its_own_encoding():
    full = config(depth=3, hidden=[5, 6], start={"name": "balanced", "singular_values": [1, 0.5]})
    assert decode(encode(full)) == full
    assert identity(decode(encode(full))) == identity(full)


@given(
    rows=st.integers(1, 8),
    outputs=st.integers(1, 8),
    samples=st.integers(1, 20),
    noise=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 1000),
)
def test_compression_keeps_the_loss(rows, outputs, samples, noise, seed, random_problem):
    problem, weights = random_problem((rows, 4, outputs), samples, seed, noise=noise)
    compressed, basis = compress(problem)
    assert compressed.inputs.shape == (rows, rows)
    rotated = [weights[0] @ basis, weights[1]]
    # Solving with X costs digits where X is near singular, as a square one can be.
    lost = 10 * np.finfo(float).eps * np.linalg.cond(problem.inputs) ** 2
    assert loss(compressed, rotated) == pytest.approx(loss(problem, weights), rel=1e-11 + lost)
    gram, cross = problem.inputs @ problem.inputs.T, problem.targets @ problem.inputs.T
    np.testing.assert_allclose(
        basis @ compressed.inputs**2 @ basis.T, gram, atol=1e-12 * np.abs(gram).max()
    )
    np.testing.assert_allclose(
        compressed.targets @ compressed.inputs @ basis.T, cross, atol=1e-12 * np.abs(cross).max()
    )


def test_constant_of_the_compression_keeps_its_digits(random_problem):
    """½(‖Y‖² − ‖Q‖²) as a difference would be 1e−13 where it is 0, and drown a loss of 1e−25."""
    problem, _ = random_problem((8, 4, 8), 30, noise=0.0)
    assert compress(problem)[0].floor == 0.0
    noisy, _ = random_problem((8, 4, 8), 30, noise=1e-9)
    best = noisy.targets @ np.linalg.pinv(noisy.inputs)
    expected = 0.5 * np.linalg.norm(noisy.targets - best @ noisy.inputs) ** 2
    assert compress(noisy)[0].floor == pytest.approx(expected, rel=1e-5)
