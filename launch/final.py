"""``submit.py SWEEP --final N``: the choice of each arm, frozen, and its runs on other seeds."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from launch.preflight import Run
from launch.sweep import Expansion, Sweep, expand
from lrscale.errors import UserError
from lrscale.store import Store


def reporting(store: Store, sweep: Sweep, tuning: Sequence[Run], seeds: int) -> Sweep:
    """The sweep SWEEP.final: the same arms on ``seeds`` seeds that tuning did not use.

    Its ``selection`` is the one that was frozen before, or one made now from the finished runs.

    Args:
        tuning: every run that the sweep file asks for.

    Raises:
        UserError: runs that are not finished, or others than the store or the frozen selection
            knows of.
    """
    # With pandas: only now, that planning a sweep starts fast.
    from lrscale.compare.final import final_name, read_final

    if seeds < 1:
        raise UserError(f"--final {seeds}: give at least 1 seed; 5 or more tell something")
    asked = {run.id for run in tuning}
    manifest = store.read_sweep(sweep.name)
    if asked != {entry["id"] for entry in manifest["runs"]}:
        raise UserError(
            f"--final: {sweep.path} and the command line ask for other runs than those of "
            f"{sweep.name} in the run store: submit them first, with the same command less --final"
        )
    frozen = read_final(store, sweep.name)
    selection = frozen["selection"] if frozen else _select(store, manifest)
    if asked != set(selection["runs"]):
        path = store.root / "sweeps" / f"{final_name(sweep.name)}.json"
        raise UserError(
            f"--final: the selection of {sweep.name} was frozen from other runs; "
            f"to choose again, remove {path}"
        )
    others = _other_seeds(selection["seeds"], seeds)
    arms = sweep.text.get("arms") or {}
    text = {**sweep.text, "seeds": others}
    if arms:
        text["arms"] = {name: {**(arm or {}), "seeds": others} for name, arm in arms.items()}
    notes = f"the chosen points of {sweep.name} on seeds that had no part in choosing them"
    return replace(sweep, name=final_name(sweep.name), notes=notes, text=text, selection=selection)


def chosen_only(sweep: Sweep) -> Expansion:
    """The runs of a sweep from ``reporting``: of its arms, the chosen points.

    Raises:
        UserError: a point whose values depend on the seed, so that other seeds do not have it.
    """
    from lrscale.compare.load import point_key

    assert sweep.selection is not None
    chosen = {(c["arm"], point_key(c["point"])): c for c in sweep.selection["chosen"]}
    runs = [w for w in expand(sweep) if (w.arm or "all", point_key(w.point)) in chosen]
    found = {(w.arm or "all", point_key(w.point)) for w in runs}
    for (arm, point), _ in chosen.items():
        if (arm, point) not in found:
            raise UserError(f"--final: {arm}: no run of other seeds has the chosen point {point}")
    return Expansion(runs, 0, ())


def _select(store: Store, manifest: Mapping[str, Any]) -> dict[str, Any]:
    from lrscale.compare.comparison import compare
    from lrscale.compare.final import freeze
    from lrscale.compare.load import load_runs, metric_of
    from lrscale.compare.moment import at_validation
    from lrscale.compare.protocol import protocol_of

    runs, protocol = load_runs(store, manifest), protocol_of(manifest["text"])
    if protocol.at == "validation":
        runs, _ = at_validation(store, runs, None, metric_of(runs))
    comparison = compare(runs, manifest, protocol=protocol)
    select = comparison.metric.select
    return freeze(manifest["name"], runs, comparison.groups, select, time.time())


def _other_seeds(used: Collection[int], count: int) -> list[int]:
    """The first seeds after the greatest that was used."""
    first = max(used) + 1
    return list(range(first, first + count))
