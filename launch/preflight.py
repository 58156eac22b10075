"""Everything that can be known to be wrong before a job is queued, all of it at once.

``check`` decodes what a sweep asks for, finds its data, and says what would be refused, each
mistake once with the runs that it touches. ``launch.step_check`` goes as far as one optimizer step.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from launch.profiles import Profile
from launch.resources import Resources, decode_resources
from launch.sweep import Sweep, Wanted
from launch.sweep_file import ARM_KEYS
from launch.wandb_login import login_problem
from lrscale.config import decode, identity
from lrscale.errors import ConfigError, Problem, UserError
from lrscale.plugins import place_of

MAX_SHOWN = 20  # refusals that are printed in full


@dataclass(frozen=True)
class Run:
    """One run that a sweep asks for, decoded.

    Attributes:
        id: its identity; equal for equal runs.
        arm, seed, point, trial: its place in the sweep, see ``launch.sweep.Wanted``.
        config: the typed configuration, with the data's fingerprint.
        resources: decoded.
        raw_resources: as the sweep gives them.
    """

    id: str
    arm: str
    seed: int
    point: Mapping[str, Any]
    trial: int | None
    config: Any
    resources: Resources
    raw_resources: Mapping[str, Any]


@dataclass(frozen=True)
class Refusal:
    """One mistake.

    Attributes:
        where: ``file: key`` of what decides it, or ``command line: key``.
        key: dotted key of the run's configuration, or ``resources.…``.
        message: what is wrong.
        hint: what would be right; may be empty.
        runs: the runs that it touches, by arm, point and seed.
        of: how many runs the sweep asks for.
    """

    where: str
    key: str
    message: str
    hint: str
    runs: tuple[str, ...]
    of: int

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        if len(self.runs) == self.of:
            touched = "every run" if self.of > 1 else "the only run"
        else:
            first = ", the first" if len(self.runs) > 1 else ""
            touched = f"{len(self.runs):,} of {self.of:,} runs{first}: {self.runs[0]}"
        return f"{self.where}: {self.message}{hint}\n    {touched}"


@dataclass(frozen=True)
class Checked:
    """What preflight found.

    Attributes:
        wanted: every run that is in order, equal ones still apart: their places in the sweep.
        runs: the same, each id once, in order.
        refusals: what is wrong with the others.
    """

    wanted: tuple[Run, ...]
    runs: tuple[Run, ...]
    refusals: tuple[Refusal, ...]

    @property
    def collapsed(self) -> int:
        """How many runs are equal to an earlier one."""
        return len(self.wanted) - len(self.runs)

    @property
    def data_folders(self) -> set[Path]:
        """Where the runs' data lies, as far as they say: no part of the code to freeze."""
        datasets = (getattr(run.config, "data", None) for run in self.runs)
        return {Path(root) for data in datasets if (root := getattr(data, "root", None))}


def check(
    wanted: Sequence[Wanted],
    sweep: Sweep,
    profile: Profile | None = None,
    ranks: Callable[[Resources], int] = lambda resources: resources.world_size,
) -> Checked:
    """Decode and examine every run; 5,000 take about a second.

    Args:
        profile: of the cluster, which may be unable to give what a run asks for; None elsewhere.
        ranks: processes that the backend would give a run.
    """
    checks = _Checks(profile, ranks, sweep)
    origin = cache(partial(_origin, sweep))
    touched: dict[tuple[str, Problem], list[Wanted]] = {}
    runs: list[Run] = []
    for place in wanted:
        run, problems = checks.examine(place)
        if run is not None:
            runs.append(run)
        for problem in problems:
            where = origin(problem.key, place.arm)
            problem = _perhaps_section(problem, where, place.arm)
            touched.setdefault((where, problem), []).append(place)
    refusals = (
        refusal(where, problem, places, len(wanted)) for (where, problem), places in touched.items()
    )
    first = {run.id: run for run in reversed(runs)}
    distinct = (run for run in runs if first[run.id] is run)
    return Checked(tuple(runs), tuple(distinct), tuple(refusals))


def render(refusals: Sequence[Refusal]) -> str:
    """The refusals as text, the first 20 in full."""
    lines = [str(refusal) for refusal in refusals[:MAX_SHOWN]]
    if len(refusals) > MAX_SHOWN:
        lines.append(f"and {len(refusals) - MAX_SHOWN} more")
    return "\n".join(lines)


class _Checks:
    """The checks of single runs. What several runs share is looked at once."""

    def __init__(
        self, profile: Profile | None, ranks: Callable[[Resources], int], sweep: Sweep
    ) -> None:
        shared = sweep.runs_per_task not in ("auto", 1)
        self._packing = "runs_per_task" if shared else "per_gpu" if sweep.per_gpu > 1 else None
        self._profile = profile
        self._ranks = ranks
        self._resources: dict[str, tuple[Resources | None, list[Problem]]] = {}
        self._blocks: dict[Any, Any] = {}  # decoded, shared between runs
        self._hashed: dict[int, Any] = {}  # what of them makes an identity
        self._found = cache(_found)
        self._login_problem = cache(login_problem)

    def examine(self, place: Wanted) -> tuple[Run | None, list[Problem]]:
        """The run, or None and what is wrong with it; a fault of a plugin's code among that."""
        try:
            return self._examine(place)
        except Exception as error:
            at = place_of(error)
            if at is None:
                raise
            message = f"{type(error).__name__}: {error}"
            return None, [Problem("plugins", message, f"raised in {at}")]

    def _examine(self, place: Wanted) -> tuple[Run | None, list[Problem]]:
        resources, unmet = self._decode_resources(place.resources)
        problems = list(unmet)
        try:
            config = decode(place.config, self._blocks)
        except ConfigError as error:
            further = self._examine_rest(place.config, error.problems, resources)
            return None, [*problems, *error.problems, *further]
        config, unfit = self._examine_decoded(config, resources)
        problems += unfit
        if problems or resources is None:
            return None, problems
        run = Run(
            identity(config, self._hashed),
            place.arm,
            place.seed,
            place.point,
            place.trial,
            config,
            resources,
            place.resources,
        )
        return run, []

    def _examine_rest(
        self, raw: Mapping[str, Any], known: Sequence[Problem], resources: Resources | None
    ) -> list[Problem]:
        """What is wrong beside the ``known`` problems: a typo in one key hides no other mistake."""
        keys = [problem.key for problem in known]
        try:
            config = decode(_without(raw, keys), self._blocks)
        except ConfigError:
            return []
        _, problems = self._examine_decoded(config, resources)
        blocks = {key.partition(".")[0] for key in keys}
        return [problem for problem in problems if problem.key not in blocks]

    def _examine_decoded(
        self, config: Any, resources: Resources | None
    ) -> tuple[Any, list[Problem]]:
        """The configuration with its data's fingerprint, and what is wrong with it."""
        data = getattr(config, "data", None)
        if data is None:
            return config, self._unfit(config, resources)
        found = self._found(data)
        if isinstance(found, Problem):
            return config, [*self._unfit(config, resources), found]
        data, train_size = found
        config = dataclasses.replace(config, data=data)
        return config, [*self._unfit(config, resources), *_too_large_batch(config, train_size)]

    def _decode_resources(self, raw: Mapping[str, Any]) -> tuple[Resources | None, list[Problem]]:
        key = repr(raw)
        if key not in self._resources:
            try:
                resources = decode_resources(raw)
                unmet = self._profile.refusals(resources) if self._profile else []
                if self._packing and resources.world_size > 1:
                    message = f"runs of {resources.world_size} processes cannot share an element"
                    unmet = [*unmet, Problem(self._packing, message, "leave it out")]
                self._resources[key] = resources, list(unmet)
            except ConfigError as error:
                self._resources[key] = None, list(error.problems)
        return self._resources[key]

    def _unfit(self, config: Any, resources: Resources | None) -> list[Problem]:
        """What a configuration and its resources cannot do together.

        Theory has no batches and no device: only what a configuration has is looked at.
        """
        problems = []
        if resources is not None:
            problems += _indivisible_batch(config, self._ranks(resources))
            problems += _missing_gpu(config, resources)
        if getattr(config, "track", None) == "wandb" and (problem := self._login_problem()):
            hint = "run `wandb login`, or set WANDB_MODE=offline, or leave out track: wandb"
            problems.append(Problem("track", problem, hint))
        return problems


def _without(raw: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """``raw`` less dotted keys; of a list's entry the whole list."""
    kept = {name: dict(v) if isinstance(v, Mapping) else v for name, v in raw.items()}
    for key in keys:
        block, _, rest = key.partition(".")
        name = rest.partition(".")[0]
        if isinstance(kept.get(block), dict) and name:
            kept[block].pop(name, None)
        else:
            kept.pop(block, None)
    return kept


def _found(data: Any) -> tuple[Any, int] | Problem:
    """The data with its fingerprint, and the number of training examples."""
    try:
        found = dataclasses.replace(data, fingerprint=data.locate())
        return found, found.train_size()
    except UserError as error:
        return Problem("data", str(error))


def _too_large_batch(config: Any, train_size: int) -> list[Problem]:
    used = getattr(config, "train_examples", None)
    if used is not None and used > train_size:
        message = f"{used:,} is more than the training split holds"
        return [Problem("train_examples", message, f"it has {train_size:,} examples")]
    train_size = used or train_size
    if config.batch_size <= train_size:
        return []
    message = f"{config.batch_size:,} is more than the training split holds"
    return [Problem("batch_size", message, f"it has {train_size:,} examples")]


def _indivisible_batch(config: Any, ranks: int) -> list[Problem]:
    size = getattr(config, "batch_size", None)
    if size is None:
        return []
    parts = ranks * config.accumulation
    if size % parts == 0:
        return []
    below, above = size // parts * parts, (size // parts + 1) * parts
    shares = f"{ranks} ranks"
    if config.accumulation > 1:
        shares += f" × {config.accumulation} micro-batches"
    message = f"{size} cannot be divided over {shares}"
    return [Problem("batch_size", message, f"nearest: {f'{below} or ' if below else ''}{above}")]


def _missing_gpu(config: Any, resources: Resources) -> list[Problem]:
    if resources.gpus_per_node:
        on_cpu = getattr(config, "device", "auto") == "cpu"
    elif getattr(config, "device", "auto") == "cuda":
        hint = "resources.gpus_per_node: 1, or device: auto"
        return [Problem("device", "cuda, but the resources ask for no GPU", hint)]
    else:
        on_cpu = True
    if on_cpu and getattr(config, "precision", "no") == "fp16":
        return [Problem("precision", "fp16 needs a GPU", "bf16 works on CPUs as well")]
    return []


def _origin(sweep: Sweep, key: str, arm: str) -> str:
    """``file: key`` of what decided a key of a run, of its resources or of the sweep."""
    of_sweep = key in ("runs_per_task", "per_gpu", "plugins")
    return sweep.where(key) if of_sweep else sweep.origin(key, arm)


def _perhaps_section(problem: Problem, where: str, arm: str) -> Problem:
    """The problem, with a better hint where ``grid`` or another section of an arm was meant."""
    near = difflib.get_close_matches(problem.key, ARM_KEYS, n=1)
    in_arm = where.endswith(f": arms.{arm}.{problem.key}")
    if near and in_arm and problem.message == "unknown key":
        return dataclasses.replace(problem, hint=f"did you mean '{near[0]}'?")
    return problem


def refusal(
    where: str, problem: Problem, places: Sequence[Wanted] | Sequence[Run], of: int
) -> Refusal:
    """One problem as what is said about it.

    Args:
        where: see ``Refusal``.
        places: the runs that it touches, ``of`` so many.
    """
    labels = tuple(label(place) for place in places)
    return Refusal(where, problem.key, problem.message, problem.hint, labels, of)


def label(place: Wanted | Run) -> str:
    """A run for the person: ``adam, optimizer.lr=0.001, seed 0``."""
    point = [f"{key}={value}" for key, value in place.point.items()]
    return ", ".join([*filter(None, [place.arm]), *point, f"seed {place.seed}"])
