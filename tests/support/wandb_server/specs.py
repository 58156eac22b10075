"""What a report's specification says, held against the project: do its parts mean anything there?

W&B keeps any JSON and draws nothing for a key that no run has. Here that is refused, so that a
report whose filters, groups or panels miss is found out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from wandb_server.state import Run, State, View

VERSION = 5  # of the specifications that W&B's client writes
BLOCKS = frozenset(
    {"paragraph", "heading", "list", "markdown-block", "panel-grid", "callout-block"}
)


def problems(state: State, view: View) -> list[str]:
    """What of a report would show nothing."""
    spec = view.spec
    found = [] if spec["version"] == VERSION else [f"version {spec['version']}"]
    found += [f"block {b['type']}" for b in spec["blocks"] if b["type"] not in BLOCKS]
    for grid in grids(view):
        for run_set in grid["runSets"]:
            of = run_set["project"]
            if (of["entityName"], of["name"]) not in state.projects:
                found.append(f"run set of project {of}")
        for key in sorted(wanted(grid)):
            if not any(value(run, key) is not None for run in selected(state, view, grid)):
                found.append(f"{key} is of no run")
    return sorted(set(found))


def grids(view: View) -> Iterator[dict[str, Any]]:
    """Of panels."""
    for block in view.spec["blocks"]:
        if block["type"] == "panel-grid":
            yield block["metadata"]


def panels(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = grid["panelBankSectionConfig"]["panels"]
    return made


def selected(state: State, view: View, grid: Mapping[str, Any]) -> list[Run]:
    """The runs of a grid's only run set."""
    (run_set,) = grid["runSets"]
    runs = [run for run in state.runs.values() if run.key[:2] == (view.entity, view.project)]
    return [run for run in runs if all(_passes(run, f) for f in run_set["filters"]["filters"])]


def groups(state: State, view: View, grid: Mapping[str, Any]) -> dict[tuple[Any, ...], set[str]]:
    """What the run set's groups have in common → ids of their runs."""
    (run_set,) = grid["runSets"]
    made: dict[tuple[Any, ...], set[str]] = {}
    for run in selected(state, view, grid):
        name = tuple(value(run, f"{k['section']}:{k['name']}") for k in run_set["grouping"])
        made.setdefault(name, set()).add(run.key[2])
    return made


def wanted(grid: Mapping[str, Any]) -> set[str]:
    """Every ``section:name`` that panels and groups of a grid are made of."""
    keys = {
        f"{k['section']}:{k['name']}" for run_set in grid["runSets"] for k in run_set["grouping"]
    }
    for panel in panels(grid):
        keys |= _wanted(panel["viewType"], panel["config"])
    return keys


def _wanted(kind: str, config: Mapping[str, Any]) -> set[str]:
    if kind == "Run History Line Plot":
        return {f"history:{key}" for key in [config["xAxis"], *config["metrics"]]}
    if kind == "Scatter Plot":
        return {config["xAxis"], config["yAxis"]}
    if kind == "Parallel Coordinates Plot":
        return {column["accessor"] for column in config["columns"]}
    if kind == "Media Browser":
        return {f"summary:{key}" for key in config["mediaKeys"]}
    if kind == "Weave":
        key = config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]
        return {f"summary:{key}"}
    if kind == "Run Comparer":
        return set()
    raise NotImplementedError(kind)


def value(run: Run, key: str) -> Any:
    """Of ``run:jobType``, ``config:optimizer.value.lr``, ``summary:val_loss``, ``history:loss``."""
    section, _, name = key.partition(":")
    if section == "history":
        return next((row[name] for row in run.rows if name in row), None)
    if section == "summary":
        return run.summary.get(name)
    if section == "run":
        return {"name": run.key[2]}.get(name, run.fields.get(name))
    found: Any = run.config
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _passes(run: Run, filter: Mapping[str, Any]) -> bool:
    if filter["op"] != "IN" or filter["disabled"]:
        raise NotImplementedError(json.dumps(filter))
    held = value(run, f"{filter['key']['section']}:{filter['key']['name']}")
    of_run = held if isinstance(held, list) else [held]
    return not set(of_run).isdisjoint(filter["value"])
