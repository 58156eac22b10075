"""The monitor's counting, against torch's and by its properties."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lrscale.config import decode, encode, identity
from lrscale.errors import ConfigError
from lrscale.monitor import Monitor, Watch

LOSSES = st.lists(st.floats(0.01, 10), min_size=1, max_size=60)


def watched(monitor: Monitor, losses: list[float]) -> list[Watch]:
    """What is known after each evaluation; these are 10 steps apart."""
    watch, seen = Watch(), []
    for number, loss in enumerate(losses, 1):
        watch = monitor.after(watch, 10 * number, loss)
        seen.append(watch)
    return seen


@given(
    losses=LOSSES,
    factor=st.sampled_from([0.1, 0.5]),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0.0, 1e-4, 0.2]),
    cooldown=st.integers(0, 4),
    floor=st.sampled_from([0.0, 0.01]),
)
def test_cuts_as_torch_does(
    losses: list[float],
    factor: float,
    patience: int,
    threshold: float,
    cooldown: int,
    floor: float,
):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = ReduceLROnPlateau(
        optimizer,
        factor=factor,
        patience=patience,
        threshold=threshold,
        cooldown=cooldown,
        min_lr=floor,
        eps=0.0,
    )
    monitor = Monitor(factor, patience, threshold, cooldown, floor)
    for watch, loss in zip(watched(monitor, losses), losses, strict=True):
        theirs.step(loss)
        assert watch.scale == optimizer.param_groups[0]["lr"]
        assert (watch.bad, watch.cooling) == (theirs.num_bad_epochs, theirs.cooldown_counter)
        assert watch.best == theirs.best


@given(losses=LOSSES, stop_after=st.integers(1, 5))
def test_stops_after_so_many_evaluations_without_improvement(losses: list[float], stop_after: int):
    for watch in watched(Monitor(stop_after=stop_after, factor=1.0), losses):
        assert watch.scale == 1
        assert not watch.cut
        assert watch.stale == (watch.step - max(watch.best_step, 0)) // 10
        assert watch.stop == (watch.stale >= stop_after)


@given(losses=LOSSES, cut=st.integers(0, 60))
def test_nothing_but_the_watch_is_needed_to_go_on(losses: list[float], cut: int):
    monitor = Monitor(patience=1, cooldown=1, stop_after=7)
    whole = watched(monitor, losses)
    watch = Watch(**dataclasses.asdict([Watch(), *whole][min(cut, len(whole))]))
    for number, loss in list(enumerate(losses, 1))[cut:]:
        watch = monitor.after(watch, 10 * number, loss)
    assert watch == whole[-1]


RUN = {"workload": "digits_mlp"}


def test_without_a_monitor_a_run_keeps_its_identity():
    assert identity(decode(RUN | {"monitor": None})) == identity(decode(RUN))
    assert identity(decode(RUN)) == "2e1b6f1485d76749c6c7"  # as before there were monitors


def test_a_monitor_is_decoded_like_any_block():
    config = decode(RUN | {"monitor": {"factor": "0.5", "patience": 2}})
    assert config.monitor == Monitor(factor=0.5, patience=2)
    assert decode(encode(config)) == config
    assert identity(config) != identity(decode(RUN))
    assert identity(config) == identity(decode(encode(config)))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"monitor": {"factr": 0.5}}, "monitor.factr.*did you mean 'factor'"),
        ({"monitor": {"factor": 0}}, "monitor.factor.*greater than 0"),
        ({"monitor": {"patience": 1.5}}, "monitor.patience.*whole number"),
        ({"monitor": {"stop_after": True}}, "monitor.stop_after.*true"),
        ({"monitor": 3}, "monitor.*expected a block"),
        ({"monitor": {}, "schedule": {"name": "plateau"}}, "watches the validation loss already"),
    ],
)
def test_monitors_that_cannot_be(raw: dict[str, object], says: str):
    with pytest.raises(ConfigError, match=says):
        decode(RUN | raw)


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        ({"name": "adagrad"}, "adagrad has none"),
        ({"name": "sgd", "momentum": 0}, "that of sgd is 0"),
        ({"name": "rmsprop"}, "that of rmsprop is 0"),
    ],
)
def test_a_momentum_cycle_needs_momentum(optimizer: dict[str, object], says: str):
    with pytest.raises(ConfigError, match=says):
        decode({**RUN, "optimizer": optimizer, "schedule": {"name": "one_cycle"}})
    uncycled = {"name": "one_cycle", "cycle_momentum": False}
    assert decode({**RUN, "optimizer": optimizer, "schedule": uncycled})
