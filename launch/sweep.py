"""The sweep language: a YAML file in, the runs that it asks for out. docs/sweeps.md describes it.

``read`` is the only part that touches files; ``expand`` is a pure function of what was read, and
its order is stable: arms as in the file, then grid, zip and random points, the last key fastest,
and seeds innermost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from launch.arm import Arm, prepare
from launch.interpolate import InterpolationError, derived, resolve
from launch.keys import get, outwards
from launch.overrides import Pins, arguments, override
from launch.quick import mark, shrink
from launch.requeue import MAX_RETRIES
from launch.space import MAX_RUNS
from launch.sweep_file import NAME, NAME_RULE, Text, load, varied
from launch.values import shown
from lrscale.compare.protocol import Protocol, protocol_of
from lrscale.errors import ConfigError, UserError


@dataclass(frozen=True)
class Sweep:
    """A sweep file as read: what it includes merged in, the command line applied.

    Attributes:
        name: the manifest's name in the run store; the file's stem unless given.
        notes: what the sweep asks.
        path: the file.
        parallel: array elements at once over the whole sweep; no limit when None.
        runs_per_task: runs that share one array element; ``auto`` packs runs that are short.
        minutes_per_run: an estimate for ``auto`` and for the plan; None when not given.
        per_gpu: runs that share one GPU.
        max_retries: tries in a row of a run that is killed, or reaches its time limit, and makes
            no checkpoint.
        protocol: how its arms are to be compared.
        text: the whole merged mapping, in the shape of a sweep file.
        quick: the rules that ``--quick`` has applied; none without it.
        pins: run keys that the command line fixes, and the rules of ``--quick``.
        key_files: dotted key of ``text`` → the file that gave it, or ``command line``.
        selection: of another sweep, whose chosen points this one reports (see
            ``lrscale.compare.final``); None for a sweep of its own.
    """

    name: str
    notes: str
    path: str
    parallel: int | None
    runs_per_task: int | Literal["auto"]
    minutes_per_run: float | None
    per_gpu: int
    max_retries: int
    protocol: Protocol
    text: Mapping[str, Any]
    quick: Mapping[str, Any]
    pins: Pins
    key_files: Mapping[str, str]
    selection: Mapping[str, Any] | None = None

    def where(self, key: str) -> str:
        """``file: key`` for a dotted key of the sweep, such as ``grid.optimizer.lr``."""
        known = next((path for path in outwards(key) if path in self.key_files), None)
        return f"{self.key_files[known] if known else self.path}: {key}"

    def origin(self, key: str, arm: str = "") -> str:
        """``file: key`` of what decided a key of a run or of its ``resources``, in an arm.

        A run's key, such as ``optimizer.lr``, is looked for in order of precedence, then the
        blocks around it.
        """
        if key.startswith("resources."):
            in_arm = f"arms.{arm}.{key}"
            return self.where(in_arm if in_arm in self.key_files else key)
        levels = {f"arms.{arm}.": self.sections(arm), "": self.text} if arm else {"": self.text}
        for block in outwards(key):
            if self.pins.fixes(arm, block):
                return f"{self.pins.place(arm, block)}: {key}"
            for prefix, sections in levels.items():
                for section, keys in varied(sections).items():
                    if block in keys:
                        inner = "random.space" if section == "random" else section
                        return self.where(f"{prefix}{inner}.{key}")
            for place in (f"arms.{arm}", "run"):
                if f"{place}.{block}" in self.key_files:
                    return self.where(f"{place}.{key}")
        return f"{self.path}: run.{key}"

    def sections(self, arm: str) -> dict[str, Any]:
        """What an arm has of its own, its overrides of the run as well; empty for arm ""."""
        return dict((self.text.get("arms") or {}).get(arm, {}))


@dataclass(frozen=True)
class Wanted:
    """One run that a sweep asks for. Runs share unchanged blocks: do not edit them in place.

    Attributes:
        arm: its arm; "" in a sweep without arms.
        seed: its replicate.
        point: dotted key → value of what grid, zip and random vary, interpolations evaluated.
        trial: number of its random trial, from 0; None without a random section.
        config: the raw run configuration with ``seed``, nested, not yet decoded.
        resources: the raw resources block.
    """

    arm: str
    seed: int
    point: Mapping[str, Any]
    trial: int | None
    config: dict[str, Any]
    resources: dict[str, Any]


class Expansion(list[Wanted]):
    """The runs of a sweep, in order, equal ones still apart.

    Attributes:
        excluded: how many runs ``exclude`` took out.
        warnings: sentences for the person: an ``exclude`` that matched nothing.
    """

    def __init__(self, runs: Sequence[Wanted], excluded: int, warnings: Sequence[str]) -> None:
        super().__init__(runs)
        self.excluded = excluded
        self.warnings = tuple(warnings)


def read(path: str | Path, overrides: Sequence[str] = (), quick: bool = False) -> Sweep:
    """Read a sweep file with what it includes, and apply ``KEY=VALUE`` overrides.

    Args:
        quick: first shrink the sweep by its own rules, and mark its runs (``launch.quick``).

    Raises:
        UserError: an unreadable file, bad YAML, unknown keys or sections of the wrong shape.
    """
    text, edits = load(str(path)), arguments(overrides)
    if quick:
        edits = [*shrink(text, str(path), _name(text, path)), *edits, mark()]
    text, pins = override(text, edits)
    sweep = _sweep(text, _name(text, path), path, pins)
    if quick:
        sweep = replace(sweep, quick=text.values.get("quick") or {})
    _check_plain_values(sweep)
    return sweep


def recorded(manifest: Mapping[str, Any]) -> Sweep:
    """A sweep as its manifest in the run store has it, for handing its runs over again. What it
    asks for is the manifest's runs: it cannot be expanded, since the pins are not on record.

    Raises:
        UserError: a manifest without the sweep's text.
    """
    name, path = manifest["name"], manifest.get("file", "")
    if not manifest.get("text"):
        raise UserError(f"sweep {name}: its text is not on record; submit its file with --retry")
    return _sweep(Text.of(dict(manifest["text"]), path), name, path, Pins())


def _sweep(text: Text, name: str, path: str | Path, pins: Pins) -> Sweep:
    values = text.values
    return Sweep(
        name=name,
        notes=str(values.get("notes") or ""),
        path=str(path),
        parallel=values.get("parallel"),
        runs_per_task=values.get("runs_per_task", "auto"),
        minutes_per_run=values.get("minutes_per_run"),
        per_gpu=values.get("per_gpu", 1),
        max_retries=values.get("max_retries", MAX_RETRIES),
        protocol=_protocol(text),
        text=values,
        quick={},
        pins=pins,
        key_files=text.files,
    )


def expand(sweep: Sweep) -> Expansion:
    """The runs that a sweep asks for. Pure; 5,000 runs take a fraction of a second.

    Raises:
        UserError: a section that makes no sense, more than MAX_RUNS runs, or none.
    """
    names = sweep.text.get("arms") or [""]
    arms = [prepare(name, sweep.text, sweep.pins, sweep.where) for name in names]
    _check_pairs(sweep, arms)
    count = sum(arm.count for arm in arms)
    if count > MAX_RUNS:
        raise UserError(f"{sweep.path}: asks for {count:,} runs; a sweep has at most {MAX_RUNS:,}")
    runs: list[Wanted] = []
    unmatched = {rule.text: None for arm in arms for rule in arm.exclude}
    for arm in arms:
        for run in _runs(sweep, arm):
            matching = [rule.text for rule in arm.exclude if rule.matches(run.config)]
            for text in matching:
                unmatched.pop(text, None)
            if not matching:
                runs.append(run)
    if not runs:
        raise UserError(f"{sweep.where('exclude')}: leaves no run of {count:,}")
    return Expansion(runs, count - len(runs), [f"{text} matches no run" for text in unmatched])


def _runs(sweep: Sweep, arm: Arm) -> Iterator[Wanted]:
    """Every run of an arm, what ``exclude`` will take out among them."""
    derived_resources = derived(arm.resources)
    for trial, point in arm.points():
        start = arm.configure(point)
        for seed in arm.seeds:
            raw = {**start, "seed": seed}
            try:
                config = resolve(raw, arm.derived, raw)
            except InterpolationError as error:
                raise UserError(f"{sweep.origin(error.key, arm.name)}: {error.message}") from None
            try:
                resources = resolve(arm.resources, derived_resources, raw)
            except InterpolationError as error:
                key = f"resources.{error.key}"
                raise UserError(f"{sweep.origin(key, arm.name)}: {error.message}") from None
            if "data.root" in arm.derived:
                _check_root(sweep, arm, config)
            here = {key: get(config, key) for key in point} if arm.derived else point
            yield Wanted(arm.name, seed, here, trial, config, resources)


def _check_root(sweep: Sweep, arm: Arm, config: Mapping[str, Any]) -> None:
    """A folder of data that is put together from other values stays where its text begins."""
    data = config.get("data")
    root = data.get("root") if isinstance(data, Mapping) else None
    if isinstance(root, str) and ".." in Path(root).parts:
        where = sweep.origin("data.root", arm.name)
        raise UserError(f"{where}: {shown(root)}: no '..' in a path that has ${{…}}: write it out")


# Reading -------------------------------------------------------------------------------------


def _name(text: Text, path: str | Path) -> str:
    name = text.values.get("name")
    return Path(path).stem if name is None else str(name)


def _check_plain_values(sweep: Sweep) -> None:
    if not NAME.fullmatch(sweep.name):
        raise UserError(f"{sweep.where('name')}: {shown(sweep.name)}: it is made of {NAME_RULE}")
    _check_count(sweep, "parallel", sweep.parallel, None)
    _check_count(sweep, "runs_per_task", sweep.runs_per_task, "auto")
    _check_count(sweep, "per_gpu", sweep.per_gpu, 1)
    _check_count(sweep, "max_retries", sweep.max_retries, 0)
    minutes = sweep.minutes_per_run
    if minutes is not None and not (
        isinstance(minutes, (int, float)) and not isinstance(minutes, bool) and 0 < minutes < 1e9
    ):
        at = sweep.where("minutes_per_run")
        raise UserError(f"{at}: expected a number greater than 0, got {shown(minutes)}")


def _protocol(text: Text) -> Protocol:
    try:
        return protocol_of(text.values)
    except ConfigError as error:
        lines = [f"{text.files.get(p.key, text.files['compare'])}: {p}" for p in error.problems]
        raise UserError("\n".join(lines)) from None


def _check_pairs(sweep: Sweep, arms: Sequence[Arm]) -> None:
    if sweep.protocol.paired and len({tuple(sorted(arm.seeds)) for arm in arms}) > 1:
        at = sweep.where("compare.paired")
        raise UserError(f"{at}: arms with different seeds make no pairs: give all the same seeds")


def _check_count(sweep: Sweep, key: str, value: Any, other: Any) -> None:
    if isinstance(value, bool) or (value != other and not (isinstance(value, int) and value >= 1)):
        also = "null" if other is None else other
        raise UserError(f"{sweep.where(key)}: expected 1 or more, or {also}, got {shown(value)}")
