"""What varies in a sweep: lists and ranges of a grid, random draws, Sobol points. Pure.

A draw is a function of the sweep's own seed, the parameter's name and the trial's number and of
nothing else: parameters are independent of each other, a new parameter leaves the others as they
were, and more trials keep the earlier ones.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from launch.distributions import quantile
from launch.values import finite, is_int, shown, tidy
from lrscale.errors import UserError, did_you_mean

MAX_RUNS = 100_000
"""More runs than this in one sweep are taken for a slip."""

# Grids ---------------------------------------------------------------------------------------


def grid_values(spec: Any, at: str) -> list[Any]:
    """The values of one grid or zip key, in order.

    Args:
        spec: a list of values; ``{logspace: [lo, hi, n]}`` or ``{linspace: [lo, hi, n]}``: n
            values between and including both ends, which are exact, those between rounded to 12
            significant digits; ``{range: [start, stop, step]}``: Python's range (integers, the
            stop not included, also ``stop`` alone and ``[start, stop]``).
        at: file and key, named in errors.

    Raises:
        UserError: no values, or not of one of these forms.
    """
    if isinstance(spec, list):
        values = spec
    elif isinstance(spec, Mapping) and len(spec) == 1:
        kind, arguments = next(iter(spec.items()))
        if kind not in _RANGES:
            raise UserError(f"{at}: unknown kind of range '{kind}': {did_you_mean(kind, _RANGES)}")
        values = _RANGES[kind](arguments, f"{at}: {kind}")
    else:
        raise UserError(
            f"{at}: expected a list of values or {{logspace: [lo, hi, n]}}, linspace, range; "
            f"got {shown(spec)}"
        )
    if not values:
        raise UserError(f"{at}: no values to vary over")
    return values


def _logspace(arguments: Any, at: str) -> list[Any]:
    lo, hi, n = _ends_and_count(arguments, at)
    if lo <= 0 or hi <= 0:
        raise UserError(f"{at}: both ends must be greater than 0, got {lo} and {hi}")
    a, b = math.log10(lo), math.log10(hi)
    return _between(lo, hi, n, lambda t: 10 ** (a + (b - a) * t))


def _linspace(arguments: Any, at: str) -> list[Any]:
    lo, hi, n = _ends_and_count(arguments, at)
    return _between(lo, hi, n, lambda t: lo * (1 - t) + hi * t)


def _between(lo: float, hi: float, n: int, value: Callable[[float], float]) -> list[Any]:
    if n == 1:
        return [lo]
    return [lo, *(tidy(float(value(i / (n - 1)))) for i in range(1, n - 1)), hi]


def _ends_and_count(arguments: Any, at: str) -> tuple[float, float, int]:
    if not isinstance(arguments, list) or len(arguments) != 3:
        raise UserError(f"{at}: expected [lo, hi, n], got {shown(arguments)}")
    lo, hi = (finite(a, at) for a in arguments[:2])
    n = arguments[2]
    if not is_int(n) or not 1 <= n <= MAX_RUNS:
        raise UserError(f"{at}: the number of values must be 1 to {MAX_RUNS:,}, got {shown(n)}")
    return lo, hi, n


def _range(arguments: Any, at: str) -> list[Any]:
    bounds = arguments if isinstance(arguments, list) else [arguments]
    if not 1 <= len(bounds) <= 3 or not all(map(is_int, bounds)):
        raise UserError(
            f"{at}: expected integers: stop, [start, stop] or [start, stop, step] "
            f"(linspace takes other numbers), got {shown(arguments)}"
        )
    if len(bounds) == 3 and bounds[2] == 0:
        raise UserError(f"{at}: the step must not be 0")
    values = range(*bounds)
    if len(values[: MAX_RUNS + 1]) > MAX_RUNS:
        raise UserError(f"{at}: more than {MAX_RUNS:,} values")
    return list(values)


_RANGES: dict[str, Callable[[Any, str], list[Any]]] = {
    "logspace": _logspace,
    "linspace": _linspace,
    "range": _range,
}


# Random draws --------------------------------------------------------------------------------


def draw_trials(section: Mapping[str, Any], at: str) -> list[dict[str, Any]]:
    """The points of a ``random`` section, one mapping of dotted key to value per trial.

    Args:
        section: ``trials``; ``space``, dotted key → distribution; ``sampler``, ``random``
            (default: independent draws) or ``sobol`` (one joint scrambled Sobol design, its
            dimensions in order of name); ``seed`` (default 0).
        at: file and section, named in errors.

    Raises:
        UserError: a missing or malformed entry.
    """
    trials: Any = section.get("trials")
    seed: Any = section.get("seed", 0)
    if not is_int(trials) or not 1 <= trials <= MAX_RUNS:
        raise UserError(f"{at}.trials: expected 1 to {MAX_RUNS:,}, got {shown(trials)}")
    if not is_int(seed) or not 0 <= seed < 2**63:
        raise UserError(f"{at}.seed: expected an integer of 0 or more, got {shown(seed)}")
    sampler = section.get("sampler", "random")
    if sampler not in ("random", "sobol"):
        raise UserError(f"{at}.sampler: expected random or sobol, got {shown(sampler)}")
    space = section.get("space")
    if not space:
        raise UserError(f"{at}.space: missing: write {{key: {{loguniform: [lo, hi]}}}}")
    quantiles = {key: quantile(spec, f"{at}.space.{key}") for key, spec in space.items()}
    if sampler == "sobol":
        columns = _sobol(sorted(quantiles), trials, seed, at)
    else:
        columns = {key: [uniform(seed, key, t) for t in range(trials)] for key in quantiles}
    return [{key: q(columns[key][t]) for key, q in quantiles.items()} for t in range(trials)]


def uniform(seed: int, name: str, trial: int) -> float:
    """A number in (0, 1): 52 bits of the SHA-256 of its three coordinates."""
    digest = hashlib.sha256(f"{seed}\0{name}\0{trial}".encode()).digest()
    return ((int.from_bytes(digest[:8], "big") >> 12) + 0.5) * 2.0**-52


def _sobol(names: list[str], trials: int, seed: int, at: str) -> dict[str, list[float]]:
    import numpy as np  # here: SciPy's statistics take half a second to import
    from scipy.stats import qmc

    if len(names) > qmc.Sobol.MAXDIM:
        raise UserError(f"{at}.space: sobol has at most {qmc.Sobol.MAXDIM} dimensions")
    with warnings.catch_warnings():  # SciPy asks for powers of two, for their balance
        warnings.simplefilter("ignore", UserWarning)
        engine = qmc.Sobol(len(names), scramble=True, rng=np.random.default_rng(seed))
        points = engine.random(trials)
    inside = np.clip(points, 2.0**-54, 1 - 2.0**-53)
    return {name: inside[:, i].tolist() for i, name in enumerate(names)}
