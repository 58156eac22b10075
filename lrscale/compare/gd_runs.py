"""Runs of gradient descent on deep networks, as their figures and tables need them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from lrscale.compare.comparison import Comparison
from lrscale.registry import workloads
from lrscale.run_state import FINISHED
from lrscale.store import Store

MANY = 20  # starts of one point from which on they are counted instead of drawn one by one

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class GDRun:
    """One run that has begun.

    Attributes:
        id, arm, seed, state: as in ``load_runs``.
        planned: seeds that the sweep asked for at this point.
        config: the complete configuration.
        records: measurements, indexed by epoch; at least one.
        theory: what was predicted at the start; empty until the run has ended.
        seconds: of training; nan until the run has ended.
    """

    id: str
    arm: str
    seed: int
    state: str
    planned: int
    config: Mapping[str, Any]
    records: pd.DataFrame
    theory: Mapping[str, Any]
    seconds: float

    @property
    def depth(self) -> int:
        return int(self.config["depth"])

    @property
    def dtype(self) -> str:
        return str(self.config["dtype"])

    @property
    def activation(self) -> str:
        return str(self.config["activation"])

    @property
    def rule(self) -> str:
        """Name of the step-size rule."""
        return str(self.config["step_size"]["name"])

    @property
    def exponent(self) -> float:
        """a of η_k = η_max (k + 1)^{−a}."""
        return float(self.config["step_size"].get("exponent", 0.0))

    @property
    def eta_max(self) -> float:
        return self.measured("eta", 0)

    @property
    def multiple(self) -> float:
        """η_max over the theorem's bound; nan where that is not known, or not yet."""
        step = self.config["step_size"]
        if self.rule == "bound" or (self.rule == "decreasing" and step.get("eta_max") is None):
            return float(step.get("factor", 1.0))
        bound = self.theory.get("bound")
        return self.eta_max / bound if bound else math.nan

    @property
    def ended(self) -> bool:
        return self.state in FINISHED

    @property
    def rate(self) -> float:
        """Epochs per second of training."""
        last = int(self.records.index[-1])
        return last / self.seconds if self.seconds else math.nan

    def measured(self, name: str, place: int = -1) -> float:
        """A measurement of the record at ``place``; nan where there is none."""
        if name not in self.records:
            return math.nan
        return float(self.records[name].astype(float).iloc[place])

    @property
    def largest_layer_norm(self) -> float:
        """max ‖W_j(k)‖ over layers and records."""
        columns = [f"layer_norm_{j}" for j in range(1, self.depth + 1)]
        return float(self.records[columns].to_numpy(dtype=float).max())


def is_gd(runs: pd.DataFrame) -> bool:
    """Whether every run of ``load_runs`` that has begun is one of gradient descent's theory."""
    column = "config.workload"
    names = set(runs[column].dropna()) if column in runs else set()
    known = names & set(workloads.names())
    return (
        bool(names)
        and names == known
        and all(getattr(workloads.get(name), "runner", "") == "lrscale.theory" for name in names)
    )


def load_gd(store: Store, comparison: Comparison) -> list[GDRun]:
    """The runs of a sweep that have measured anything, in its order."""
    found, runs = [], comparison.runs
    planned = runs.groupby(["arm", "point"])["id"].transform("size")
    for row in runs.assign(planned=planned).to_dict("records"):
        run = store.run(row["id"])
        if store.unreadable(run.id) or not run.exists():
            continue
        records = [r for r in run.metrics() if r["kind"] == "epoch"]
        if not records:
            continue
        frame: pd.DataFrame = pd.DataFrame(records).set_index("epoch", drop=False)
        summary = run.summary() if row["state"] in FINISHED else None
        found.append(
            GDRun(
                run.id, str(row["arm"]), int(row["seed"]), str(row["state"]), int(row["planned"]),
                run.record()["config"], frame, summary["theory"] if summary else {},
                float(summary["seconds"]["training"]) if summary else math.nan,
            )
        )  # fmt: skip
    return found


def traced(runs: Iterable[GDRun]) -> list[GDRun]:
    """Those that are drawn as trajectories: a few seeds of each setting."""
    return [run for run in runs if run.planned < MANY]


def counted(runs: Iterable[GDRun]) -> list[GDRun]:
    """Those of which there are so many starts that their ends are counted."""
    return [run for run in runs if run.planned >= MANY]


def scanned(runs: Iterable[GDRun]) -> list[GDRun]:
    """Those whose step size came from a scan for the edge of convergence."""
    return [run for run in runs if run.theory.get("bracket")]


def grouped(runs: Iterable[GDRun], key: Callable[[GDRun], Key]) -> dict[Key, list[GDRun]]:
    """Runs by ``key``, in the order in which its values appear."""
    groups: dict[Key, list[GDRun]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def setting(run: GDRun, *but: str) -> str:
    """The configuration without the keys ``but``, as something to group by."""
    return json.dumps({k: v for k, v in run.config.items() if k not in but}, sort_keys=True)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """``median (least to greatest)`` of the finite values; ``–`` where there is none."""
    finite = sorted(v for v in values if math.isfinite(v))
    if not finite:
        return "–"
    middle, low, high = (
        f"{v:.{digits}g}" for v in (statistics.median(finite), finite[0], finite[-1])
    )
    return middle if low == high else f"{middle} ({low} to {high})"
