"""How long runs will probably take, from what this store's own finished runs took."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from launch.preflight import Run
from lrscale.config import encode
from lrscale.store import Store

SAMPLE = 100  # finished runs that are read at most
# What hardly changes a run's time per epoch, or (device) is a matter of its place.
LITTLE = frozenset(
    {"seed", "epochs", "schedule", "start", "noise", "device", "track", "checkpoint_minutes"}
)

Place = tuple[str, int]
"""Where a run computes: ``cpu`` or ``cuda``, and its number of processes."""


def expected_minutes(
    store: Store,
    runs: Sequence[Run],
    finished: Iterable[str],
    given: float | None,
    place: Callable[[Run], Place],
) -> dict[str, float | None]:
    """Minutes of each run by id: as given, else from finished runs of the same kind, else None.

    Args:
        finished: ids of the sweep's own finished runs; other sweeps' runs are looked at as well.
        given: the sweep's ``minutes_per_run``.
        place: where a run will compute. Minutes measured in other places say nothing about it.
    """
    if given is not None:
        return {run.id: given for run in runs}
    measured = _minutes_per_epoch(store, _sample(store, finished))
    kinds = {run.id: (_kind(encode(run.config)), place(run)) for run in runs if measured}
    return {
        run.id: measured[kind] * run.config.epochs
        if (kind := kinds.get(run.id)) in measured
        else None
        for run in runs
    }


def _sample(store: Store, finished: Iterable[str]) -> list[str]:
    done = list(finished)
    sample = done[:: max(1, len(done) // SAMPLE)][:SAMPLE]  # of all its arms
    for name in store.sweep_names():
        if len(sample) >= SAMPLE:
            break
        listed = [run["id"] for run in store.read_sweep(name)["runs"]]
        sample += listed[: SAMPLE - len(sample)]
    return sample


def _minutes_per_epoch(store: Store, runs: Iterable[str]) -> dict[tuple[str, Place], float]:
    """Median over runs of one kind and place, per epoch, evaluation and start-up included."""
    found: dict[tuple[str, Place], list[float]] = {}
    for run in dict.fromkeys(runs):
        if store.unreadable(run):
            continue
        summary = store.run(run).summary()
        if summary and summary.get("epoch"):
            minutes = sum(summary["seconds"].values()) / 60 / summary["epoch"]
            place = (summary["device"], summary.get("world_size", 1))
            kind = _kind(store.run(run).record()["config"])
            found.setdefault((kind, place), []).append(minutes)
    return {kind: statistics.median(minutes) for kind, minutes in found.items()}


def _kind(config: Mapping[str, Any]) -> str:
    """What a run's time per epoch depends on, beside its place."""
    kind = {key: value for key, value in config.items() if key not in LITTLE}
    for key in ("optimizer", "step_size"):
        if key in kind:
            kind[key] = kind[key]["name"]
    if "data" in kind:
        kind["data"] = {k: v for k, v in kind["data"].items() if k not in ("root", "download")}
    return repr(sorted(kind.items()))
