"""The sweeps of this repository: each expands to what its header promises, and decodes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from launch import sweep
from lrscale.config import decode, identity
from lrscale.workloads.gd import BoundStep

FOLDER = Path(__file__).parents[2] / "sweeps"
FILES = sorted(FOLDER.glob("*.yaml"))

POINTS = {
    "quickstart": 5 * 3,
    "mnist_optim": 4,
    "mnist_lr": 7,
    "mnist_grid": 27,
    "mnist_random": 10,
    "mnist_random_lr": 10,
    "mnist_cnn": 3 * 3,
}

# Gradient descent on deep networks: points and seeds of each.
GD = {
    "gd_linear": (2 * 3, 3),
    "gd_tanh": (3, 3),
    "gd_decreasing": ((1 + 3) * 2 * 3, 3),
    "gd_balance": (5 * 3, 100),
    "gd_edge": (3 * 3, 3),
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_expands_decodes_and_says_what_it_asks(path: Path) -> None:
    read = sweep.read(path)
    wanted = sweep.expand(read)
    assert read.name == path.stem
    assert read.notes
    assert not wanted.warnings
    ids = [identity(decode(run.config)) for run in wanted]
    assert len(set(ids)) == len(ids)
    header = path.read_text()
    assert "# Asks:" in header
    assert "# Held against:" in header


@pytest.mark.parametrize(("name", "points"), POINTS.items())
def test_points_times_three_seeds(name: str, points: int) -> None:
    wanted = sweep.expand(sweep.read(FOLDER / f"{name}.yaml"))
    assert Counter(run.seed for run in wanted) == dict.fromkeys(range(3), points)


def test_the_random_searches_share_a_box_and_their_draws() -> None:
    """They are compared at equal spaces, so one may differ from the other in the rate alone."""
    fixed = sweep.expand(sweep.read(FOLDER / "mnist_random.yaml"))
    drawn = sweep.expand(sweep.read(FOLDER / "mnist_random_lr.yaml"))
    grid = sweep.expand(sweep.read(FOLDER / "mnist_grid.yaml"))
    for key in ("optimizer.momentum", "model.width", "model.second_width"):
        assert [run.point[key] for run in fixed] == [run.point[key] for run in drawn]
        box = [run.point[key] for run in grid]
        assert all(min(box) <= run.point[key] <= max(box) for run in fixed)
    assert len({run.point["optimizer.lr"] for run in drawn}) == 10


def test_every_mnist_sweep_runs_on_the_full_set_by_one_override() -> None:
    for path in FOLDER.glob("mnist_*.yaml"):
        wanted = sweep.expand(sweep.read(path, ["data.root=/somewhere"]))
        assert {decode(run.config).data.variant for run in wanted} == {"full"}


@pytest.mark.parametrize(("name", "expected"), GD.items())
def test_points_and_seeds_of_gradient_descent(name: str, expected: tuple[int, int]) -> None:
    points, seeds = expected
    wanted = sweep.expand(sweep.read(FOLDER / f"{name}.yaml"))
    assert Counter(run.seed for run in wanted) == dict.fromkeys(range(seeds), points)
    configs = [decode(run.config) for run in wanted]
    assert {config.workload for config in configs} == {"gd"}
    assert {config.depth for config in configs} == {2, 3, 5}


def test_the_million_epochs_are_those_of_the_published_figures() -> None:
    for name, rank in (("gd_linear", 35), ("gd_tanh", 25)):
        for run in sweep.expand(sweep.read(FOLDER / f"{name}.yaml")):
            config = decode(run.config)
            assert (config.epochs, config.dim, config.rank) == (10**6, 70, rank)
            assert config.step_size == BoundStep()
