from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from launch.selection import Selection, add_arguments, configs, selection
from launch.survey import survey
from lrscale.errors import UserError
from lrscale.store import Store

MakeSweep = Callable[..., Store]


@pytest.fixture
def store(make_sweep: MakeSweep) -> Store:
    return make_sweep(
        seeds=(0, 1), states={("sgd", 0.1, 0): "failed", ("adam", 1e-4, 1): "missing"}, epochs=1
    )


@pytest.fixture
def choose(store: Store) -> Callable[..., list[tuple[str, Any, int]]]:
    runs = survey(store, [store.read_sweep("demo")]).runs["demo"]

    def of(*words: str) -> list[tuple[str, Any, int]]:
        found = asked(*words).of(runs, configs(store))
        return [(run.arm, run.point["optimizer.lr"], run.seed) for run in found]

    return of


def asked(*words: str) -> Selection:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return selection(parser.parse_intermixed_args(words))


def test_filters_narrow(choose: Callable[..., list[Any]]) -> None:
    assert len(choose()) == 10
    assert choose("--state", "failed") == [("sgd", 0.1, 0)]
    assert len(choose("--state", "failed", "--state", "done")) == 9
    assert choose("--arm", "adam", "seed=0") == [("adam", 1e-4, 0), ("adam", 1e-3, 0)]
    assert choose("optimizer.lr=1e-1") == [("sgd", 0.1, 0), ("sgd", 0.1, 1)]
    # Not varied by the sweep: from the configurations, which a run that has not begun lacks.
    assert [run[0] for run in choose("optimizer.name=adam")] == ["adam"] * 3
    assert choose("optimizer.name=adam", "seed=1", "batch_size=200") == [("adam", 1e-3, 1)]
    assert choose("batch_size=100") == []


def test_ids_by_their_beginning(store: Store, choose: Callable[..., list[Any]]) -> None:
    first = store.read_sweep("demo")["runs"][0]
    assert choose(f"id={first['id'][:10]}") == [("sgd", 0.01, 0)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--state", "faild"], "--state faild: did you mean 'failed'?"),
        (["--arm", "adm"], "--arm adm: did you mean 'adam'?"),
        (["optimizer.lrr=1"], "no run has such a key: did you mean 'optimizer.lr'?"),
        (["adam"], "'adam' is not a filter: write KEY=VALUE"),
        (["=1"], "'=1' is not a filter"),
    ],
)
def test_what_there_is_not(choose: Callable[..., list[Any]], words: list[str], said: str) -> None:
    with pytest.raises(UserError) as raised:
        choose(*words)
    assert said in str(raised.value)


def test_a_selection_of_nothing(choose: Callable[..., list[Any]]) -> None:
    assert choose("--state", "lost", "any.key=1") == []


def test_everything() -> None:
    assert asked().everything
    assert not asked("seed=1").everything
