"""A table for other programs, in full precision: CSV."""

from __future__ import annotations

import pandas as pd

from lrscale.compare.comparison import Comparison
from lrscale.compare.sheet import Sheet


def csv(sheet: Sheet, comparison: Comparison) -> str:
    """Every statistic of every metric; beneath the comparison's own tables the references'
    metrics, as means."""
    lines = [
        {str(sheet.frame.columns[0]): reference.name, "data": reference.data}
        | {f"{name}.mean": value for name, value in reference.metrics.items()}
        for reference in comparison.references
        if not sheet.note
    ]
    text: str = pd.concat([sheet.frame, pd.DataFrame(lines)]).to_csv(index=False)
    return text
