"""Tables on gradient descent: what was predicted, beside what happened. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lrscale.compare.gd_runs import GDRun, counted, grouped, scanned, setting, spread, traced
from lrscale.compare.sheet import Sheet

ENDS = ("global minimum", "at a saddle", "in between", "diverged", "unfinished")
FLAT = 0.5  # a loss that falls slower than k^{−½} rests


@dataclass(frozen=True)
class Plateau:
    """Where the loss rests before its last descent.

    Attributes:
        level: the loss there, nan where it never rests.
        end: the last measured epoch at which the loss was still above nine tenths of the
            predicted level; nan without one.
    """

    level: float
    end: float


def sheets(runs: Sequence[GDRun]) -> list[Sheet]:
    """The tables that a sweep's runs have something for."""
    found = [scan_sheet(scanned(runs)), counts_sheet(counted(runs))]
    found.append(trajectory_sheet([run for run in traced(runs) if run.rule != "edge"]))
    return [sheet for sheet in found if sheet is not None]


def predicted_plateau(run: GDRun) -> float:
    """The lowest saddle level: all modes learned but the last one that the target has."""
    levels = run.theory.get("saddle_levels") or []
    above = [v for v in levels if v > levels[-1] + 1e-9 * levels[0]]
    return float(above[-1]) if above else math.nan


def plateau(run: GDRun) -> Plateau:
    """The flattest place of log loss against log epoch, within a factor 2 of the prediction."""
    predicted, records = predicted_plateau(run), run.records
    late = records[(records.index > 0) & records["loss"].notna()]
    epochs, losses = late.index.to_numpy(dtype=float), late["loss"].to_numpy(dtype=float)
    if math.isnan(predicted) or len(losses) < 3:
        return Plateau(math.nan, math.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.abs(np.gradient(np.log(losses), np.log(epochs)))
    near = (losses > predicted / 2) & (losses < 2 * predicted)
    flattest = int(np.argmin(np.where(near, slopes, math.inf)))
    if not near.any() or slopes[flattest] > FLAT:
        return Plateau(math.nan, math.nan)
    return Plateau(float(losses[flattest]), float(epochs[losses > 0.9 * predicted].max()))


def end_of(run: GDRun) -> str:
    """One of ``ENDS``: which kind of critical point, by the loss, the run has come to.

    A run that is past the last saddle by a factor 1,000 can rest nowhere else any more. At a
    saddle: within 1 % of a level that lacks the last modes, after a fall of less than 1 % over
    the last third of the records' decades.
    """
    if run.state != "done":
        return "diverged" if run.state == "diverged" else "unfinished"
    levels = np.array(run.theory["saddle_levels"])
    loss, least = run.measured("loss"), float(levels[-1])
    if loss - least < 1e-3 * (predicted_plateau(run) - least):
        return "global minimum"
    before = run.records["loss"][run.records.index >= run.records.index[-1] / 2].iloc[0]
    still = float(before) - loss < 0.01 * loss
    near = bool(np.any(np.abs(levels - loss) < 0.01 * loss))
    return "at a saddle" if still and near else "in between"


def start_text(config: Mapping[str, Any]) -> str:
    """``gaussian, scale 0.1``: the kind of start and its parameters."""
    start = config["start"]
    numbers = {key: value for key, value in start.items() if isinstance(value, (int, float))}
    if numbers.get("singular_values") == 1:  # the default
        del numbers["singular_values"]
    parts = [f"{key.replace('_', ' ')} {value:g}" for key, value in numbers.items()]
    return ", ".join([start["name"], *parts])


def imbalance(run: GDRun, place: int = 0) -> float:
    """max_j ‖D_j‖ at a record, the first by default."""
    return max(run.measured(f"imbalance_{j}", place) for j in range(1, run.depth))


def trajectory_sheet(runs: Sequence[GDRun]) -> Sheet | None:
    """Step, bound, floors, plateau, drift identity and speed; a row for each depth and rule."""
    if not runs:
        return None
    rows = []
    for group in grouped(runs, lambda r: (r.arm, setting(r, "dtype", "seed"))).values():
        double = [run for run in group if run.dtype == "float64"]
        shown = double or group
        losses = [
            spread([r.measured("loss") for r in group if r.dtype == dtype and r.state == "done"])
            for dtype in ("float64", "float32")
        ]
        residual = max((r.theory.get("drift_residual", math.nan) for r in shown), default=math.nan)
        rows.append([
            shown[0].activation, _rule(shown[0]), str(shown[0].depth),
            spread([r.eta_max for r in shown]), _bound_multiple(shown),
            spread([r.measured("loss", 0) for r in shown]), *losses,
            spread([predicted_plateau(r) for r in shown]),
            spread([plateau(r).level for r in shown]), spread([plateau(r).end for r in shown], 2),
            "–" if math.isnan(residual) else f"{residual:.0e}",
            spread([r.rate for r in shown], 2), _states(group),
        ])  # fmt: skip
    return Sheet(
        "gd_trajectories",
        "Predicted and seen",
        "Median (least to greatest) over seeds. Plateau: the loss with all modes but the last "
        "learned, and where the loss falls slower than k^−½ within a factor 2 of that; it ends at "
        "the last record above nine tenths of the prediction. Drift: the largest "
        "‖D_j(1) − D_j(0) − η²(∇ᵀ∇ − ∇∇ᵀ)‖ on an increment of 1e-2.",
        ["activation", "rule", "N", "η_max", "× bound", "first loss", "last loss, float64",
         "last loss, float32", "plateau predicted", "plateau seen", "until epoch",
         "drift residual", "epochs/s", "runs"],
        rows,
        pd.DataFrame([_trajectory_row(run) for run in runs]),
    )  # fmt: skip


def scan_sheet(runs: Sequence[GDRun]) -> Sheet | None:
    """Where convergence ends, beside the theorem's bound and 2/sharpness."""
    if not runs:
        return None
    rows = []
    for group in grouped(runs, lambda r: setting(r, "seed")).values():
        frame = pd.DataFrame([_scan_row(run) for run in group])
        parts = [
            [v / of for v, of in zip(frame[name], frame[unit], strict=True)]
            for name, unit in (
                ("converges", "bound"), ("diverges", "bound"), ("two_over_start", "bound"),
                ("converges", "two_over_start"), ("two_over_least", "converges"),
                ("two_over_last", "converges"),
            )
        ]  # fmt: skip
        brackets = [f"{spread(list(frame['converges']))} … {spread(list(frame['fails']))}"]
        head = [group[0].activation, str(group[0].depth), spread(list(frame["bound"]))]
        rows.append([*head, *brackets, *(spread(part) for part in parts)])
    return Sheet(
        "gd_edge",
        "The largest step that converges",
        "Median (least to greatest) over seeds. The edge is a bracket: the last step of the scan "
        "below which every step converged, and the next. λ is the sharpness: at the start, the "
        "greatest along the path of a run just below the edge, and at the end of it.",
        ["activation", "N", "bound", "edge", "edge / bound", "diverges from / bound",
         "2/λ start / bound", "edge / (2/λ start)", "2/λ greatest / edge", "2/λ end / edge"],
        rows,
        pd.DataFrame([_scan_row(run) for run in runs]),
    )  # fmt: skip


def counts_sheet(runs: Sequence[GDRun]) -> Sheet | None:
    """How many starts of each kind came to a global minimum."""
    runs = [run for run in runs if run.activation == "linear"]
    if not runs:
        return None
    rows = []
    for group in grouped(runs, lambda r: setting(r, "seed")).values():
        ends = [end_of(run) for run in group]
        first, last = (spread([imbalance(r, place) for r in group], 2) for place in (0, -1))
        counts = [str(ends.count(end)) for end in ENDS]
        rows.append([start_text(group[0].config), str(group[0].depth), first, last, *counts])
    return Sheet(
        "gd_counts",
        "Where the starts ended",
        "Global minimum: the loss is below a thousandth of the last saddle level. At a saddle: "
        "within 1 % of a predicted level and at rest there; a longer run may leave it. Balance: "
        "median (least to greatest) of max_j ‖D_j‖.",
        ["start", "N", "‖D(0)‖", "‖D‖ at the end", *ENDS],
        rows,
        pd.DataFrame([_count_row(run) for run in runs]),
    )  # fmt: skip


def _trajectory_row(run: GDRun) -> dict[str, Any]:
    seen, theory = plateau(run), run.theory
    return {
        **_identity(run), "rule": _rule(run), "dtype": run.dtype, "eta_max": run.eta_max,
        "bound": theory.get("bound"), "first_loss": run.measured("loss", 0),
        "last_epoch": int(run.records.index[-1]), "last_loss": run.measured("loss"),
        "plateau_predicted": predicted_plateau(run), "plateau_seen": seen.level,
        "plateau_end": seen.end, "least_product_norm": float(run.records["product_norm"].min()),
        "greatest_product_norm": float(run.records["product_norm"].max()),
        "largest_layer_norm_squared": run.largest_layer_norm**2,
        "weight_bound": theory.get("weight_bound"),
        "drift_residual": theory.get("drift_residual"),
        "drift_increment": theory.get("drift_increment"), "epochs_per_second": run.rate,
    }  # fmt: skip


def _scan_row(run: GDRun) -> dict[str, Any]:
    bracket, sharpness = run.theory["bracket"], run.records["sharpness"].dropna()
    bound = run.theory["bound"]
    return {
        **_identity(run), "bound": math.nan if bound is None else bound,
        **{name: _number(bracket[name]) for name in ("converges", "fails", "greatest", "diverges")},
        "two_over_start": 2 / float(sharpness.iloc[0]),
        "two_over_least": 2 / float(sharpness.max()),
        "two_over_last": 2 / float(sharpness.iloc[-1]),
        "eta": run.eta_max, "last_loss": run.measured("loss"),
    }  # fmt: skip


def _count_row(run: GDRun) -> dict[str, Any]:
    return {
        **_identity(run), "start": start_text(run.config), "imbalance_at_start": imbalance(run),
        "imbalance_at_end": imbalance(run, -1), "last_loss": run.measured("loss"),
        "end": end_of(run),
    }  # fmt: skip


def _identity(run: GDRun) -> dict[str, Any]:
    return {
        "id": run.id, "arm": run.arm, "activation": run.activation, "depth": run.depth,
        "seed": run.seed, "state": run.state,
    }  # fmt: skip


def _rule(run: GDRun) -> str:
    return f"decreasing, a = {run.exponent:g}" if run.exponent else "constant"


def _bound_multiple(runs: Sequence[GDRun]) -> str:
    multiples = [run.multiple for run in runs if math.isfinite(run.multiple)]
    return f"{statistics.median(multiples):.3g}" if multiples else "–"


def _states(runs: Sequence[GDRun]) -> str:
    states = [run.state for run in runs]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))


def _number(value: float | None) -> float:
    """The store writes null for what is not finite."""
    return math.nan if value is None else float(value)
