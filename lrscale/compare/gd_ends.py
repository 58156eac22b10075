"""Figures of how runs of gradient descent end: the edge of convergence, and the minima reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lrscale.compare.gd_runs import GDRun, grouped, setting
from lrscale.compare.gd_sheets import ENDS, end_of, imbalance, start_text
from lrscale.compare.provenance import seeds_text
from lrscale.compare.style import PALETTE, looks

END_COLORS = dict(zip(ENDS, ("#009E73", "#E69F00", "#56B4E9", "#D55E00", "#BBBBBB"), strict=True))
TRIALS: dict[str, dict[str, Any]] = {
    "converged": {"marker": "|", "color": "#009E73"},
    "oscillating": {"marker": "|", "color": "#E69F00"},
    "diverged": {"marker": "x", "color": "#D55E00", "markersize": 4},
}
POINT: dict[str, Any] = {
    "color": PALETTE[0], "marker": "o", "linestyle": "none", "markersize": 5,
}  # fmt: skip
PATH: dict[str, Any] = {"color": PALETTE[0], "linewidth": 1.2}


def edge_figure(runs: Sequence[GDRun]) -> Figure | None:
    """Every step that was tried and how it ended; left of a gap, the theorem's bound."""
    if not runs:
        return None
    panels = list(grouped(runs, lambda r: r.activation).items())
    heights = [1.0 + 0.24 * len(group) for _, group in panels]
    figure = Figure(figsize=(8.8, sum(heights) + 1.3), layout="constrained")
    figure.suptitle(f"Constant steps that converge; {_data(runs)}", x=0.01, ha="left", fontsize=11)
    grid = figure.subplots(
        len(panels), 2, sharex="col", sharey="row", squeeze=False, height_ratios=heights,
        width_ratios=[1, 2.6],
    )  # fmt: skip
    for (bounds, edges), (activation, group) in zip(grid, panels, strict=True):
        for row, run in enumerate(group):
            if run.theory["bound"]:
                bounds.plot(run.theory["bound"], row, marker="D", markersize=4.5, color="k")
            _trials(edges, run, row)
        labels = [f"N = {run.depth}, seed {run.seed}" for run in group]
        bounds.set_yticks(range(len(group)), labels, fontsize=8)
        bounds.set(xscale="log", title=activation, ylim=(len(group) - 0.4, -0.6))
        edges.set_xscale("log")
        for axes, digits in ((bounds, (1, 3)), (edges, (1, 2, 5))):
            axes.xaxis.set_major_locator(LogLocator(subs=digits))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in grid[-1]:
        axes.set_xlabel("step size η")
    figure.legend(handles=_edge_legend(), loc="outside lower center", ncols=3)
    return figure


def _trials(axes: Axes, run: GDRun, row: int) -> None:
    """The scan's steps, the bracket, and 2/sharpness along the path just below the edge."""
    bracket, sharpness = run.theory["bracket"], run.records["sharpness"].dropna().astype(float)
    for eta, end in bracket["trials"]:
        axes.plot(eta, row, linestyle="none", **TRIALS[end])
    axes.plot([2 / sharpness.max(), 2 / sharpness.min()], [row + 0.3] * 2, **PATH)
    for value, face in ((sharpness.iloc[0], "white"), (sharpness.iloc[-1], PALETTE[0])):
        axes.plot(2 / value, row + 0.3, markerfacecolor=face, **POINT)


def _edge_legend() -> list[Line2D]:
    handles = [
        Line2D([], [], linestyle="none", label=f"tried: {end}", **look)
        for end, look in TRIALS.items()
    ]
    return [
        *handles,
        Line2D([], [], color="k", marker="D", linestyle="none", label="theorem's bound"),
        Line2D([], [], markerfacecolor="white", label="2/sharpness at the start", **POINT),
        Line2D([], [], label="at the end of a run at 0.95 of the edge", **POINT),
        Line2D([], [], label="its range along that run", **PATH),
    ]


def path_figure(runs: Sequence[GDRun]) -> Figure | None:
    """η · sharpness / 2 along the runs just below the edge: 1 is the edge of stability."""
    if not runs:
        return None
    panels = list(grouped(runs, lambda r: r.activation).items())
    figure = Figure(figsize=(3.6 * len(panels) + 0.8, 4.2), layout="constrained")
    text = f"Sharpness along runs just below the edge; {_data(runs)}"
    figure.suptitle(text, x=0.01, ha="left", fontsize=11)
    depths = sorted({run.depth for run in runs})
    colors = dict(zip(depths, looks(len(depths), False), strict=True))
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (activation, group) in zip(all_axes, panels, strict=True):
        for run in group:
            sharpness = run.records["sharpness"].dropna().astype(float)
            ratio = run.eta_max * sharpness / 2
            axes.plot(ratio.index, ratio, color=colors[run.depth]["color"], linewidth=1.2)
        axes.axhline(1, color="#444444", linewidth=1, linestyle=":")
        axes.set_xscale("symlog", linthresh=1)
        axes.set(title=activation, xlabel="epoch k", xlim=(-0.2, None))
    all_axes[0].set_ylabel("η · sharpness / 2")
    handles = [Line2D([], [], color=colors[n]["color"], label=f"N = {n}") for n in depths]
    handles.append(
        Line2D([], [], color="#444444", linestyle=":", label="2/η, the edge of stability")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def counts_figure(runs: Sequence[GDRun]) -> Figure | None:
    """For each kind of start and depth, how many of the starts came to what."""
    runs = [run for run in runs if run.activation == "linear"]
    if not runs:
        return None
    depths = sorted({run.depth for run in runs})
    kinds = list(grouped(runs, lambda r: start_text(r.config)))
    figure = Figure(
        figsize=(3.2 * len(depths) + 1.6, 0.42 * len(kinds) + 2.2), layout="constrained"
    )
    figure.suptitle(f"Where the starts ended; {_data(runs)}", x=0.01, ha="left", fontsize=11)
    all_axes = figure.subplots(1, len(depths), sharey=True, squeeze=False)[0]
    for axes, depth in zip(all_axes, depths, strict=True):
        shown = [run for run in runs if run.depth == depth]
        for group in grouped(shown, lambda r: setting(r, "seed")).values():
            row, left = kinds.index(start_text(group[0].config)), 0
            ends = [end_of(run) for run in group]
            for end in ENDS:
                axes.barh(row, ends.count(end), left=left, color=END_COLORS[end], height=0.72)
                left += ends.count(end)
            middle = sorted(map(imbalance, group))[len(group) // 2]
            text = f"{ends.count(ENDS[0])}   ‖D‖ {middle:.1g}"
            axes.text(1.5, row, text, va="center", fontsize=8, color="white")
        axes.set(title=f"N = {depth}", xlabel="starts", ylim=(len(kinds) - 0.5, -0.5))
        axes.set_xlim(0, len({run.seed for run in runs}))
        axes.grid(False)
    all_axes[0].set_yticks(range(len(kinds)), kinds)
    found = {end_of(run) for run in runs}
    handles = [Patch(color=END_COLORS[end], label=end) for end in ENDS if end in found]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _data(runs: Sequence[GDRun]) -> str:
    config, seeds = runs[0].config, sorted({run.seed for run in runs})
    return f"d = {config['dim']}, r = {config['rank']}, seeds {seeds_text(seeds)}"
