"""Which runs of a sweep a command is about: by state, arm, or the value of a key."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch.keys import get, leaves
from launch.survey import STATES, RunStatus
from launch.sweep_yaml import parse_yaml
from lrscale.errors import UserError, did_you_mean
from lrscale.store import Store

Config = Callable[[str], Mapping[str, Any]]  # of a run, by its id


@dataclass(frozen=True)
class Selection:
    """What a command line asks for. Runs must have one of the states, be of one of the arms, and
    have every value.

    Attributes:
        states, arms: none stands for all.
        values: dotted key of the configuration, ``seed`` or ``id`` → value; of an id the beginning.
    """

    states: Sequence[str] = ()
    arms: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def everything(self) -> bool:
        return not (self.states or self.arms or self.values)

    def of(self, runs: Sequence[RunStatus], config: Config) -> list[RunStatus]:
        """Those of ``runs``, in order. Raises UserError for an arm or a key that none has.

        Args:
            config: only asked for keys that the sweep does not vary.
        """
        _check("--arm", self.arms, {run.arm for run in runs})
        found = [
            run
            for run in runs
            if (not self.states or run.state in self.states)
            and (not self.arms or run.arm in self.arms)
        ]
        for key, value in self.values.items():
            found = _with_value(found, key, value, config)
        return found


def _with_value(runs: Sequence[RunStatus], key: str, value: Any, config: Config) -> list[RunStatus]:
    known: set[str] = {"id", "seed"}
    found, anywhere = [], not runs
    for run in runs:
        if key == "id":
            anywhere, has = True, run.id.startswith(str(value))
        elif key in run.point or key == "seed":
            anywhere, has = True, _equal(run.seed if key == "seed" else run.point[key], value)
        else:
            block = config(run.id)
            try:
                anywhere, has = True, _equal(get(block, key), value)
            except KeyError:
                known |= set(leaves(block))
                has = False
        if has:
            found.append(run)
    if not anywhere:
        raise UserError(f"{key}={value}: no run has such a key: {did_you_mean(key, known)}")
    return found


def _equal(held: Any, asked: Any) -> bool:
    return bool(held == asked) or str(held) == str(asked)


def configs(store: Store) -> Config:
    """Runs' configurations: from their folders, of runs that have not begun from what was handed
    over; empty for a run of which nothing is known."""
    handed_over: dict[str, Any] = {}

    def config(run: str) -> Mapping[str, Any]:
        run_dir = store.run(run)
        if run_dir.exists():
            return dict(run_dir.record()["config"])
        if not handed_over:
            for submission in store.read_submissions():
                handed_over.update(store.read_run_records(submission))
        return dict(handed_over[run]["config"]) if run in handed_over else {}

    return config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--state``, ``--arm`` and ``KEY=VALUE``, for ``selection``."""
    parser.add_argument(
        "filters", nargs="*", metavar="KEY=VALUE", help="runs with this value, as optimizer.lr=0.1"
    )
    parser.add_argument(
        "--state", action="append", default=[], help="runs in this state (repeatable)"
    )
    parser.add_argument("--arm", action="append", default=[], help="runs of this arm (repeatable)")


def selection(arguments: argparse.Namespace) -> Selection:
    """Raises UserError for an unknown state and for what is not KEY=VALUE."""
    _check("--state", arguments.state, STATES)
    values: dict[str, Any] = {}
    for text in arguments.filters:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"'{text}' is not a filter: write KEY=VALUE, as optimizer.name=adam")
        values[key] = value if key == "id" else parse_yaml(value, f"command line: {key}")
    return Selection(arguments.state, arguments.arm, values)


def _check(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise UserError(f"{option} {name}: {did_you_mean(name, known)}")
