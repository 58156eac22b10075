"""How figures look: readable in print, in grey and with any colour vision."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure

from lrscale.files import write_bytes

# Okabe and Ito (2008), without its yellow, which is too faint for a line on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
FORMATS = ("png", "svg")

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
    paths = [folder / f"{name}.{suffix}" for suffix in FORMATS]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what was laid out once need not be for every format
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else None
        drawn = io.BytesIO()
        figure.savefig(drawn, format=path.suffix[1:], dpi=150, facecolor="white", metadata=metadata)
        write_bytes(path, drawn.getvalue())
    return paths
