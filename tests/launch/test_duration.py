from __future__ import annotations

from typing import Any

import pytest

from launch.duration import expected_minutes
from launch.preflight import Run
from launch.resources import Resources
from lrscale.config import decode, encode, identity
from lrscale.run_state import State
from lrscale.store import Store

MLP = {"workload": "digits_mlp", "epochs": 10}
GD = {"workload": "gd", "epochs": 1000}
CPU, GPU = ("cpu", 1), ("cuda", 1)


def run(raw: dict[str, Any]) -> Run:
    config = decode(raw)
    return Run(identity(config), "", 0, {}, None, config, Resources(gpus_per_node=0), {})


def finished(store: Store, raw: dict[str, Any], minutes: float, **summary: Any) -> str:
    """A run that took so long."""
    config = decode(raw)
    run_dir = store.run(identity(config))
    run_dir.create({"config": encode(config)})
    attempt = run_dir.begin()
    seconds = {"startup": 6.0, "training": 60 * minutes - 10, "evaluation": 4.0}
    run_dir.finish(
        State("done", attempt),
        {"epoch": config.epochs, "seconds": seconds, "device": "cpu", **summary},
    )
    return run_dir.id


def test_minutes_that_are_given_hold_for_all(store: Store) -> None:
    one = run(MLP)
    assert expected_minutes(store, [one], [], 3.0, lambda run: CPU) == {one.id: 3.0}


def test_nothing_is_known_of_other_kinds_of_run(store: Store) -> None:
    done = [finished(store, MLP, 2.0)]
    others = [run(MLP | change) for change in ({"batch_size": 64}, {"model": {"width": 64}})]
    others.append(run(MLP | {"optimizer": {"name": "adam", "lr": 0.1}}))
    found = expected_minutes(store, others, done, None, lambda run: CPU)
    assert list(found.values()) == [None] * 3


def test_minutes_per_epoch_of_the_same_kind(store: Store) -> None:
    """The median; seed, rate, schedule and length make no kind of their own."""
    done = [finished(store, MLP | {"seed": k}, minutes) for k, minutes in enumerate((1, 2, 9))]
    alike = [
        run(MLP | {"seed": 7}),
        run(MLP | {"epochs": 20}),
        run(MLP | {"optimizer": {"lr": 0.7}, "schedule": {"name": "cosine"}}),
    ]
    found = expected_minutes(store, alike, done, None, lambda run: CPU)
    assert list(found.values()) == [pytest.approx(m) for m in (2, 4, 2)]


@pytest.mark.parametrize(
    ("summary", "place", "known"),
    [
        ({}, CPU, True),
        ({}, GPU, False),
        ({"device": "cuda"}, GPU, True),
        ({"device": "cuda"}, CPU, False),
        ({"world_size": 4}, CPU, False),
        ({"world_size": 4}, ("cpu", 4), True),
    ],
)
def test_places_are_kept_apart(
    store: Store, summary: dict[str, Any], place: tuple[str, int], known: bool
) -> None:
    done = [finished(store, MLP, 2.0, **summary)]
    (found,) = expected_minutes(store, [run(MLP)], done, None, lambda run: place).values()
    assert found == (pytest.approx(2) if known else None)


def test_runs_of_theory(store: Store) -> None:
    done = [finished(store, GD, 1.0)]
    other = run(GD | {"epochs": 3000, "step_size": {"name": "bound", "factor": 2.0}})
    found = expected_minutes(store, [other], done, None, lambda run: CPU)
    assert found[other.id] == pytest.approx(3)


def test_other_sweeps_are_looked_at_as_well(store: Store) -> None:
    done = finished(store, MLP, 2.0)
    store.write_sweep("earlier", {"runs": [{"id": done}, {"id": "0" * 20}]})
    one = run(MLP | {"seed": 5})
    assert expected_minutes(store, [one], [], None, lambda run: CPU)[one.id] == pytest.approx(2)
