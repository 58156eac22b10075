"""The lines of the page's figures as JSON values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from lrscale.compare import views

Chart = dict[str, Any]
Series = dict[str, Any]
FEW = 30  # points that can be told apart


def series_of(label: str, x: Sequence[pd.Series[Any]], y: pd.Series[float], **more: Any) -> Series:
    """A line through ``y`` over each of the axes ``x``; ``more`` are fields of charts.js."""
    drawn = {"join": True, "dots": len(y) <= FEW, **more}
    return {"label": label, "x": [numbers_of(place) for place in x], "y": numbers_of(y), **drawn}


def scale_of(measure: str, series: Sequence[Series]) -> views.Scale:
    return views.scale_of(measure, [v for one in series for v in one["y"] if v is not None])


def numbers_of(values: pd.Series[Any]) -> list[float | None]:
    """Six digits, as much as a screen shows; None for what is not finite."""
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in values.astype(float)]
