"""Figures of gradient descent over epochs, in the manner of the published ones.

Those show one curve a depth on log-log axes; here the theorem's bound, the predicted saddle
levels and the range over seeds come with them. Files of the same settings have the same names.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lrscale.compare.gd_ends import counts_figure, edge_figure, path_figure
from lrscale.compare.gd_runs import GDRun, counted, grouped, scanned, setting, traced
from lrscale.compare.gd_sheets import predicted_plateau
from lrscale.compare.provenance import seeds_text
from lrscale.compare.style import looks, save

GREY = "#777777"
SMALLEST = 1e-30  # a loss below that is drawn there


def draw_gd(runs: Sequence[GDRun], folder: Path) -> dict[str, list[Path]]:
    """Draw what the runs have data for: title to files (PNG, then SVG) in ``folder``."""
    made: dict[str, list[Path]] = {}

    def keep(title: str, figure: Figure | None, name: str) -> None:
        if figure is not None:
            made[title] = save(figure, folder, name)

    drawn = [run for run in traced(runs) if run.rule != "edge"]
    families = grouped(drawn, lambda r: (r.arm, setting(r, "depth", "dtype", "seed")))
    taken: set[str] = set()
    for family in families.values():
        name = _unused(settings_name(family), taken)
        what = describe(family)
        keep(f"Loss, {what}", loss_figure(family), f"Loss_evolution_{name}")
        keep(
            f"Norm of the product, {what}",
            norm_figure(family),
            f"Parameterized_matrix_norms_comparison_{name}",
        )
    if len({run.exponent for run in drawn}) > 1:
        keep("Loss against the sum of the steps", sum_figure(drawn), "Loss_against_sum_of_steps")
    keep("The edge of convergence", edge_figure(scanned(runs)), "edge")
    keep("Sharpness just below the edge", path_figure(scanned(runs)), "edge_sharpness")
    keep("Where the starts ended", counts_figure(counted(runs)), "balance")
    return made


def settings_name(runs: Sequence[GDRun]) -> str:
    """``linear_constantetak_linear_d70_r35_stepsize0_00003_epochs1000000``, as published.

    The step size is that of the deepest network, rounded to its first digit.
    """
    config, act = runs[0].config, runs[0].activation
    exponent = f"{runs[0].exponent:g}".replace(".", "_")
    rule = f"decreasing{exponent}etak" if runs[0].exponent else "constantetak"
    deepest = max(run.depth for run in runs)
    eta = statistics.median(run.eta_max for run in runs if run.depth == deepest)
    step = f"{eta:.{max(5, -math.floor(math.log10(eta)))}f}".replace(".", "_")
    data = f"d{config['dim']}_r{config['rank']}"
    return f"{act}_{rule}_{act}_{data}_stepsize{step}_epochs{config['epochs']}"


def describe(runs: Sequence[GDRun]) -> str:
    """``linear, η_k = 50 × the bound · (k + 1)^−0.5``."""
    run = runs[0]
    if run.rule not in ("bound", "decreasing") or math.isnan(run.multiple):
        step = f"{run.eta_max:.3g}"
    else:  # each depth has its own bound; the multiple of it is what they share
        step = "the bound" if run.multiple == 1 else f"{run.multiple:.3g} × the bound"
    decay = f" · (k + 1)^−{run.exponent:g}" if run.exponent else ""
    return f"{run.activation}, η_k = {step}{decay}"


def loss_figure(runs: Sequence[GDRun]) -> Figure:
    """Loss against epoch, a curve a depth and precision, over the predicted saddle levels.

    Where it falls far below the saddles there is a second panel, of the descent past them.
    """
    losses = pd.concat([run.records["loss"].astype(float) for run in runs])
    top, least = 1.6 * float(losses.max()), max(SMALLEST, float(losses.min()) / 3)
    saddles = [level for level in map(predicted_plateau, runs) if level > 0]
    zoom = bool(saddles) and least < 1e-3 * min(saddles)
    figure, panels = _canvas(runs, "Loss", 2 if zoom else 1)
    for axes in panels:
        handles = _depth_curves(axes, runs, "loss") + _levels(axes, runs)
        axes.set(yscale="log", ylabel="loss")
    panels[-1].set_ylim(least, top)
    if zoom:
        panels[0].set_ylim(min(saddles) / 4, top)
    _below(figure, handles)
    return figure


def norm_figure(runs: Sequence[GDRun]) -> Figure:
    """Spectral norm of W_N⋯W_1 against epoch, and above it the theorem's bound on that norm."""
    bounds = _norm_bounds(runs)
    what = "Spectral norm of the product"
    figure, panels = _canvas(runs, what, 2 if bounds else 1, [1, 3.6] if bounds else [1])
    handles = _depth_curves(panels[-1], runs, "product_norm")
    panels[-1].set_ylabel("$\\|W_N\\cdots W_1\\|$")
    depths = sorted({run.depth for run in runs})
    for depth, handle in zip(depths, handles, strict=False):
        if depth in bounds:
            panels[0].axhline(bounds[depth], color=handle.get_color())
            handle.set_label(f"{handle.get_label()}, ≤ {bounds[depth]:.3g}")
    if bounds:
        least, most = min(bounds.values()), max(bounds.values())
        panels[0].set(ylim=(least - 0.15 * most, most * 1.15), ylabel="$K_\\delta^{N/2}$")
        panels[0].set_title("what the theorem allows" + _for_linear(runs), fontsize=9)
    _below(figure, handles)
    return figure


def sum_figure(runs: Sequence[GDRun]) -> Figure:
    """Loss against Σ η_k, the time of gradient flow: equal there, whatever the rule."""
    depths = sorted({run.depth for run in runs})
    figure = Figure(figsize=(4.1 * len(depths) + 0.6, 4.6), layout="constrained")
    text = "Loss against the sum of the steps; medians over "
    figure.suptitle(f"{text}{_seeds(runs)}", x=0.01, ha="left", fontsize=11)
    panels = figure.subplots(1, len(depths), sharey=True, squeeze=False)[0]
    rules = sorted({run.exponent for run in runs})
    colors = dict(zip(rules, looks(len(rules), False), strict=True))
    sizes = sorted({run.multiple for run in runs})
    dashes: dict[float, Any] = dict(zip(sizes, ("-", (0, (4, 1.5)), (0, (1, 1))), strict=False))
    for axes, depth in zip(panels, depths, strict=True):
        shown = [run for run in runs if run.depth == depth]
        for (exponent, size), group in grouped(shown, lambda r: (r.exponent, r.multiple)).items():
            losses = _over_seeds(group, "loss")
            times = statistics.fmean(run.eta_max for run in group) * _sums(losses.index, exponent)
            axes.plot(
                times[1:], losses["median"].iloc[1:], color=colors[exponent]["color"],
                linestyle=dashes.get(size, "-"), linewidth=1.5,
            )  # fmt: skip
        axes.set(
            xscale="log", yscale="log", xlabel="$\\sum_{j<k}\\, \\eta_j$", title=f"N = {depth}"
        )
    panels[0].set_ylabel("loss")
    handles = [
        Line2D([], [], color=colors[a]["color"], label=f"a = {a:g}" if a else "constant step")
        for a in rules
    ]
    handles += [
        Line2D([], [], color="k", linestyle=dashes.get(m, "-"), label=f"$\\eta_0$ = {m:g} × bound")
        for m in sizes if math.isfinite(m)
    ]  # fmt: skip
    _below(figure, handles)
    return figure


def _canvas(
    runs: Sequence[GDRun], what: str, rows: int, heights: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(7.2, 6.2), layout="constrained")
    figure.suptitle(_heading(runs, what), x=0.01, ha="left", fontsize=11)
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    panels[-1].set(xscale="log", xlabel="epoch k")
    return figure, list(panels)


def _heading(runs: Sequence[GDRun], what: str) -> str:
    config = runs[0].config
    data = f"d = {config['dim']}, r = {config['rank']}, start {config['start']['name']}"
    unfinished = [run for run in runs if not run.ended]
    still = f"; {len(unfinished)} of {len(runs)} runs still under way" if unfinished else ""
    over = "median and range over " if len({run.seed for run in runs}) > 1 else ""
    step = describe(runs).replace("η_k", "$\\eta_k$")
    return f"{what}: {step}\n{data}; {over}{_seeds(runs)}{still}"


def _depth_curves(axes: Axes, runs: Sequence[GDRun], measure: str) -> list[Line2D]:
    """A colour a depth, dashes for float32; the median within the range over seeds."""
    depths = sorted({run.depth for run in runs})
    handles = []
    for depth, look in zip(depths, looks(len(depths), False), strict=True):
        shown = [run for run in runs if run.depth == depth]
        for dtype, group in grouped(shown, lambda r: r.dtype).items():
            values = _over_seeds(group, measure).iloc[1:]  # epoch 0 has no place on a log axis
            dashes: Any = (0, (3, 1.5)) if dtype == "float32" else "-"
            axes.plot(values.index, values["median"], color=look["color"], linestyle=dashes)
            axes.fill_between(
                values.index, values["low"], values["high"], color=look["color"], alpha=0.18,
                linewidth=0,
            )  # fmt: skip
        eta = statistics.median(run.eta_max for run in shown)
        text = f"N = {depth}, η = {eta:.2g}"
        handles.append(Line2D([], [], color=look["color"], label=text))
    if {run.dtype for run in runs} == {"float64", "float32"}:
        handles += [
            Line2D([], [], color="k", label="float64"),
            Line2D([], [], color="k", linestyle=(0, (3, 1.5)), label="float32"),
        ]
    return handles


def _levels(axes: Axes, runs: Sequence[GDRun]) -> list[Line2D]:
    """Every predicted saddle level as a hairline, the last before the minimum by name."""
    known = [run for run in runs if run.theory.get("saddle_levels")]
    if not known:
        return []
    for level in known[0].theory["saddle_levels"]:
        axes.axhline(max(level, SMALLEST), color=GREY, linewidth=0.35, alpha=0.6, zorder=0.5)
    last = [predicted_plateau(run) for run in known]
    if not math.isfinite(last[0]):
        return []
    axes.axhspan(min(last), max(last), color=GREY, alpha=0.25, linewidth=0, zorder=0.6)
    axes.axhline(statistics.median(last), color=GREY, linewidth=1, linestyle=":", zorder=0.6)
    text = f"the last, $\\sigma_r^2/2$ = {statistics.median(last):.3g}"
    return [
        Line2D([], [], color=GREY, linewidth=0.5, label="predicted saddle levels"),
        Line2D([], [], color=GREY, linewidth=1, linestyle=":", label=text),
    ]


def _norm_bounds(runs: Sequence[GDRun]) -> dict[int, float]:
    """K_δ^{N/2} of each depth, where the steps are within the theorem's bound."""
    bounds: dict[int, list[float]] = {}
    for run in runs:
        bound, weights = run.theory.get("bound"), run.theory.get("weight_bound")
        if bound and weights and run.eta_max <= bound * (1 + 1e-9):
            bounds.setdefault(run.depth, []).append(weights ** (run.depth / 2))
    return {depth: statistics.median(values) for depth, values in sorted(bounds.items())}


def _over_seeds(runs: Sequence[GDRun], measure: str) -> pd.DataFrame:
    """Columns ``median, low, high`` over the seeds, at the epochs that all of them recorded."""
    values = pd.concat([run.records[measure].astype(float) for run in runs], axis=1, join="inner")
    made: pd.DataFrame = pd.DataFrame(
        {"median": values.median(axis=1), "low": values.min(axis=1), "high": values.max(axis=1)}
    )
    return made


def _sums(epochs: pd.Index[Any], exponent: float) -> Any:
    """Σ_{j<k} (j + 1)^{−a} at each of the epochs."""
    steps = np.arange(1, int(epochs.max()) + 1, dtype=float) ** -exponent
    return np.concatenate([[0.0], np.cumsum(steps)])[epochs.to_numpy(dtype=int)]


def _for_linear(runs: Sequence[GDRun]) -> str:
    return "" if runs[0].activation == "linear" else " a linear network"


def _seeds(runs: Sequence[GDRun]) -> str:
    seeds = sorted({run.seed for run in runs})
    return f"seed{'s' if len(seeds) > 1 else ''} {seeds_text(seeds)}"


def _below(figure: Figure, handles: Sequence[Line2D]) -> None:
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, int(figure.get_figwidth() / (0.075 * longest + 0.55)))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)))


def _unused(name: str, taken: set[str]) -> str:
    """``name``, numbered where another family of the sweep already has it."""
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate
