"""A table that is ready to be shown, by whatever output."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd


@dataclass(frozen=True)
class Sheet:
    """A table that is ready to be shown.

    Attributes:
        name: stem of its CSV file, and its key in JSON.
        title, note: above and below it; the note says how each number was made.
        headers, rows: as text.
        frame: the same in full precision, under column names without spaces; NaN, None or an
            infinity where a number does not exist. It may have a row for each run instead.
    """

    name: str
    title: str
    note: str
    headers: list[str]
    rows: list[list[str]]
    frame: pd.DataFrame

    def within(self, scope: str) -> Sheet:
        """Named and titled as one of several of its kind: that of a workload, say."""
        return replace(self, name=f"{self.name}_{scope}", title=f"{self.title}, {scope}")
