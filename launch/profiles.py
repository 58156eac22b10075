"""Cluster profiles: what a site wants to hear, kept apart from what a sweep asks for.

A profile is a YAML file in ``slurm/`` (``default.yaml`` explains each line), chosen by
``--profile NAME``, by LRSCALE_PROFILE, or ``default``. Its preamble is shell code by intent;
nothing else in it reaches a shell unquoted.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

from launch.resources import (
    Constraint,
    Memory,
    Name,
    Names,
    Resources,
    Time,
    memory_mb,
    time_seconds,
)
from launch.sweep_yaml import parse_yaml, read_file
from lrscale.config import NonNegativeInt, PositiveInt, decode_as
from lrscale.errors import ConfigError, Problem, UserError, did_you_mean

FOLDER = Path(__file__).parents[1] / "slurm"

# Options of sbatch that follow from the resources, from the profile's own keys or from how arrays
# are submitted.
TAKEN = frozenset(
    """
    account array chdir clusters constraint cpus-per-gpu cpus-per-task dependency error export gpus
    gpus-per-node gpus-per-socket gpus-per-task job-name mem mem-per-cpu mem-per-gpu nodes
    no-requeue ntasks ntasks-per-gpu ntasks-per-node open-mode output parsable partition qos
    requeue signal test-only time wait wrap
    """.split()  # noqa: SIM905 (a list of them would fill the screen)
)


def _one_line(value: object) -> object:
    if not isinstance(value, str) or not value or _has_control(value):
        raise ValueError("expected one line of text")
    return value


def _has_control(text: str) -> bool:
    """Line breaks, NUL and the like: they end a line of a batch script, or hide in it."""
    return any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\t" for c in text)


def _option(value: object) -> object:
    """True for an option without a value, else its text; None and false leave it out."""
    if value is None or value is False or value is True:
        return bool(value)
    text = _one_line(str(value) if isinstance(value, (int, float)) else value)
    if "\\" in str(text):
        raise ValueError("a backslash does not reach sbatch as it is written")
    return text


def _command(value: object) -> object:
    """A command in shell notation, every word of it quoted."""
    try:
        words = shlex.split(str(_one_line(value)))
    except ValueError as error:
        raise ValueError(f"not a command ({error})") from None
    if not words or any("$" in word or word.startswith("~") for word in words):
        raise ValueError("expected a command with its paths written out: no variables, no ~")
    return shlex.join(words)


def _shell_line(value: object) -> object:
    line = _one_line(value)
    if str(line).lstrip().startswith("#SBATCH"):
        raise ValueError("comes too late for sbatch: options belong under `sbatch`")
    return line


def _list(value: object) -> object:
    if not isinstance(value, (list, tuple)):
        raise ValueError("expected a list")
    return value


T = TypeVar("T")
S = TypeVar("S", "Profile", "SiteLimits")
ListOf = Annotated[tuple[T, ...], BeforeValidator(_list)]
Line = Annotated[str, BeforeValidator(_one_line)]
ShellLine = Annotated[str, BeforeValidator(_shell_line)]
Option = Annotated[str | bool, BeforeValidator(_option)]
Command = Annotated[str, BeforeValidator(_command)]


@dataclass(frozen=True)
class SiteLimits:
    """What the site cannot give; null and an empty list: not known, nothing is refused.

    Attributes:
        partitions: names that exist.
        gpu_types: names of GPU models that exist.
        max_nodes, max_gpus_per_node, max_cpus_per_node, max_mem_per_node: of one array element.
        max_time: longest limit of an array element, in one of SLURM's forms.
    """

    partitions: ListOf[Name] = ()
    gpu_types: ListOf[Name] = ()
    max_nodes: PositiveInt | None = None
    max_gpus_per_node: NonNegativeInt | None = None
    max_cpus_per_node: PositiveInt | None = None
    max_mem_per_node: Memory | None = None
    max_time: Time | None = None


@dataclass(frozen=True)
class Profile:
    """One site, as its file in ``slurm/`` describes it.

    Attributes:
        partition, account, qos, constraint: for sweeps that name none.
        preamble: shell lines that every job runs first, under ``set -e``.
        sbatch: further options, such as ``{"mail-type": "FAIL", "exclusive": True}``.
        srun_args: arguments of srun, each one word.
        python: interpreter command, its words quoted; the submitting interpreter when null.
        limits: what the site cannot give.
        max_array_size, max_submit_jobs: in place of what the controller says.
    """

    partition: Names | None = None
    account: Name | None = None
    qos: Name | None = None
    constraint: Constraint | None = None
    preamble: ListOf[ShellLine] = ()
    sbatch: Mapping[str, Option] = field(default_factory=dict)
    srun_args: ListOf[Line] = ()
    python: Command | None = None
    limits: SiteLimits = field(default_factory=SiteLimits)
    max_array_size: PositiveInt | None = None
    max_submit_jobs: PositiveInt | None = None

    def placed(self, resources: Resources) -> Resources:
        """The resources with the profile's partition, account, QOS and constraint where unset."""
        names = ("partition", "account", "qos", "constraint")
        return replace(resources, **{n: getattr(resources, n) or getattr(self, n) for n in names})

    def refusals(self, resources: Resources) -> list[Problem]:
        """What of the resources the site cannot give; empty when it can."""
        limits, asked = self.limits, self.placed(resources)
        problems = [
            *_unknown("partition", (asked.partition or "").split(","), limits.partitions),
            *_unknown("gpu_type", [asked.gpu_type or ""], limits.gpu_types),
        ]
        cores = asked.tasks_per_node * asked.cpus_per_task
        bounds: list[tuple[str, int, int | None]] = [
            ("nodes", asked.nodes, limits.max_nodes),
            ("gpus_per_node", asked.gpus_per_node, limits.max_gpus_per_node),
            (_core_key(asked), cores, limits.max_cpus_per_node),
        ]
        problems += [
            Problem(f"resources.{key}", f"{wanted} {_UNITS[key]}", f"the profile allows {most}")
            for key, wanted, most in bounds
            if most is not None and wanted > most
        ]
        memory, most = asked.mem_per_node, limits.max_mem_per_node
        if memory and most and memory_mb(memory) > memory_mb(most):
            key = "mem_per_gpu" if asked.gpus_per_node else "mem"
            hint = f"the profile allows {most}"
            problems.append(Problem(f"resources.{key}", f"{memory} on each node", hint))
        if limits.max_time and time_seconds(asked.time) > time_seconds(limits.max_time):
            hint = f"the profile allows {limits.max_time}"
            problems.append(Problem("resources.time", f"a limit of {asked.time}", hint))
        return problems


_UNITS = {
    "nodes": "nodes for one run",
    "gpus_per_node": "GPUs on each node",
    "cpus_per_gpu": "cores on each node (gpus_per_node × cpus_per_gpu)",
    "cpus_per_task": "cores on each node (tasks_per_node × cpus_per_task)",
}


def _core_key(resources: Resources) -> str:
    return "cpus_per_gpu" if resources.gpus_per_node else "cpus_per_task"


def _unknown(key: str, names: Iterable[str], known: tuple[str, ...]) -> list[Problem]:
    return [
        Problem(f"resources.{key}", f"the profile knows no '{name}'", did_you_mean(name, known))
        for name in names
        if name and known and name not in known
    ]


def profile_names() -> list[str]:
    """The profiles of ``slurm/``, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_profile(name: str | None = None) -> Profile:
    """The profile of that name, or in that file (a path has a ``/`` or ends in ``.yaml``).

    Args:
        name: LRSCALE_PROFILE when None, and ``default`` when that is not set.

    Raises:
        UserError: no such profile, unreadable, or (ConfigError) every problem in it at once.
    """
    name = name or os.environ.get("LRSCALE_PROFILE") or "default"
    if "/" in name or name.endswith(".yaml"):
        path = Path(name).expanduser()
    elif name in profile_names():
        path = FOLDER / f"{name}.yaml"
    else:
        raise UserError(f"no profile '{name}' in {FOLDER}: {did_you_mean(name, profile_names())}")
    try:
        text = read_file(path)
    except OSError as error:
        raise UserError(f"profile {path}: {error.strerror}") from None
    try:
        return _decode(parse_yaml(text, str(path)))
    except ConfigError as error:
        raise ConfigError(replace(p, key=f"{path}: {p.key}") for p in error.problems) from None


def _decode(raw: object) -> Profile:
    keys = _block("profile", {} if raw is None else raw)  # a file of comments holds nothing
    limits = keys.pop("limits", {})
    profile, problems = _decoded(Profile, keys, "")
    known, more = _decoded(SiteLimits, _block("limits", limits), "limits.")
    problems += more + _sbatch_problems(keys.get("sbatch"))
    if problems:
        raise ConfigError(problems)
    options = {name: value for name, value in profile.sbatch.items() if value is not False}
    return replace(profile, limits=known, sbatch=options)


def _block(key: str, value: object) -> dict[str, Any]:
    """A block without its nulls, which stand for defaults."""
    if not isinstance(value, Mapping):
        raise ConfigError([Problem(key, f"expected keys and values, got {value!r}")])
    return {name: entry for name, entry in value.items() if entry is not None}


def _decoded(schema: type[S], raw: Mapping[str, Any], at: str) -> tuple[S, list[Problem]]:
    try:
        return decode_as(schema, raw, at), []
    except ConfigError as error:
        return schema(), list(error.problems)


def _sbatch_problems(options: object) -> list[Problem]:
    if not isinstance(options, Mapping):
        return []
    problems = []
    for option in options:
        key = f"sbatch.{option}"
        if not re.fullmatch(r"[a-z][a-z0-9-]*", str(option)):
            hint = "its long form without dashes in front, such as mail-type"
            problems.append(Problem(key, "not an option of sbatch", hint))
        elif option in TAKEN:
            hint = "set by the sweep's resources, by the profile's own keys or by the submission"
            problems.append(Problem(key, "may not be given here", hint))
    return problems
