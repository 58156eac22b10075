"""Runs under a monitor of the validation loss: what it does, and that it resumes."""

from __future__ import annotations

from typing import Any

import pytest
from ranks import Runs, results

from lrscale import checkpoint
from lrscale.attempt import Attempt
from lrscale.control import Outcome
from lrscale.monitor import Monitor, Watch

PER_EPOCH = 37
# A rate so high that the validation loss goes up and down: there is something to cut.
RUN: dict[str, Any] = {
    "workload": "digits_mlp",
    "epochs": 6,
    "model": {"batch_norm": True, "dropout": 0.3},
    "optimizer": {"name": "adam", "lr": 0.3},
    "schedule": {"name": "cosine", "warmup": 5},
    "monitor": {"factor": 0.5, "patience": 0, "threshold": 0.1},
    "checkpoint_minutes": 1e-9,
}
BACK = RUN | {"monitor": {**RUN["monitor"], "back_to_best": True}}
STOP = RUN | {"epochs": 50, "monitor": {"stop_after": 2, "threshold": 0.1, "back_to_best": True}}


pytestmark = pytest.mark.usefixtures("save_at_every_look")


def finished(runs: Runs, raw: dict[str, Any], name: str = "") -> dict[str, Any]:
    run_dir = runs.new(raw, name)
    runs.here(run_dir)
    summary = run_dir.summary()
    assert summary is not None
    return results(run_dir) | {"summary": summary}


def test_the_scheduled_rate_is_scaled_from_the_cut_on(runs: Runs):
    plain = finished(runs, RUN | {"monitor": None}, "plain")
    watched = finished(runs, RUN)
    monitor, watch = Monitor(factor=0.5, patience=0, threshold=0.1), Watch()
    cuts = 0
    for number, epoch in enumerate(watched["epochs"]):
        watch = monitor.after(watch, epoch["step"], epoch["val_loss"])
        assert epoch["monitor"] == {"scale": watch.scale, "did": ["cut"] * watch.cut}
        cuts += watch.cut
        following = slice(epoch["step"], epoch["step"] + PER_EPOCH)
        scheduled = plain["rates"][following]
        assert watched["rates"][following] == [rate * watch.scale for rate in scheduled]
        assert all(rate > 0 for rate in watched["rates"][:-1]), number
    assert 0 < cuts < 6
    assert watched["rates"][:PER_EPOCH] == plain["rates"][:PER_EPOCH]
    found = watched["summary"]["monitor"]
    assert found["scale"] == watch.scale
    assert (found["best_val_loss"], found["best_step"]) == (watch.best, watch.best_step)
    assert found["stopped_early"] is False
    assert "monitor" not in watched["summary"]["metrics"]
    assert "monitor" not in plain["summary"]


def test_going_back_to_the_best_weights(runs: Runs):
    """The step after a cut starts where the best evaluation was made."""
    run_dir = runs.new(BACK)
    runs.here(run_dir, cuts=[])
    epochs = results(run_dir)["epochs"]
    back = [epoch for epoch in epochs if epoch["monitor"]["did"]]
    assert back
    first = back[0]
    assert first["monitor"]["did"][0] == "cut"
    best = int(first["monitor"]["did"][1].removeprefix("back to step "))
    assert best == min(epochs[: first["epoch"]], key=lambda epoch: epoch["val_loss"])["step"]

    at_best, after = runs.new(BACK, "at best"), runs.new(BACK, "after")
    runs.once(at_best, max_steps=best)
    runs.once(at_best, max_steps=1)  # which evaluates first
    runs.once(after, max_steps=first["step"])
    runs.once(after, max_steps=1)
    (_, one), (_, other) = (checkpoint.load(r.path) or (0, {}) for r in (at_best, after))
    assert one["task"]["watch"]["best_step"] == other["task"]["watch"]["best_step"] == best
    for name, tensor in one["task"]["best"]["model"].items():
        assert tensor.equal(other["task"]["best"]["model"][name])
    counts = [s["task"]["optimizer"]["state"][0]["step"].item() for s in (one, other)]
    assert counts == [best + 1, best + 1]  # the optimizer went back as well


def test_stopping_early_is_the_end_of_the_run(runs: Runs):
    run_dir = runs.new(STOP)
    (outcome,) = runs.here(run_dir)
    epochs = results(run_dir)["epochs"]
    assert outcome == Outcome("done", epochs[-1]["step"])
    assert len(epochs) < 50
    best = min(epochs, key=lambda epoch: epoch["val_loss"])
    assert epochs[-1]["epoch"] - best["epoch"] == 2
    assert epochs[-1]["monitor"]["did"] == ["stop", f"back to step {best['step']}"]
    state, summary = run_dir.state(), run_dir.summary()
    assert state is not None
    assert summary is not None
    assert (state.state, state.epoch, state.total_steps) == ("done", len(epochs), 50 * PER_EPOCH)
    assert summary["epoch"] == len(epochs)
    assert summary["monitor"]["stopped_early"] is True
    # what is compared is what the run delivers: the weights that it went back to
    assert summary["metrics"]["val_loss"] == best["val_loss"]
    assert summary["metrics"]["test_accuracy"] == best["test_accuracy"]


def test_plateau_is_the_constant_schedule_under_a_monitor(runs: Runs):
    rule = {"patience": 0, "threshold": 0.01, "cooldown": 1, "floor": 0.2}
    constant = {"schedule": {"name": "constant"}, "monitor": {"factor": 0.5, **rule}}
    plateau = {"schedule": {"name": "plateau", "gamma": 0.5, **rule}, "monitor": None}
    one, other = finished(runs, RUN | constant, "a"), finished(runs, RUN | plateau, "b")
    one.pop("summary"), other.pop("summary")
    assert one == other
    assert min(one["rates"][5:]) < 0.3


@pytest.mark.parametrize("raw", [RUN, BACK, STOP], ids=["scale", "back", "stop"])
@pytest.mark.parametrize("cuts", [[PER_EPOCH, 1, PER_EPOCH - 1, 20]], ids=str)
def test_interrupted_and_resumed(runs: Runs, raw: dict[str, Any], cuts: list[int]):
    whole, cut = runs.new(raw, "whole"), runs.new(raw, "cut")
    runs.here(whole)
    runs.here(cut, cuts=cuts)
    assert results(cut) == results(whole)


class Died(BaseException):
    pass


@pytest.mark.parametrize("raw", [BACK, STOP], ids=["back", "stop"])
@pytest.mark.parametrize("number", [2, 3])
def test_killed_between_an_evaluation_and_the_checkpoint_after_it(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, raw: dict[str, Any], number: int
):
    """The last checkpoint is of the evaluation's step, but from before it."""
    whole, killed = runs.new(raw, "whole"), runs.new(raw, "killed")
    runs.here(whole)
    record = Attempt.record

    def dying(self: Attempt, measured: Any) -> None:
        record(self, measured)
        if measured["kind"] == "epoch" and measured["epoch"] == number:
            self._metrics.flush()
            raise Died

    runs.once(killed, max_steps=number * PER_EPOCH)
    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "record", dying)
        with pytest.raises(Died):
            runs.once(killed)
    runs.once(killed)
    assert results(killed) == results(whole)


def test_on_two_ranks(runs: Runs):
    # No evaluation improves tenfold on the one before: the monitor acts, whatever the rounding.
    raw = BACK | {"batch_size": 48, "epochs": 4, "monitor": {**BACK["monitor"], "threshold": 0.9}}
    whole, cut = runs.new(raw, "whole"), runs.new(raw, "cut")
    runs.finish(whole, 2)
    runs.finish(cut, 2, cuts=[24, 50])
    assert results(cut) == results(whole)
    assert any(epoch["monitor"]["did"] for epoch in results(whole)["epochs"])
