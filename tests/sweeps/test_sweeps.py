"""The sweeps of this repository: each expands to what its header promises, and decodes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from launch import preflight, sweep
from launch.backends import local
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
    "mnist_tuned": 4 * 6,
    "imdb": 2,
    "imagenet_optim": 6 * 6,
    "imagenet_largebatch": 3 * 4 * 3,
    "cifar_optim": (2 * 8 + 1) * 6,
    "cifar_schedules": 11 * 2 * 2 * 4,
    "imdb_schedules": 2 * 11 * 4,
    "optimizer_cost": 18,
}

# The linear rule and the square root are one at batch 256, and of three base rates a factor of two
# apart, two meet at four times that batch and one at sixteen times; three seeds each.
EQUAL = {"imagenet_largebatch": (3 + 2 + 1) * 3}

# Those with --quick: how many runs that leaves.
QUICK = {
    "imagenet_optim": 36 * 2,
    "imagenet_largebatch": 27 * 2,
    "cifar_optim": 102 * 2,
    "cifar_schedules": 11 * 2 * 2 * 2 * 2,
    "imdb_schedules": 2 * 11 * 2 * 2,
    "optimizer_cost": 18 * 2,
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
    assert len(set(ids)) == len(ids) - EQUAL.get(path.stem, 0)
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


# --- the comparisons at full size, and with --quick


@pytest.mark.parametrize("name", QUICK)
def test_at_full_size_nothing_is_missing_but_the_data(name: str) -> None:
    read = sweep.read(FOLDER / f"{name}.yaml", ["data.root=/nowhere"])
    wanted = sweep.expand(read)
    refusals = preflight.check(wanted, read).refusals
    assert [refusal.key for refusal in refusals] == ["data"]
    assert len(refusals[0].runs) == len(wanted)


@pytest.mark.parametrize(("name", "runs"), QUICK.items())
def test_quick_is_ready_on_a_machine_without_data_or_gpu(name: str, runs: int) -> None:
    path = FOLDER / f"{name}.yaml"
    read = sweep.read(path, quick=True)
    assert read.name == f"{name}_quick"
    checked = preflight.check(sweep.expand(read), read, ranks=local.ranks)
    assert not checked.refusals
    assert len(checked.wanted) == runs
    assert all(run.config.quick for run in checked.wanted)
    data = {run.config.data.title.partition(",")[0].partition(" (")[0] for run in checked.runs}
    assert data == {"IMDB" if name == "imdb_schedules" else "photo patches"}
    full = {identity(decode(run.config)) for run in sweep.expand(sweep.read(path))}
    assert full.isdisjoint(run.id for run in checked.runs)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", [name for name in QUICK if name != "optimizer_cost"])
def test_every_arm_has_as_many_trials_of_the_rate(name: str, quick: bool) -> None:
    wanted = sweep.expand(sweep.read(FOLDER / f"{name}.yaml", quick=quick))
    counts = Counter(run.arm for run in wanted)
    assert len(set(counts.values())) == 1
    for arm in counts:
        decays = {decode(r.config).optimizer.weight_decay for r in wanted if r.arm == arm}
        adam = arm.partition("_")[0] in ("adam", "adamw") and not name.startswith("imdb")
        assert len(decays) == (2 if adam else 1)


def test_schedule_free_runs_constant_with_a_warm_up() -> None:
    for name in QUICK:
        for run in sweep.expand(sweep.read(FOLDER / f"{name}.yaml")):
            config = decode(run.config)
            if config.optimizer.__class__.__name__.startswith("ScheduleFree"):
                assert run.config["schedule"] == {"name": "constant", "warmup": 0.05}


def test_large_batches_keep_32_images_for_batchnorm_and_scale_by_their_rule() -> None:
    read = sweep.read(FOLDER / "imagenet_largebatch.yaml")
    for run in sweep.expand(read):
        nodes = run.resources["nodes"]
        assert run.config["batch_size"] / (nodes * 8 * run.config["accumulation"]) == 32
        rate, times = run.config["optimizer"]["lr"], run.config["batch_size"] / 256
        scale = {"linear": times, "square_root": times**0.5, "unscaled": 1}[run.arm]
        assert min(abs(rate / scale - base) for base in (0.05, 0.1, 0.2)) < 1e-9


def test_schedules_run_with_and_without_a_monitor() -> None:
    for name in ("cifar_schedules", "imdb_schedules"):
        by_arm = {run.arm: run.config for run in sweep.expand(sweep.read(FOLDER / f"{name}.yaml"))}
        monitored = {arm for arm in by_arm if arm.endswith("_monitored")}
        assert len(monitored) == 5 * (2 if name == "imdb_schedules" else 1)
        for arm, config in by_arm.items():
            assert ("monitor" in config) == (arm in monitored)
            if arm in monitored:
                assert config["schedule"] == by_arm[arm.removesuffix("_monitored")]["schedule"]
