"""The runs of a sweep as one table: a row for every run that was asked for, finished or not."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from lrscale.contract import measure_of
from lrscale.errors import UserError, did_you_mean
from lrscale.registry import workloads
from lrscale.run_index import Results, read_results
from lrscale.run_state import FINISHED
from lrscale.store import Store

Direction = Literal["max", "min"]

SHARES = ("accuracy", "f1")  # metrics from 0 to 1 of which the highest is best; shown in per cent
NAMELESS = "all"  # the arm of a sweep without arms, where it is not one of several
MISSING = "missing"  # the state of a run that the sweep asked for and the store does not hold


@dataclass(frozen=True)
class Metric:
    """What points are compared by.

    Attributes:
        name: such as ``accuracy``.
        direction: whether the highest or the lowest is best.
        select: the recorded metric that chooses a point: validation, where there is one.
        report: the recorded metric that is reported at the chosen point: test, likewise.
        also: further recorded metrics that are reported there.
    """

    name: str
    direction: Direction
    select: str
    report: str
    also: tuple[str, ...] = ()


def join_sweeps(manifests: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One manifest of several: ``a+b``. An arm's name that several have gets its sweep's before it,
    a sweep without arms is one of its own name.

    A run that several sweeps asked for under different names has a row for each.
    """
    if len(manifests) == 1:
        return manifests[0]
    counts = Counter(arm for m in manifests for arm in {entry["arm"] for entry in m["runs"]} if arm)

    def name(sweep: str, arm: str | None) -> str:
        return sweep if arm is None else f"{sweep}/{arm}" if counts[arm] > 1 else arm

    runs = [
        {**entry, "sweep": m["name"], "arm": name(m["name"], entry["arm"])}
        for m in manifests
        for entry in m["runs"]
    ]
    notes = [f"{m['name']}: {m['notes']}" for m in manifests if m.get("notes")]
    return {"name": "+".join(m["name"] for m in manifests), "notes": "; ".join(notes), "runs": runs}


def load_runs(store: Store, manifest: Mapping[str, Any], keep: bool = True) -> pd.DataFrame:
    """One row per run of the manifest, in its order; from the store's index of results where that
    is up to date, and the index is written unless ``keep`` is false.

    Columns: ``id, arm, seed, trial``; ``sweep``, empty where it is not one of several; ``point``,
    the run's place in its grid as canonical JSON; ``state`` (the store's, or ``missing``),
    ``ended`` in Unix seconds; provenance (``data, code, device, hardware, world_size, threads,
    versions, mixed, sharing``; of runs with plugins ``plugins`` and, as JSON, the ``measure`` of
    their workload); ``seconds.*``, ``steps_per_second`` and ``energy_joules``; ``examples.*``, the
    size of each split; ``config.*``, the flattened configuration (lists as JSON);
    ``metrics.*`` at the last step: NaN where nothing was recorded, inf where what was recorded is
    not finite. Raises UserError for an empty sweep.
    """
    if not manifest["runs"]:
        raise UserError(f"sweep '{manifest['name']}' has no runs")
    ids = [entry["id"] for entry in manifest["runs"]]
    index = read_results(store, manifest["name"], ids)
    if keep:
        index.save()
    for run, why in index.unreadable.items():
        warnings.warn(f"run {run[:8]} cannot be read and counts as missing: {why}", stacklevel=2)
    rows = [_row(index.results(entry["id"]), entry) for entry in manifest["runs"]]
    frame: pd.DataFrame = pd.DataFrame(rows)
    return frame


def metric_of(runs: pd.DataFrame, name: str | None = None) -> Metric:
    """The metric to compare by: ``name``, or the workload's own.

    ``accuracy`` stands for its validation and test forms, ``train_loss`` for itself. Where only
    one form was recorded it both chooses and reports. Raises UserError for a metric that no
    finished run has recorded, or when workloads have different ones and none is named.
    """
    recorded = [str(c).removeprefix("metrics.") for c in runs if str(c).startswith("metrics.")]
    own = _workload_metrics(runs)
    if name is None:
        if len(own) > 1:
            known = ", ".join(sorted(own))
            raise UserError(f"workloads of different metrics ({known}): report.py --metric chooses")
        name = next(iter(own), "accuracy" if "val_accuracy" in recorded else "loss")
    name = name.removeprefix("val_").removeprefix("test_")
    direction = own.get(name) or ("max" if is_share(name) else "min")
    found = _forms(name, recorded)
    if recorded and not found:
        raise UserError(f"no run has recorded the metric '{name}': {did_you_mean(name, recorded)}")
    found = found or [f"val_{name}", f"test_{name}"]  # nothing has finished yet
    beside = (_forms(other, recorded)[-1:] for other in _beside(runs) if other != name)
    also = tuple(form for forms in beside for form in forms)
    return Metric(name, direction, select=found[0], report=found[-1], also=also)


def targets_of(runs: pd.DataFrame) -> dict[str, float]:
    """The recorded metrics for which the workloads of these runs state a value that a tuned run
    reaches, and that value."""
    named = (measure.get("target", {}) for measure in _measures(runs))  # of old plugins none
    return {metric: value for targets in named for metric, value in targets.items()}


def is_share(name: str) -> bool:
    """Whether a metric is accuracy, F1 or the like: from 0 to 1, and the highest is best."""
    return name.endswith(SHARES)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"optimizer": {"lr": 0.1}}`` as ``{"optimizer.lr": 0.1}``; lists as JSON text."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value) if isinstance(value, list) else value
    return flat


def point_key(point: Mapping[str, Any]) -> str:
    """A place in a grid as canonical JSON."""
    return json.dumps(flatten(point), sort_keys=True)


def _row(left: Results, entry: Mapping[str, Any]) -> dict[str, Any]:
    state, record, summary = left
    point = flatten(entry["point"])
    row: dict[str, Any] = {
        "id": entry["id"],
        "sweep": entry.get("sweep", ""),
        "arm": _arm(entry),
        "seed": entry["seed"],
        "trial": entry.get("trial"),
        "point": point_key(point),
        "state": state.state if state else MISSING,
        "cause": state.cause if state else "",
        "ended": state.updated if state and state.state in FINISHED else None,
    }
    config: dict[str, Any] = {}
    if record is not None:
        config = flatten(record["config"])
        code = record.get("code") or {}
        row["code"] = _code(code.get("commit"), bool(code.get("dirty")), code.get("digest"))
        if record.get("plugins"):
            named = (f"{plugin['name']} {plugin['digest'][:10]}" for plugin in record["plugins"])
            row |= {"plugins": ", ".join(named), "measure": json.dumps(record["measure"])}
    row |= {f"config.{key}": value for key, value in {**config, **point}.items()}
    return row | (_results(summary) if summary else {})


def _arm(entry: Mapping[str, Any]) -> str:
    """A sweep without arms is one."""
    return entry["arm"] or NAMELESS


def _results(summary: Mapping[str, Any]) -> dict[str, Any]:
    seconds = summary["seconds"]
    row = {
        "data": summary["data"],
        "device": summary["device"],
        "hardware": _joined(summary["hardware"]),
        "versions": _joined(summary["versions"]),
        "world_size": summary.get("world_size", 1),
        "threads": summary.get("threads", 1),
        "mixed": bool(summary.get("mixed")),
        "sharing": summary.get("sharing", 1),
        "steps_per_second": _rate(summary["step"], seconds.get("training")),
    }
    kept = ("step", "epoch", "parameters", "peak_memory_bytes", "energy_joules")
    row |= {key: summary.get(key) for key in kept}
    row |= {f"seconds.{part}": value for part, value in seconds.items()}
    row |= {f"examples.{split}": n for split, n in (summary.get("examples") or {}).items()}
    return row | {
        # The store writes null for a number that is not finite.
        f"metrics.{name}": math.inf if value is None or not math.isfinite(value) else float(value)
        for name, value in summary["metrics"].items()
        if value is None or isinstance(value, (int, float))
    }


def _code(commit: str | None, dirty: bool, digest: str | None) -> str:
    """The commit, where it tells all; else the digest of the files, as far as it was recorded."""
    files = f"files {digest[:10]}" if digest else ""
    if not commit:
        return f"{files} (no commit)" if files else ""
    return f"{commit[:10]} with uncommitted changes ({files})" if dirty else commit[:10]


def _joined(parts: Mapping[str, Any]) -> str:
    """``{"cpu": "EPYC", "cores": 2}`` as ``cpu EPYC, cores 2``; empty parts left out."""
    return ", ".join(f"{key} {value}" for key, value in parts.items() if value)


def _rate(step: int, seconds: float | None) -> float | None:
    return step / seconds if seconds else None


def _forms(name: str, recorded: Sequence[str]) -> list[str]:
    """How a metric was recorded: validation first, test last."""
    return [form for form in (f"val_{name}", name, f"test_{name}") if form in recorded]


def _workload_metrics(runs: pd.DataFrame) -> dict[str, Direction]:
    """Metric to direction, of the sweep's workloads."""
    return {measure["metric"]: measure["direction"] for measure in _measures(runs)}


def _beside(runs: pd.DataFrame) -> list[str]:
    """What the sweep's workloads report beside their metric."""
    return sorted({name for measure in _measures(runs) for name in measure["also"]})


def _measures(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """What the sweep's workloads are compared by. One that has since gone is passed over, unless
    its runs have it on record."""
    names, recorded = (
        set(runs[column].dropna()) if column in runs else set()
        for column in ("config.workload", "measure")
    )
    ours = [measure_of(name) for name in sorted(names & set(workloads.names()))]
    return [*ours, *map(json.loads, sorted(recorded))]
