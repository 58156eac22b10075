"""How figures look: readable in print, in grey and with any colour vision."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
)
from numpy.typing import NDArray

from lrscale.compare.load import is_share
from lrscale.files import write_bytes

# Okabe and Ito (2008), without its yellow, which is too faint for a line on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
# Ticks of accuracies by the log of the error: close ones, and for more than 1.7 decades.
CLOSE = (0, 20, 40, 60, 70, 80, 85, 90, 92, 94, 96, 97, 98, 98.5, 99, 99.3, 99.6, 99.8, 99.9)
WIDE = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9)
SHORT = 4  # times the least value: no axis for powers of ten
Numbers = NDArray[np.float64]

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 3,  # for the dashes to be seen beside a marker
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "svg.hashsalt": "lrscale",  # the same figure is the same file
}


def looks(count: int, ordered: bool) -> list[dict[str, Any]]:
    """Line properties for ``count`` lines: distinct colours, or a scale for an ordered key."""
    if ordered and count > 1:
        scale = colormaps["viridis"]
        return [{"color": scale(0.9 * i / (count - 1)), "linestyle": "-"} for i in range(count)]
    size = len(PALETTE)
    return [
        {"color": PALETTE[i % size], "linestyle": DASHES[i // size % len(DASHES)]}
        for i in range(count)
    ]


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``name.png`` and ``name.svg``; the paths."""
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        figure.set_layout_engine("none")  # what was laid out once need not be for every format
    figure.set(dpi=150, facecolor="white")
    # By the canvases' own methods: savefig draws all of it a second time for each format.
    printers: dict[str, Callable[[io.BytesIO], None]] = {
        "png": FigureCanvasAgg(figure).print_png,
        "svg": partial(FigureCanvasSVG(figure).print_svg, metadata={"Date": None}),
    }
    paths = [folder / f"{name}.{suffix}" for suffix in printers]
    for path, printed in zip(paths, printers.values(), strict=True):
        drawn = io.BytesIO()
        printed(drawn)
        write_bytes(path, drawn.getvalue())
    return paths


def literal(figure: Figure) -> None:
    """Names are no formulas, whatever dollars they hold; powers of ten on axes stay such."""
    powers = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        if isinstance(axis.get_major_formatter(), LogFormatter)
        for label in axis.get_ticklabels(which="both")
    }
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in powers:
            text.set_parse_math(False)


def title(figure: Figure, *lines: str) -> None:
    """What is shown, of which data, over which seeds."""
    letters = int(12 * figure.get_size_inches()[0])  # that a line of this size has room for
    figure.suptitle(
        "\n".join(textwrap.fill(line, letters) for line in lines), x=0.01, ha="left", fontsize=11
    )


def legend(figure: Figure, more: Sequence[Line2D] = ()) -> None:
    """Below the panels, in as many columns as the labels leave room for."""
    own = {h.get_label(): h for axes in figure.axes for h in axes.get_legend_handles_labels()[0]}
    handles = [*own.values(), *more]
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = max(1, int(figure.get_figwidth() / (0.075 * longest + 0.6)))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns))


def scale(axes: Axes, measure: str) -> None:
    """Losses on a log scale; accuracies, where they differ much, by the log of the error."""
    low, high = axes.get_ylim()
    if is_share(measure) and 100 - low > 4 * (100 - high):
        axes.set_yscale("function", functions=(nines, accuracy_of_nines))
        axes.autoscale(axis="y")
        low, high = nines(np.array(axes.get_ylim()))
        axes.yaxis.set_major_locator(FixedLocator(WIDE if high - low > 1.7 else CLOSE))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if not measure.endswith("loss") or not np.isfinite(axes.dataLim.minposy):  # or nothing is drawn
        return
    axes.set_yscale("log")
    plain_if_short(axes.yaxis)


def plain_if_short(axis: Axis) -> None:
    """Plain numbers on a log axis that spans less than two decades, as close as on a linear one
    where there are few powers of ten."""
    low, high = axis.get_view_interval()
    if high < 100 * low:
        close = high < SHORT * low
        axis.set_major_locator(MaxNLocator(5) if close else LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())


def nines(accuracy: Numbers) -> Numbers:
    """0 at 0 %, 1 at 90 %, 2 at 99 %; anything above 99.95 % counts as that."""
    return 2 - np.log10(np.maximum(100 - accuracy, 0.05))


def accuracy_of_nines(nines: Numbers) -> Numbers:
    return 100 - 10 ** (2 - nines)


TRANSFORMS: dict[str, Callable[[Numbers], Numbers]] = {
    "linear": lambda values: values,
    "log": np.log10,
    "nines": nines,
}
"""What each kind of scale makes of values, to be shown evenly."""


def ticks_between(kind: str, low: float, high: float) -> list[float]:
    """A few round values of a scale of ``TRANSFORMS``; the ends are as it transforms them."""
    if kind == "nines":
        candidates = [float(v) for v in (WIDE if high - low > 1.7 else CLOSE)]
    elif kind == "log" and high - low > np.log10(SHORT):
        subs = (1.0,) if high - low > 2 else (1.0, 2.0, 5.0)
        candidates = [float(v) for v in LogLocator(subs=subs).tick_values(10**low, 10**high)]
    else:
        ends = (10**low, 10**high) if kind == "log" else (low, high)
        candidates = [float(v) for v in MaxNLocator(5).tick_values(*ends) if v > 0 or kind != "log"]
    places = TRANSFORMS[kind](np.array(candidates))
    room = 1e-9 * (high - low)
    return [v for v, at in zip(candidates, places, strict=True) if low - room <= at <= high + room]
