from __future__ import annotations

import numpy as np
import pytest
import torch

from lrscale.theory.batched import BatchedGradientDescent
from lrscale.theory.engine import GradientDescent, StepSizes, engine_coordinates

STEPS = [StepSizes(1e-2), StepSizes(3e-2, 0.5), StepSizes(1e-3)]


@pytest.fixture(params=["linear", "tanh", "relu", "sigmoid"])
def runs(request, random_problem):
    """(problem, weights) of three runs of one shape, in the engine's coordinates."""
    made = (random_problem((7, 5, 4, 6), 15, s, request.param, request.param) for s in range(3))
    return [engine_coordinates(*run) for run in made]


def test_every_run_follows_the_engine(runs):
    batch = BatchedGradientDescent(*zip(*runs, strict=True), STEPS)
    batch.advance(300)
    for (problem, weights), steps, found in zip(runs, STEPS, batch.weights, strict=True):
        single = GradientDescent(problem, weights, steps)
        single.advance(300)
        for a, b in zip(found, single.weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_cut_into_blocks_leaves_no_trace(runs, dtype):
    problems, weights = zip(*runs, strict=True)
    whole = BatchedGradientDescent(problems, weights, STEPS, dtype)
    whole.advance(2100)
    part = BatchedGradientDescent(problems, weights, STEPS, dtype)
    part.advance(1037)
    part = BatchedGradientDescent(problems, part.weights, STEPS, dtype, epoch=part.epoch)
    part.advance(1063)
    assert part.epoch == whole.epoch == 2100
    for a, b in zip(part.weights, whole.weights, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_one_run_diverges_and_the_others_go_on(random_problem):
    runs = [engine_coordinates(*random_problem((6, 5, 6), 12, seed)) for seed in range(3)]
    steps = [StepSizes(1e-2), StepSizes(2.0), StepSizes(1e-2)]
    batch = BatchedGradientDescent(*zip(*runs, strict=True), steps)
    batch.advance(1500)
    single = GradientDescent(*runs[1], steps[1])
    single.advance(1500)
    assert batch.diverged == [None, single.diverged, None]
    assert batch.epoch == 1500
    alone = BatchedGradientDescent([runs[0][0]], [runs[0][1]], [steps[0]])
    alone.advance(1500)
    for a, b in zip(batch.weights[0], alone.weights[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
def test_graphs_on_cuda(runs):
    problems, weights = zip(*runs, strict=True)
    graphs = BatchedGradientDescent(problems, weights, STEPS, device="cuda")
    plain = BatchedGradientDescent(problems, weights, STEPS)
    graphs.advance(250)
    plain.advance(250)
    for a, b in zip(graphs.weights, plain.weights, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-13)


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("count", [1, 2, 17, 300])
def test_the_others_of_a_batch_change_no_bit_on_cuda(runs, dtype, count):
    problems, weights = zip(*runs, strict=True)

    def first(copies):
        batch = BatchedGradientDescent(
            problems * copies, weights * copies, STEPS * copies, dtype, "cuda"
        )
        batch.advance(250)
        return batch

    alone = BatchedGradientDescent(problems[:1], weights[:1], STEPS[:1], dtype, "cuda")
    alone.advance(250)
    assert alone.at_floor() == [False]
    for a, b in zip(alone.weights[0], first(count).weights[0], strict=True):
        np.testing.assert_array_equal(a, b)
