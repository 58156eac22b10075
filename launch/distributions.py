"""Distributions of random search, as quantile functions: the same for any sampler. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from statistics import NormalDist
from typing import Any

from launch.values import finite, is_int, shown, tidy
from lrscale.errors import UserError, did_you_mean

Quantile = Callable[[float], Any]
"""The inverse of a distribution function: (0, 1) → a value of the parameter."""


def quantile(spec: Any, at: str) -> Quantile:
    """The quantile function of ``{uniform: [lo, hi]}`` and its like; docs/sweeps.md lists them.

    Floats are rounded to 12 significant digits. Raises UserError.
    """
    kinds = (*_DISTRIBUTIONS, "choice")
    if not isinstance(spec, Mapping) or not spec:
        raise UserError(
            f"{at}: expected a distribution such as {{loguniform: [lo, hi]}} "
            f"({', '.join(kinds)}), got {shown(spec)}"
        )
    if "choice" in spec:
        return _choice(spec, at)
    kind, arguments = next(iter(spec.items()))
    if kind not in _DISTRIBUTIONS:
        raise UserError(f"{at}: unknown distribution '{kind}': {did_you_mean(kind, kinds)}")
    if len(spec) > 1:
        raise UserError(f"{at}: one distribution at a time, got {', '.join(spec)}")
    build, wanted = _DISTRIBUTIONS[kind]
    count = wanted.count(",") + 1
    if not isinstance(arguments, list) or len(arguments) != count:
        raise UserError(f"{at}: {kind}: expected {wanted}, got {shown(arguments)}")
    return build(*(finite(a, f"{at}: {kind}") for a in arguments), f"{at}: {kind}")


def _uniform(lo: float, hi: float, at: str) -> Quantile:
    _ordered(lo, hi, at)
    return lambda u: tidy(float(lo * (1 - u) + hi * u))


def _loguniform(lo: float, hi: float, at: str) -> Quantile:
    _ordered(lo, hi, at)
    if lo <= 0:
        raise UserError(f"{at}: lo must be greater than 0, got {lo}")
    a, b = math.log(lo), math.log(hi)
    return lambda u: tidy(math.exp(a + (b - a) * u))


def _normal(mean: float, sd: float, at: str) -> Quantile:
    if sd <= 0:
        raise UserError(f"{at}: sd must be greater than 0, got {sd}")
    inverse = NormalDist().inv_cdf
    return lambda u: tidy(float(mean + sd * inverse(u)))


def _lognormal(mu: float, sigma: float, at: str) -> Quantile:
    exponent = _normal(mu, sigma, at)
    if abs(mu) + 10 * sigma > 700:  # no draw lies further out than 8.3 sigma
        raise UserError(f"{at}: exp(mu ± 10 sigma) is out of a float's range")
    return lambda u: tidy(math.exp(exponent(u)))


def _int(lo: float, hi: float, at: str) -> Quantile:
    _ordered(lo, hi, at)
    if not (is_int(lo) and is_int(hi)):
        raise UserError(f"{at}: expected integers, got {lo} and {hi}")
    first, count = int(lo), int(hi) - int(lo) + 1
    return lambda u: first + min(int(u * count), count - 1)


def _quantized(lo: float, hi: float, step: float, at: str) -> Quantile:
    _ordered(lo, hi, at)
    if step <= 0 or step > hi - lo:
        raise UserError(f"{at}: step must be greater than 0 and at most hi - lo, got {step}")
    count = math.floor((hi - lo) / step * (1 + 1e-12)) + 1
    return lambda u: tidy(lo + step * min(int(u * count), count - 1))


def _choice(spec: Mapping[str, Any], at: str) -> Quantile:
    values, extra = spec["choice"], set(spec) - {"choice", "weights"}
    if extra:
        raise UserError(f"{at}: choice goes with weights only, got {', '.join(sorted(extra))}")
    if not isinstance(values, list) or not values:
        raise UserError(f"{at}: choice: expected a list of values, got {shown(values)}")
    weights = spec.get("weights", [1] * len(values))
    if not isinstance(weights, list) or len(weights) != len(values):
        raise UserError(f"{at}: weights: expected {len(values)} numbers, one for each choice")
    numbers = [float(finite(w, f"{at}: weights")) for w in weights]
    cumulative = list(accumulate(numbers))
    if min(numbers) < 0 or not 0 < cumulative[-1] < math.inf:
        raise UserError(f"{at}: weights: must be 0 or more, and not all 0")
    # `last` keeps rounding from choosing a value of weight 0 at the end
    last = max(i for i, w in enumerate(numbers) if w > 0)
    return lambda u: values[min(bisect_right(cumulative, u * cumulative[-1]), last)]


# kind: (how its quantile function is built, what it is given)
_DISTRIBUTIONS: dict[str, tuple[Callable[..., Quantile], str]] = {
    "uniform": (_uniform, "[lo, hi]"),
    "loguniform": (_loguniform, "[lo, hi]"),
    "normal": (_normal, "[mean, sd]"),
    "lognormal": (_lognormal, "[mu, sigma]"),
    "int": (_int, "[lo, hi]"),
    "quantized": (_quantized, "[lo, hi, step]"),
}


def _ordered(lo: float, hi: float, at: str) -> None:
    if not lo < hi:
        raise UserError(f"{at}: lo must be less than hi, got {lo} and {hi}")
