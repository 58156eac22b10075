"""One arm of a sweep made ready: where its runs start, and along which axes they differ. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from launch.interpolate import derived
from launch.keys import at_key, get, leaves, nest, precedence
from launch.overrides import Pins
from launch.space import draw_trials, grid_values
from launch.sweep_file import ARM_KEYS, varied, without
from launch.values import is_int, shown
from lrscale.config import merge
from lrscale.errors import UserError

Where = Callable[[str], str]
"""A dotted key of the sweep to ``file: key``, for errors."""


@dataclass(frozen=True)
class Rule:
    """One mapping of ``exclude``; ``text`` is how it is named to the person."""

    text: str
    values: Mapping[str, Any]

    def matches(self, config: Mapping[str, Any]) -> bool:
        """Whether a run has all of the values, its interpolations evaluated."""
        return all(_holds(config, key, value) for key, value in self.values.items())


def _holds(config: Mapping[str, Any], key: str, value: Any) -> bool:
    try:
        found = get(config, key)
    except KeyError:
        return False
    return bool(found == value) and isinstance(found, bool) == isinstance(value, bool)


@dataclass(frozen=True)
class Arm:
    """What ``expand`` needs to know of one arm, the sweep's own sections worked in.

    Attributes:
        name: "" in a sweep without arms.
        base: configuration that its points are laid upon.
        fixed: dotted keys of the command line, laid upon every point.
        axes: of grid and zip: for each, its parts of a point in order.
        trials: of random: number and part of a point; one empty part without a number if none.
        seeds: replicates of each point.
        exclude: the sweep's rules and the arm's.
        resources: the raw block.
    """

    name: str
    base: Mapping[str, Any]
    fixed: Mapping[str, Any]
    axes: list[list[dict[str, Any]]]
    trials: list[tuple[int | None, dict[str, Any]]]
    seeds: list[int]
    exclude: list[Rule]
    resources: dict[str, Any]

    @property
    def count(self) -> int:
        """Runs before ``exclude``."""
        return math.prod(map(len, self.axes)) * len(self.trials) * len(self.seeds)

    @cached_property
    def derived(self) -> list[str]:
        """Dotted keys that have an interpolation in some of its runs."""
        parts = [part for axis in self.axes for part in axis] + [part for _, part in self.trials]
        return sorted({key for part in (self.base, self.fixed, *parts) for key in derived(part)})

    def points(self) -> Iterator[tuple[int | None, dict[str, Any]]]:
        """Trial and point, the last axis fastest."""
        for parts in product(*self.axes):
            below = {key: value for part in parts for key, value in part.items()}
            for trial, draws in self.trials:
                yield trial, below | draws

    def configure(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The run's configuration at a point, without its seed."""
        settings = {**point, **self.fixed}
        config = dict(self.base)
        for key in sorted(settings, key=precedence):
            config = merge(config, at_key(key, settings[key]))
        return config


def prepare(name: str, sweep: Mapping[str, Any], pins: Pins, where: Where) -> Arm:
    """The arm of that name; ``""`` stands for a sweep without arms.

    Its own grid and zip join the sweep's and win where both vary a key; its own random replaces
    the sweep's; a key that the command line fixes is not varied at all.

    Raises:
        UserError: values or distributions that make no sense, or a key varied twice.
    """
    own = (sweep.get("arms") or {}).get(name, {})
    prefix = f"arms.{name}." if name else ""
    _refuse_varied_twice(sweep, "", where)
    _refuse_varied_twice(own, prefix, where)
    mine = {section: set(keys) for section, keys in varied(own).items()}
    shared = without(sweep, "grid", mine["zip"] | mine["random"])
    shared = without(shared, "zip", mine["grid"] | mine["zip"] | mine["random"])

    def fixed(key: str) -> bool:
        return pins.fixes(name, key)

    def hidden(key: str) -> bool:
        return fixed(key) or key in mine["grid"] | mine["zip"]

    levels = {"": shared, prefix: own} if name else {"": shared}
    random_at = prefix if "random" in own else ""  # an arm's null says: none
    seeds_at = prefix if own.get("seeds") is not None else ""
    return Arm(
        name=name,
        base=merge(sweep.get("run") or {}, {k: v for k, v in own.items() if k not in ARM_KEYS}),
        fixed=pins.values(name),
        axes=[
            *_grid_axes(levels, fixed, where),
            *_zip_axes(levels, fixed, where),
        ],
        trials=_trials(levels[random_at].get("random"), hidden, where(f"{random_at}random")),
        seeds=_seeds(levels[seeds_at].get("seeds"), where(f"{seeds_at}seeds")),
        exclude=[rule for at, level in levels.items() for rule in _rules(level, at, where)],
        resources=merge(sweep.get("resources") or {}, own.get("resources") or {}),
    )


def _refuse_varied_twice(sections: Mapping[str, Any], at: str, where: Where) -> None:
    keys = varied(sections)
    for key, times in Counter(key for section in keys.values() for key in section).items():
        if times > 1:
            among = " and ".join(section for section in keys if key in keys[section])
            problem = f"{where(f'{at}{among.split()[0]}.{key}')}: varied twice, in {among}"
            raise UserError(f"{problem}: leave one of them")


def _grid_axes(
    levels: Mapping[str, Mapping[str, Any]], fixed: Callable[[str], bool], where: Where
) -> list[list[dict[str, Any]]]:
    grid: dict[str, list[Any]] = {}  # an arm's values take the place of the sweep's
    for at, level in levels.items():
        for key, spec in (level.get("grid") or {}).items():
            grid[key] = _values(spec, where(f"{at}grid.{key}"))
    return [[{key: v} for v in values] for key, values in grid.items() if not fixed(key)]


def _zip_axes(
    levels: Mapping[str, Mapping[str, Any]], fixed: Callable[[str], bool], where: Where
) -> list[list[dict[str, Any]]]:
    axes = []
    for at, level in levels.items():
        for group in level.get("zip") or []:
            columns = {
                key: _values(spec, where(f"{at}zip.{key}"))
                for key, spec in group.items()
                if not fixed(key)
            }
            lengths = {key: len(values) for key, values in columns.items()}
            if len(set(lengths.values())) > 1:
                shown = ", ".join(f"{key} has {n}" for key, n in lengths.items())
                raise UserError(f"{where(f'{at}zip')}: unequal numbers of values: {shown}")
            if columns:
                rows = zip(*columns.values(), strict=True)
                axes.append([dict(zip(columns, row, strict=True)) for row in rows])
    return axes


def _trials(
    section: Mapping[str, Any] | None, hidden: Callable[[str], bool], at: str
) -> list[tuple[int | None, dict[str, Any]]]:
    """Hidden keys are drawn and dropped, so that the others' Sobol points stay as they were."""
    if not section:
        return [(None, {})]
    draws = draw_trials(section, at)
    keys = [key for key in draws[0] if not hidden(key)]
    if not keys:
        return [(None, {})]
    return [
        (trial, {key: _unfolded(draw[key], f"{at}.space.{key}") for key in keys})
        for trial, draw in enumerate(draws)
    ]


def _seeds(seeds: Any, at: str) -> list[int]:
    if seeds is None:
        return [0]
    numbers = seeds if isinstance(seeds, list) else [seeds]
    if not all(map(is_int, numbers)):
        raise UserError(f"{at}: expected a number or a list of seeds, got {shown(seeds)}")
    if not isinstance(seeds, list):
        if not 1 <= seeds <= 10_000:
            raise UserError(f"{at}: expected 1 to 10,000 replicates, got {seeds}")
        return list(range(seeds))
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**63:
        raise UserError(f"{at}: expected different integers of 0 or more, got {shown(seeds)}")
    return seeds


def _rules(sections: Mapping[str, Any], at: str, where: Where) -> list[Rule]:
    rules = []
    for values in sections.get("exclude") or []:
        shown = ", ".join(f"{key}: {value}" for key, value in values.items())
        rules.append(Rule(f"{where(f'{at}exclude')}: {{{shown}}}", leaves(values)))
    return rules


def _values(spec: Any, at: str) -> list[Any]:
    return [_unfolded(value, at) for value in grid_values(spec, at)]


def _unfolded(value: Any, at: str) -> Any:
    """A value that is a block may have dotted keys in it."""
    return nest(value, at) if isinstance(value, Mapping) else value
