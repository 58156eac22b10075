"""The functions of derived values: numbers in, one finite number out. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from launch.values import Number, shown, tidy


def compute(name: str, values: Sequence[Any]) -> Number:
    """A function's value; integers stay integers where the function allows it.

    Raises:
        ValueError: the wrong number of values, one that is no number, or no finite result.
    """
    function, least, most = FUNCTIONS[name]
    if not least <= len(values) <= (most or len(values)):
        wanted = f"{least} or more" if most is None else str(least)
        raise ValueError(f"'{name}' takes {wanted} values, not {len(values)}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"'{name}' needs numbers, not {shown(value)}")
    try:
        result = function(*values)
        finite = math.isfinite(result)
    except (ArithmeticError, ValueError):
        finite = False
    if not finite:
        raise ValueError(f"{name}({', '.join(map(shown, values))}) is not a finite number")
    return result


def _power(base: Number, exponent: Number) -> Number:
    result = math.pow(base, exponent)  # in floats: integers could grow without bound
    whole = isinstance(base, int) and isinstance(exponent, int) and exponent >= 0
    return round(result) if whole and abs(result) < 2**53 else result


# name: (function, least number of values, greatest; None for any)
FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int | None]] = {
    "add": (lambda *values: sum(values), 2, None),
    "sub": (lambda a, b: a - b, 2, 2),
    "mul": (lambda *values: math.prod(values), 2, None),
    "div": (lambda a, b: a / b, 2, 2),
    "pow": (_power, 2, 2),
    "sqrt": (math.sqrt, 1, 1),
    "exp": (math.exp, 1, 1),
    "log": (math.log, 1, 1),
    "min": (min, 2, None),
    "max": (max, 2, None),
    "round": (lambda a: round(a), 1, 1),
    "int": (lambda a: int(tidy(a)), 1, 1),
}
