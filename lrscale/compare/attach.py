"""The sheets of a comparison that need more than its runs' last metrics. Reads the store."""

from __future__ import annotations

from dataclasses import replace

from lrscale.compare.comparison import Comparison
from lrscale.compare.gd_runs import is_gd, load_gd
from lrscale.compare.gd_sheets import sheets as gd_sheets
from lrscale.store import Store


def attach_sheets(store: Store, comparison: Comparison) -> Comparison:
    """The comparison with every sheet that its runs have something for, in reading order."""
    found = gd_sheets(load_gd(store, comparison)) if is_gd(comparison.runs) else []
    return replace(comparison, sheets=found)
