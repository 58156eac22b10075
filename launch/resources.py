"""What one array element asks of the scheduler. Pure.

The ``resources`` block of a sweep becomes a ``Resources``: typed, checked, and in one form, so
that equal shapes compare equal however they were written (``90`` and ``"1:30:00"``, ``1024M`` and
``1G``) and runs are grouped into arrays by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any

from pydantic import BeforeValidator

from lrscale.config import NonNegativeInt, PositiveInt, decode_as
from lrscale.errors import ConfigError, Problem


def time_seconds(value: object) -> int:
    """Seconds of a time limit as SLURM writes it.

    M, M:S, H:M:S, D-H, D-H:M or D-H:M:S; a bare number counts minutes.

    Raises:
        ValueError: another form, or no time at all (to SLURM, 0 means no limit).
    """
    text = str(value)
    match = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,6}))?(?::(\d{1,6}))?", text, re.ASCII)
    if match is None or isinstance(value, (bool, float)):
        raise ValueError('expected a time such as "02:00:00" (hours) or "1-12:00:00" (days-hours)')
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is None:  # M, M:S, H:M:S: minutes come last but one, or alone
        numbers = numbers if len(numbers) == 3 else [0, *numbers]
    hours, minutes, seconds = (*numbers, 0, 0)[:3]
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise ValueError("expected a time limit above zero")
    return total


def memory_mb(value: object) -> int:
    """Megabytes (2²⁰ bytes) of an amount such as ``32G``. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,9})([MGT])B?", str(value).upper(), re.ASCII)
    if match is None or int(match[1]) == 0:
        raise ValueError('expected a whole number with its unit, M, G or T, such as "32G"')
    return int(match[1]) * {"M": 1, "G": 1024, "T": 1024**2}[match[2]]


def _time(value: object) -> str:
    minutes, seconds = divmod(time_seconds(value), 60)
    days, minutes = divmod(minutes, 24 * 60)
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    return f"{days}-{clock}" if days else clock


def _memory(value: object) -> str:
    return _amount(memory_mb(value))


def _amount(mb: int) -> str:
    return f"{mb}M" if mb % 1024 else f"{mb // 1024}G"


def _word(allowed: str, value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # an account such as 12345
    if isinstance(value, str) and not re.fullmatch(rf"[A-Za-z0-9{allowed}]+", value):
        shown = " ".join(allowed.replace("\\", ""))
        raise ValueError(f"only letters, digits and {shown} may be used")
    return value


Time = Annotated[str, BeforeValidator(_time)]
Memory = Annotated[str, BeforeValidator(_memory)]
Name = Annotated[str, BeforeValidator(lambda value: _word(r"_.\-", value))]
Names = Annotated[str, BeforeValidator(lambda value: _word(r"_.,\-", value))]
Constraint = Annotated[str, BeforeValidator(lambda value: _word(r"_.,\-&|*()\[\]:=", value))]


@dataclass(frozen=True)
class Resources:
    """The shape of an array element: GPU runs have one process per GPU, CPU runs as many as asked.

    ``dataclasses.asdict`` gives a block that decodes to the same shape again.

    Attributes:
        nodes: nodes of an element.
        gpus_per_node: 0 for a CPU run.
        gpu_type: the cluster's name of a GPU model (``a100``); any when null.
        cpus_per_gpu: cores of each process of a GPU run. None in CPU runs.
        mem_per_gpu: memory of each process of a GPU run; the partition's default when null. None
            in CPU runs.
        time: limit of the element in one of SLURM's forms, such as ``02:00:00`` or ``1-12:00:00``.
        partition: one or several, separated by commas; null here and below: the profile's.
        account, qos: who is charged, and under which limits.
        constraint: features of nodes, as sbatch's --constraint.
        tasks_per_node: processes on each node; in GPU runs gpus_per_node.
        cpus_per_task: cores of each process; in GPU runs cpus_per_gpu.
        mem: memory of each node in CPU runs; the partition's default when null.
    """

    nodes: PositiveInt = 1
    gpus_per_node: NonNegativeInt = 1
    gpu_type: Name | None = None
    cpus_per_gpu: PositiveInt | None = 8
    mem_per_gpu: Memory | None = "32G"
    time: Time = "02:00:00"
    partition: Names | None = None
    account: Name | None = None
    qos: Name | None = None
    constraint: Constraint | None = None
    tasks_per_node: PositiveInt = 1
    cpus_per_task: PositiveInt = 1
    mem: Memory | None = None

    def __post_init__(self) -> None:
        """Settle what the kind of run decides, so that equal shapes compare equal."""
        if self.gpus_per_node:
            cores = self.cpus_per_gpu or 1
            settled = {"tasks_per_node": self.gpus_per_node, "cpus_per_task": cores, "mem": None}
        else:
            settled = {"gpu_type": None, "cpus_per_gpu": None, "mem_per_gpu": None}
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    @property
    def world_size(self) -> int:
        """Processes of an element."""
        return self.nodes * self.tasks_per_node

    @property
    def mem_per_node(self) -> str | None:
        """Memory of each node, such as ``128G``; None: the partition's default."""
        if self.gpus_per_node and self.mem_per_gpu:
            return _amount(memory_mb(self.mem_per_gpu) * self.gpus_per_node)
        return self.mem

    @property
    def minutes(self) -> int:
        """The time limit as SLURM keeps it, in whole minutes, rounded up."""
        return ceil(time_seconds(self.time) / 60)

    def gpu_hours(self, minutes: float) -> float:
        """GPU-hours of an element that takes so long."""
        return self.nodes * self.gpus_per_node * minutes / 60

    def core_hours(self, minutes: float) -> float:
        """Core-hours of an element that takes so long."""
        return self.world_size * self.cpus_per_task * minutes / 60


def decode_resources(raw: Mapping[str, Any]) -> Resources:
    """The ``resources`` block of a sweep, checked.

    Raises:
        ConfigError: every problem at once, with keys such as ``resources.time``.
    """
    resources = decode_as(Resources, raw, "resources.")
    problems = _contradictions(raw, resources)
    if problems:
        raise ConfigError(problems)
    return resources


def _contradictions(raw: Mapping[str, Any], settled: Resources) -> list[Problem]:
    """What was asked of a GPU run that only a CPU run can have, or the other way round.

    Left alone are cpus_per_gpu and mem_per_gpu of a CPU run: a sweep for GPUs is tried out with
    ``resources.gpus_per_node=0``.
    """
    gpu_run = settled.gpus_per_node > 0
    instead = {
        "tasks_per_node": "a GPU run has one process per GPU: set gpus_per_node",
        "cpus_per_task": "set cpus_per_gpu",
        "mem": "set mem_per_gpu",
    }
    problems = [
        Problem(f"resources.{key}", "is for CPU runs, where gpus_per_node is 0", hint)
        for key, hint in instead.items()
        if gpu_run and raw.get(key) is not None and str(raw[key]) != str(getattr(settled, key))
    ]
    if not gpu_run and raw.get("gpu_type") is not None:
        problems.append(Problem("resources.gpu_type", "is given, but gpus_per_node is 0"))
    return problems
