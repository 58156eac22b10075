"""Which runs of a sweep, and what of them: pandas expressions of a study file. Pure."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from lrscale.compare.comparison import Comparison, compare
from lrscale.errors import UserError


def evaluate(frame: pd.DataFrame, expression: str) -> pd.Series:
    """An expression of a frame's columns, a value for each row."""
    try:
        made = frame.eval(expression, engine="python")
    except (AttributeError, KeyError, NameError, SyntaxError, TypeError, ValueError) as error:
        raise UserError(f"'{expression}': {_reason(error)}") from None
    result: pd.Series = pd.Series(made, index=frame.index)
    return result


def matching(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The rows of which a query is true; all for an empty one."""
    return frame[evaluate(frame, where).fillna(False).astype(bool)] if where else frame


def narrowed(c: Comparison, where: str) -> Comparison:
    """A sweep compared by the arms of which a query is true, at their frozen points; itself for an
    empty one."""
    if not where:
        return c
    manifest = {"name": c.sweep, "notes": c.notes}
    final = c.final and replace(c.final, runs=matching(c.final.runs, where))
    runs = matching(c.runs, where)
    return compare(runs, manifest, None, ("arm",), c.references, (), c.protocol, final)


def _reason(error: Exception) -> str:
    return str(error.args[0] if error.args else error).partition("\n")[0]
