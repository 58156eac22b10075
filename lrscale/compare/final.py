"""A selection that is frozen, and the runs on other seeds that report it.

``submit.py SWEEP --final 5`` writes the manifest of a sweep of its own, SWEEP.final, whose key
``selection`` says which point of each arm was chosen, when, by what and from which runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrscale.compare.load import NAMELESS, load_runs, point_key
from lrscale.errors import UserError
from lrscale.run_state import FINISHED
from lrscale.store import Store


@dataclass(frozen=True)
class Final:
    """A frozen selection and its runs.

    Attributes:
        sweeps: those that have frozen their choices; not all, perhaps, where several are joined.
        chosen: arm and point (as ``load_runs`` has them) of each choice.
        metrics: the recorded metrics that chose; several only where sweeps are joined.
        when: Unix seconds, likewise.
        tuning: ids of the runs that it was chosen from.
        runs: those that report, like ``load_runs``.
    """

    sweeps: tuple[str, ...]
    chosen: frozenset[tuple[str, str]]
    metrics: tuple[str, ...]
    when: tuple[float, ...]
    tuning: frozenset[str]
    runs: pd.DataFrame


def final_name(sweep: str) -> str:
    """The name of the sweep that reports the chosen points of another."""
    return f"{sweep}.final"


def read_final(store: Store, sweep: str) -> Mapping[str, Any] | None:
    """The manifest of the sweep that reports another's choices; None where none was frozen."""
    if final_name(sweep) not in store.sweep_names():
        return None
    manifest = store.read_sweep(final_name(sweep))
    return manifest if "selection" in manifest else None  # else it only happens to have the name


def load_final(
    store: Store, sweeps: Sequence[str], runs: pd.DataFrame, keep: bool = True
) -> Final | None:
    """The frozen selections of some sweeps; None where none was frozen.

    Args:
        runs: those of the sweeps. Where several were joined, an arm may have its sweep's name
            before its own there, and then it has here too.
        keep: see ``load_runs``.
    """
    found = [(sweep, m) for sweep in sweeps if (m := read_final(store, sweep)) is not None]
    if not found:
        return None
    arms = set(runs["arm"])

    def name(sweep: str, arm: str) -> str:
        if arm == NAMELESS and arm not in arms:
            return sweep
        return f"{sweep}/{arm}" if f"{sweep}/{arm}" in arms else arm

    frames = [
        (frame := load_runs(store, m, keep)).assign(arm=[name(sweep, arm) for arm in frame["arm"]])
        for sweep, m in found
    ]
    selections = [(sweep, m["selection"]) for sweep, m in found]
    reported = pd.concat(frames, ignore_index=True)
    missing = [column for column in runs if column not in reported]
    return Final(
        sweeps=tuple(sweep for sweep, _ in found),
        chosen=frozenset(
            (name(sweep, choice["arm"]), point_key(choice["point"]))
            for sweep, selection in selections
            for choice in selection["chosen"]
        ),
        metrics=tuple(sorted({selection["metric"] for _, selection in selections})),
        when=tuple(selection["when"] for _, selection in selections),
        tuning=frozenset(run for _, selection in selections for run in selection["runs"]),
        runs=reported.reindex(columns=[*reported, *missing]),  # while none of them has finished
    )


def freeze(
    sweep: str, runs: pd.DataFrame, groups: pd.DataFrame, metric: str, when: float
) -> dict[str, Any]:
    """The record of a selection, in plain values.

    Args:
        runs: all that it is chosen from.
        groups: the choices, from ``select``; one for each arm, or arm and workload.
        metric: the recorded metric that chose, such as ``val_accuracy``.

    Raises:
        UserError: runs that may still end otherwise, or an arm without any result.
    """
    open_runs = runs[~runs["state"].isin([*FINISHED, "failed", "cancelled"])]
    if len(open_runs):
        counts = ", ".join(f"{n} {state}" for state, n in open_runs["state"].value_counts().items())
        raise UserError(
            f"--final: {len(open_runs)} of {len(runs)} runs of {sweep} have not ended ({counts}): "
            "what is best may still change; run them first, with the same command less --final"
        )
    without = groups[~groups["selected"].astype(bool)]
    if len(without):
        raise UserError(
            f"--final: no point to choose in {', '.join(sorted(without['arm']))}: no run finished"
        )
    return {
        "sweep": sweep,
        "when": when,
        "metric": metric,
        "seeds": sorted({int(seed) for seed in runs["seed"]}),
        "runs": sorted(runs["id"]),
        "chosen": [_choice(row, metric) for row in groups.to_dict("records")],
    }


def _choice(row: Mapping[Any, Any], metric: str) -> dict[str, Any]:
    value, median = row[f"metrics.{metric}.mean"], row[f"metrics.{metric}.median"]
    return {
        "arm": row["arm"],
        "point": json.loads(row["point"]),
        "mean": None if pd.isna(value) else value,
        "median": None if pd.isna(median) else median,
        "points": int(row["points"]),
    }
