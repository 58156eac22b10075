"""Runs in a store: complete, cut, diverged."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from lrscale.checkpoint import checkpoints
from lrscale.config import decode, encode, identity
from lrscale.control import Control, Outcome
from lrscale.errors import UserError
from lrscale.store import Store
from lrscale.theory import run, run_together
from lrscale.theory.attempt import GDAttempt
from lrscale.theory.batched import BatchedGradientDescent
from lrscale.theory.epochs import measured_epochs, sharpness_epochs
from lrscale.theory.loop import carry_on

VARIANTS = [
    {},
    {"dtype": "float32", "noise": 0.1},
    {"activation": "tanh", "at": "hidden"},
    {"step_size": {"name": "edge", "scan_epochs": 400}},
    {"step_size": {"name": "decreasing", "exponent": 0.5, "factor": 5}},
    {"start": {"name": "perturbed", "alpha": 0.5, "delta": 0.5}},
]


def config(**fields):
    small = {"dim": 8, "rank": 4, "depth": 3, "input": {"samples": 24}, "epochs": 3000}
    return decode({"workload": "gd", **small, **fields})


@pytest.fixture
def store(store_root):
    store = Store(store_root)
    store.create()
    return store


def directory(store, run_config, name=""):
    run_dir = store.run(identity(run_config) + name)
    run_dir.create({"config": encode(run_config)})
    return run_dir


def timeless(records):
    return [{k: v for k, v in r.items() if "seconds" not in k} for r in records]


def result(run_dir):
    """What two runs that are the same must agree in."""
    summary = run_dir.summary()
    wall_clock = {"seconds", "attempts", "peak_memory_bytes"}
    return {k: v for k, v in summary.items() if k not in wall_clock}, timeless(run_dir.metrics())


def test_a_run_to_its_end(store):
    run_config = config(record_at=[1234])
    run_dir = directory(store, run_config)
    assert run(run_config, run_dir, Control()) == Outcome("done", 3000)
    assert run_dir.state().state == "done"
    records = run_dir.metrics()
    assert [r["step"] for r in records] == measured_epochs(run_config)
    assert 1234 in measured_epochs(run_config)
    assert [r["step"] for r in records if "sharpness" in r] == sharpness_epochs(run_config)
    assert all(r["bound_holds"] for r in records)
    losses = [r["loss"] for r in records]
    assert losses == sorted(losses, reverse=True)
    summary = run_dir.summary()
    assert summary["metrics"]["loss"] == losses[-1]
    assert summary["metrics"].keys() >= {"layer_norm_1", "layer_norm_3", "imbalance_2", "eta"}
    theory = summary["theory"]
    assert theory["drift_residual"] < 1e-13
    assert theory["drift_increment"] > 1e-3
    assert len(theory["saddle_levels"]) == 5
    assert summary["eta_max"] == theory["bound"] == records[0]["eta"]
    assert not checkpoints(run_dir.path)


@pytest.mark.parametrize("fields", VARIANTS)
def test_a_run_cut_anywhere_equals_one_that_was_not(fields, store):
    run_config = config(**fields)
    whole, cut = directory(store, run_config), directory(store, run_config, "cut")
    run(run_config, whole, Control())
    outcomes = [run(run_config, cut, Control(max_steps=n)) for n in (1, 699, 300, 1500)]
    assert [o.step for o in outcomes] == [1, 700, 1000, 2500]
    assert {(o.state, o.reason) for o in outcomes} == {("stopped", "max_steps")}
    assert cut.state().state == "interrupted"
    assert run(run_config, cut, Control()) == Outcome("done", 3000)
    assert result(cut) == result(whole)
    assert cut.summary()["attempts"] == 5


def test_a_run_asked_to_stop_saves_and_leaves(store):
    run_config = config(epochs=10**9)
    run_dir = directory(store, run_config)
    assert run(run_config, run_dir, Control(stop="preempted")) == Outcome("stopped", 0, "preempted")
    assert run_dir.state().state == "preempted"
    assert len(checkpoints(run_dir.path)) == 1


def test_a_run_killed_before_its_first_checkpoint_starts_afresh(store):
    run_config = config()
    whole, killed = directory(store, run_config), directory(store, run_config, "killed")
    run(run_config, whole, Control())
    attempt = GDAttempt(run_config, killed, Control(), "cpu")
    attempt.record(0)
    attempt._attempt._metrics.flush()
    run(run_config, killed, Control())
    assert result(killed) == result(whole)


def test_a_checkpoint_ahead_of_the_record_is_passed_over(store):
    """An attempt that was overtaken may have left one."""
    run_config = config()
    whole, run_dir = directory(store, run_config), directory(store, run_config, "behind")
    run(run_config, whole, Control())
    run(run_config, run_dir, Control(max_steps=2000))
    metrics = run_dir.path / "metrics-0001.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:20]))
    run(run_config, run_dir, Control())
    assert result(run_dir) == result(whole)


def test_divergence_is_a_state_with_its_epoch(store):
    run_config = config(step_size={"name": "constant", "eta": 3.0})
    run_dir = directory(store, run_config)
    outcome = run(run_config, run_dir, Control())
    state = run_dir.state()
    assert outcome == Outcome("diverged", state.step)
    assert state.state == "diverged"
    assert 0 < state.step < 30
    assert f"not finite at epoch {state.step}: eta 3 is" in state.cause
    assert "times the theorem's bound" in state.cause
    assert math.isfinite(run_dir.metrics()[-1]["loss"])
    assert run_dir.metrics()[-1]["step"] < state.step
    assert run_dir.summary()["step"] == state.step


def test_stopping_at_the_floor_only_if_asked(store):
    floor = {"dtype": "float32", "step_size": {"name": "constant", "eta": 0.002}, "epochs": 200_000}
    asked = config(**floor, stop_at_floor=True)
    run_dir = directory(store, asked)
    outcome = run(asked, run_dir, Control())
    assert outcome.state == "done"
    assert outcome.step % 1000 == 0
    assert outcome.step < 200_000
    cut = directory(store, asked, "cut")
    run(asked, cut, Control(max_steps=1700))
    assert run(asked, cut, Control()) == outcome
    assert result(cut) == result(run_dir)
    full = directory(store, config(**floor))
    assert run(config(**floor), full, Control()) == Outcome("done", 200_000)
    assert full.summary()["weights"] == run_dir.summary()["weights"]


def test_edge_is_recorded_as_a_bracket(store):
    run_config = config(step_size={"name": "edge", "scan_epochs": 500}, epochs=50)
    run_dir = directory(store, run_config)
    run(run_config, run_dir, Control())
    summary = run_dir.summary()
    bracket = summary["theory"]["bracket"]
    assert summary["eta_max"] == bracket["converges"] < bracket["fails"]
    assert {state for _, state in bracket["trials"]} >= {"converged", "diverged"}


def test_a_stop_during_the_scan(store):
    """A scan takes minutes; the run leaves at its next trial, and so do those beside it."""
    scanned = config(step_size={"name": "edge", "scan_epochs": 500}, epochs=50)
    configs = [config(epochs=50), scanned, config(epochs=50, seed=1)]
    dirs = [directory(store, c) for c in configs]
    outcomes = run_together(configs, dirs, Control(stop="preempted"))
    assert outcomes == [Outcome("stopped", 0, "preempted")] * 3
    states = [run_dir.state() for run_dir in dirs]
    assert [state and state.state for state in states] == ["preempted", "preempted", None]
    assert run_together(configs, dirs, Control()) == [Outcome("done", 50)] * 3


def test_the_bound_is_left_out_where_it_does_not_apply(store):
    few = {"input": {"samples": 5}}
    run_config = config(**few, step_size={"name": "constant", "eta": 1e-3}, epochs=20)
    run_dir = directory(store, run_config)
    run(run_config, run_dir, Control())
    assert run_dir.summary()["theory"]["bound"] is None
    assert "bound_holds" not in run_dir.metrics()[0]
    with pytest.raises(UserError, match="needs XXᵀ of full rank, but it has rank 5 of 8"):
        run(config(**few), directory(store, config(**few)), Control())


def test_importing_the_trainer_does_not_import_torch():
    """It takes seconds and 200 MB, and serves only checkpoints and GPUs here."""
    code = "import sys, lrscale.theory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_runs_one_after_another(store):
    configs = [config(seed=seed) for seed in range(3)]
    dirs = [directory(store, c) for c in configs]
    assert run_together(configs, dirs, Control()) == [Outcome("done", 3000)] * 3
    alone = directory(store, configs[1], "alone")
    run(configs[1], alone, Control())
    assert result(dirs[1]) == result(alone)


class TestBatched:
    """The path of a GPU, on the CPU and without a graph."""

    def carry_on(self, configs, dirs, control):
        attempts = [GDAttempt(c, d, control, "cpu") for c, d in zip(configs, dirs, strict=True)]
        settings = [a.setting for a in attempts]
        descents = BatchedGradientDescent(
            [s.problem for s in settings],
            [s.weights for s in settings],
            [s.step_sizes for s in settings],
            epoch=attempts[0].epoch,
        )
        return carry_on(attempts, descents, control)

    @pytest.mark.parametrize("activation", ["linear", "tanh"])
    def test_cut_and_whole_agree_and_follow_the_engine(self, activation, store):
        configs = [config(seed=s, activation=activation, epochs=1500) for s in range(3)]
        whole = [directory(store, c) for c in configs]
        assert self.carry_on(configs, whole, Control()) == [Outcome("done", 1500)] * 3
        cut = [directory(store, c, "cut") for c in configs]
        stopped = Outcome("stopped", 700, "max_steps")
        assert self.carry_on(configs, cut, Control(max_steps=700)) == [stopped] * 3
        self.carry_on(configs, cut, Control())
        for a, b in zip(whole, cut, strict=True):
            assert result(a) == result(b)
        alone = directory(store, configs[2], "alone")
        run(configs[2], alone, Control())
        np.testing.assert_allclose(
            [r["loss"] for r in alone.metrics()], [r["loss"] for r in whole[2].metrics()],
            rtol=1e-9,
        )  # fmt: skip

    def test_one_that_diverges_leaves_the_others_alone(self, store):
        rules = [{"name": "bound"}, {"name": "constant", "eta": 3.0}]
        configs = [config(step_size=rule, epochs=1500) for rule in rules]
        dirs = [directory(store, c) for c in configs]
        done, diverged = self.carry_on(configs, dirs, Control())
        assert done == Outcome("done", 1500)
        assert diverged.state == "diverged"
        alone = directory(store, configs[1], "alone")
        assert run(configs[1], alone, Control()) == diverged
