"""Single values of a sweep file: checked, rounded, shown."""

from __future__ import annotations

from typing import Any

from lrscale.errors import UserError

Number = int | float


def tidy(value: Number) -> Number:
    """A float rounded to 12 significant digits; anything else as it is."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


def finite(value: Any, at: str) -> float:
    """A finite number that a float can hold. Raises UserError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
        return value
    raise UserError(f"{at}: expected a finite number, got {shown(value)}")


def is_int(value: Any) -> bool:
    """An integer and not a boolean."""
    return isinstance(value, int) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value for an error's text: 60 characters at most."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
