"""A report for other programs: JSON, all tables in full precision."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lrscale.compare.comparison import Comparison
from lrscale.compare.sheet import Sheet


def as_json(comparison: Comparison, sheets: Sequence[Sheet]) -> dict[str, Any]:
    """All tables; a number that does not exist is null."""
    return {
        "sweep": comparison.sweep,
        "notes": comparison.notes,
        "metric": vars(comparison.metric),
        "provenance": vars(comparison.provenance),
        "warnings": comparison.warnings,
        "references": [asdict(reference) for reference in comparison.references],
        "tables": {
            sheet.name: {
                "title": sheet.title,
                "caption": sheet.note or comparison.caption,
                "rows": [_plain(row) for row in sheet.frame.to_dict("records")],
            }
            for sheet in sheets
        },
    }


def to_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """NumPy scalars as Python's, NaN and infinities as None."""
    values = {str(k): v.item() if hasattr(v, "item") else v for k, v in row.items()}
    return {k: None if _hole(v) else v for k, v in values.items()}


def _hole(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
