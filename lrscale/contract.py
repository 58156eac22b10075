"""What a component must offer, as far as can be told without torch and without data.

Preflight holds plugins to it; the tests hold ours to it and go further: optimizers descend,
schedules are pure, data can be read. What each kind of component is stands in ``lrscale.optim``,
``lrscale.schedules``, ``lrscale.models``, ``lrscale.data`` and ``lrscale.workloads``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lrscale.config import check_schema, decode
from lrscale.errors import ConfigError
from lrscale.registry import Registry, workloads

# Of each kind: methods with the arguments that they are called with, and parameters.
METHODS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "optimizer": {"build": ("model",)},
    "schedule": {"factor": ("step", "total")},
    "model": {"build": ("input_shape", "classes")},
    "dataset": {"locate": (), "train_size": (), "open": ("device",)},
    "workload": {"loss": ("outputs", "targets"), "sums": ("outputs", "targets")},
}
PARAMETERS = {"optimizer": "lr", "dataset": "fingerprint"}
TRIED_STEPS = 100  # of a schedule's factor


def breaches(registry: Registry, name: str) -> list[str]:
    """What a registered component lacks, a sentence each; empty when it is in order."""
    component = registry.get(name)
    if registry is workloads:
        return [*_workload(name, component)]
    found = [*_parameters(registry.kind, component), *_methods(registry.kind, component)]
    if not found and registry.kind == "schedule":
        found += _factor(component)
    return found


def measure_of(workload: str) -> dict[str, Any]:
    """What runs of a workload are compared by, as plain values, for readers without its code."""
    component = workloads.get(workload)
    return {
        "metric": component.metric,
        "direction": component.direction,
        "also": list(getattr(component, "also", ())),
        "target": dict(component.target),
    }


def place_of_class(component: type[Any]) -> str:
    """``file:line`` where a class begins, its decorators included; its name where unknown."""
    try:
        return f"{inspect.getsourcefile(component)}:{inspect.getsourcelines(component)[1]}"
    except (OSError, TypeError):
        return f"{component.__module__}.{component.__qualname__}"


def _parameters(kind: str, component: type[Any]) -> Iterator[str]:
    # Of the class itself: one that inherits from a dataclass has none of its own parameters.
    made = component.__dict__.get("__dataclass_params__")
    if made is None or not made.frozen:
        yield "it is no frozen dataclass: put @dataclass(frozen=True) below the registration"
        return
    wanted = PARAMETERS.get(kind)
    if wanted and wanted not in {f.name for f in dataclasses.fields(component)}:
        yield f"it has no parameter {wanted}"
    problem = check_schema(component)
    if problem:
        yield f"its parameters cannot be decoded: {problem}"
        return
    if kind == "dataset" and not hasattr(component, "title"):
        yield "it has no title"


def _methods(kind: str, component: type[Any]) -> Iterator[str]:
    for name, arguments in METHODS[kind].items():
        method = getattr(component, name, None)
        form = f"{name}({', '.join(arguments)})"
        if not callable(method):
            yield f"it has no method {form}"
            continue
        try:
            inspect.signature(method).bind(None, *arguments)  # None stands for self
        except (TypeError, ValueError):
            yield f"its method is not {form} but {name}{inspect.signature(method)}"


def _factor(component: type[Any]) -> Iterator[str]:
    """A schedule whose parameters have defaults is asked for a short run's factors."""
    if any(f.default is dataclasses.MISSING for f in dataclasses.fields(component)):
        return
    schedule = component()
    for step in range(TRIED_STEPS):
        factor = schedule.factor(step, TRIED_STEPS)
        if not isinstance(factor, (int, float)) or not math.isfinite(factor) or factor < 0:
            yield f"factor({step}, {TRIED_STEPS}) is {factor!r}: no finite number from 0 on"
            return


def _workload(name: str, component: type[Any]) -> Iterator[str]:
    own: dict[str, Callable[[Any], bool]] = {
        "schema": dataclasses.is_dataclass,
        "runner": _is_module,
        "defaults": lambda value: isinstance(value, Mapping),
        "metric": lambda value: isinstance(value, str),
        "direction": lambda value: value in ("max", "min"),
        "target": lambda value: isinstance(value, Mapping) and bool(value),
        "budget": lambda value: isinstance(value, Mapping),
    }
    found = False
    for attribute, fits in own.items():
        value = getattr(component, attribute, None)
        if not fits(value):
            found = True
            wrong = "has no" if value is None else f"has {value!r} as its"
            yield f"it {wrong} {attribute} (see lrscale.workloads)"
    if not found and component.runner == "lrscale.train":
        yield from _methods("workload", component)
    if not found:
        yield from _by_its_name_alone(name)


def _is_module(name: Any) -> bool:
    with contextlib.suppress(ImportError, AttributeError, TypeError, ValueError):
        return importlib.util.find_spec(name) is not None
    return False


def _by_its_name_alone(name: str) -> Iterator[str]:
    try:
        decode({"workload": name})
    except ConfigError as error:
        yield from (f"its defaults do not make a run: {problem}" for problem in error.problems)
