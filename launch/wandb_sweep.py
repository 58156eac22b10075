"""A W&B sweep as a sweep of ours: what means exactly the same, and nothing else. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from launch.distributions import quantile
from launch.keys import check_key
from launch.space import MAX_RUNS
from launch.sweep_file import NAME
from launch.values import finite, is_int, shown, tidy
from launch.wandb_schema import check_file, distribution_of
from lrscale.errors import UserError, did_you_mean

Spec = dict[str, Any]
Parameter = Mapping[str, Any]

MOST_ROUNDED = 1_000  # values of a rounded distribution that are written out
REFUSED = {
    "bayes": "a Bayesian search chooses each run by the results of those before it, and a sweep "
    "here is fixed before its first run, so that its arms can be compared: method: random",
    "custom": "a scheduler of one's own is no sweep here: method: grid or random",
    "early_terminate": "every run goes to its end here, so that none is judged by where it was on "
    "the way: take it out",
}
# What has a meaning here; the rest is for W&B's agents, which lrscale does without.
MEANT = ("method", "parameters", "run_cap", "name", "description")
# Distributions without an exact counterpart, and what would be right.
INEXACT = {
    "q_normal": "normal: [mu, sigma] without rounding",
    "q_log_normal": "lognormal: [mu, sigma] without rounding",
    "beta": "uniform: [0, 1], which is beta with a = b = 1",
    "q_beta": "quantized: [0, 1, q]",
}


def translate(
    raw: Any,
    at: str,
    trials: int | None = None,
    workload: str | None = None,
    renamed: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """The sweep as a mapping for a sweep file, and sentences about what changed or was left out.

    Args:
        raw: a W&B sweep file's content.
        at: the file, named in errors.
        trials: of a random search; default ``run_cap``.
        workload: default: that of a parameter ``workload``.
        renamed: its keys → ours, such as ``learning_rate`` → ``optimizer.lr``.

    Raises:
        UserError: it is no W&B sweep, or something in it cannot be said exactly.
    """
    check_file(raw, at)
    _refuse(raw, at)
    flat = list(_flat(raw["parameters"], f"{at}: parameters", ""))
    parameters = _renamed(flat, renamed or {}, at)
    notices = _left_out(raw)
    fixed: dict[str, Any] = {} if workload is None else {"workload": workload}
    varied: dict[str, Any] = {}
    made: dict[str, Any] = {**_names(raw, notices)}
    seeds: list[int] | None = None
    for key, (place, parameter) in parameters.items():
        kind = distribution_of(parameter, place)
        _check_values(parameter, place)
        if key == "seed":
            seeds = _seeds(kind, parameter, raw["method"], place)
        elif kind == "constant":
            fixed[key] = parameter["value"]
        elif raw["method"] == "grid":
            varied[key] = _grid(kind, parameter, place)
        else:
            varied[key] = _drawn(kind, parameter, place)
            if kind in ("log_uniform", "inv_log_uniform"):
                lo, hi = varied[key]["loguniform"]
                notices.append(f"{key}: {kind} takes exponents of e: from {lo:g} to {hi:g}")
    made |= {"run": fixed} if fixed else {}
    if raw["method"] == "random":
        made["random"] = _random(varied, trials or raw.get("run_cap"), at)
    else:
        made |= {"grid": varied} if varied else {}
        _check_cap(raw, varied, seeds, trials, at)
    made |= {} if seeds is None else {"seeds": seeds}
    return made, notices


def _refuse(raw: Mapping[str, Any], at: str) -> None:
    if raw["method"] in REFUSED:
        raise UserError(f"{at}: method: {raw['method']}: {REFUSED[raw['method']]}")
    if "early_terminate" in raw:
        raise UserError(f"{at}: early_terminate: {REFUSED['early_terminate']}")


def _flat(
    parameters: Mapping[str, Any], at: str, prefix: str
) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Dotted key → place in the file and parameter, of nested ones too."""
    for name, parameter in parameters.items():
        key, place = f"{prefix}{name}", f"{at}.{name}"
        check_key(key, at)
        if isinstance(parameter, Mapping) and "parameters" in parameter:
            if set(parameter) != {"parameters"} or not isinstance(parameter["parameters"], Mapping):
                raise UserError(f"{place}: nested parameters stand alone: {{parameters: {{…}}}}")
            yield from _flat(parameter["parameters"], f"{place}.parameters", f"{key}.")
        else:
            yield key, (place, parameter)


def _renamed(
    parameters: list[tuple[str, tuple[str, Any]]], names: Mapping[str, str], at: str
) -> dict[str, tuple[str, Any]]:
    """Parameters by their names here."""
    known = [key for key, _ in parameters]
    for old, new in names.items():
        if old not in known:
            raise UserError(f"--rename {old}={new}: {did_you_mean(old, known)}")
        check_key(new, f"--rename {old}")
    made: dict[str, tuple[str, Any]] = {}
    for old, item in parameters:
        key = names.get(old, old)
        if key in made:
            raise UserError(f"{at}: parameters: {key} is given twice")
        made[key] = item
    return made


def _names(raw: Mapping[str, Any], notices: list[str]) -> dict[str, Any]:
    made = {}
    if raw.get("name"):
        made["name"] = re.sub(r"[^A-Za-z0-9._+-]+", "_", raw["name"]).lstrip("._+-")[:100]
        if not NAME.fullmatch(made["name"]):
            made["name"] = "imported"
        if made["name"] != raw["name"]:
            notices.append(f"name: {shown(raw['name'])} became {made['name']}")
    if raw.get("description"):
        made["notes"] = raw["description"]
    return made


def _left_out(raw: Mapping[str, Any]) -> list[str]:
    left = [key for key in raw if key not in (*MEANT, "metric")]
    notices = [f"left out, of no meaning here: {', '.join(left)}"] if left else []
    if "metric" in raw:
        name = raw["metric"]["name"]
        notices.append(f"left out: metric (say it when you look: report.py --metric {name})")
    return notices


def _seeds(kind: str, parameter: Parameter, method: str, at: str) -> list[int]:
    values = [parameter["value"]] if kind == "constant" else parameter.get("values")
    if kind == "int_uniform" and method == "grid":
        values = list(range(parameter["min"], min(parameter["max"] + 1, MAX_RUNS)))
    elif kind != "constant" and (kind != "categorical" or method != "grid"):
        raise UserError(
            f"{at}: seeds are not drawn here, every point runs on each of them: take it out, and "
            "write seeds: 3 into the sweep"
        )
    if values is None or not all(is_int(value) and value >= 0 for value in values):
        raise UserError(f"{at}: expected integers of 0 or more, got {shown(values)}")
    return list(values)


# Grids -----------------------------------------------------------------------------------------


def _grid(kind: str, parameter: Parameter, at: str) -> Any:
    if kind == "categorical":
        return list(parameter["values"])
    if kind == "int_uniform":
        _ordered(parameter, at)
        return {"range": [parameter["min"], parameter["max"] + 1]}
    if kind == "q_uniform":  # steps from min, without max
        _ordered(parameter, at)
        lo, hi, q = parameter["min"], parameter["max"], parameter.get("q", 1)
        if hi - lo > MAX_RUNS * q:
            raise UserError(f"{at}: more than {MAX_RUNS:,} values")
        return [tidy(lo + q * step) for step in range(math.ceil((hi - lo) / q))]
    raise UserError(f"{at}: a grid has no values of {kind}: write values: […], or method: random")


def _check_cap(
    raw: Mapping[str, Any], varied: Spec, seeds: list[int] | None, trials: int | None, at: str
) -> None:
    """A cap that would cut the grid depends on W&B's order of runs."""
    if trials is not None:
        raise UserError("--trials: of a random search only, and this is a grid")
    counts = [
        len(spec) if isinstance(spec, list) else spec["range"][1] - spec["range"][0]
        for spec in varied.values()
    ]
    points = math.prod(counts) * (1 if seeds is None else len(seeds))
    cap = raw.get("run_cap", points)
    if cap < points:
        raise UserError(
            f"{at}: run_cap: {cap} of {points} points, whichever W&B takes first: take values out, "
            "or run_cap"
        )


# Random search ---------------------------------------------------------------------------------


def _random(varied: Spec, trials: int | None, at: str) -> dict[str, Any]:
    if trials is None:
        raise UserError(f"{at}: a random search ends only by run_cap: say how many: --trials 20")
    if not varied:
        raise UserError(f"{at}: parameters: nothing varies")
    return {"trials": trials, "space": varied}


def _drawn(kind: str, parameter: Parameter, at: str) -> Spec:
    """The distribution in our words, checked by them."""
    if kind in INEXACT:
        raise UserError(f"{at}: {kind} cannot be said exactly here; nearest: {INEXACT[kind]}")
    try:
        spec = _DISTRIBUTIONS[kind](parameter, at)
    except OverflowError:
        hint = f" (it takes exponents of e; {kind}_values takes the values themselves)"
        raise UserError(f"{at}: {kind}: out of range{hint if 'log' in kind else ''}") from None
    quantile(spec, at)
    return spec


def _choice(parameter: Parameter, at: str) -> Spec:
    return {"choice": list(parameter["values"])}


def _weighted(parameter: Parameter, at: str) -> Spec:
    values, weights = parameter["values"], parameter["probabilities"]
    if not math.isclose(sum(weights), 1, abs_tol=1e-8):
        raise UserError(f"{at}.probabilities: they do not sum to 1")
    return {"choice": list(values), "weights": list(weights)}


def _ends(kind: str) -> Callable[[Parameter, str], Spec]:
    return lambda parameter, at: {kind: [parameter["min"], parameter["max"]]}


def _moments(kind: str) -> Callable[[Parameter, str], Spec]:
    return lambda parameter, at: {kind: [parameter.get("mu", 0), parameter.get("sigma", 1)]}


def _exponents(parameter: Parameter, at: str, sign: int = 1) -> Spec:
    ends = sorted(tidy(math.exp(sign * parameter[end])) for end in ("min", "max"))
    _ordered(parameter, at)
    return {"loguniform": ends}


def _inverse_exponents(parameter: Parameter, at: str) -> Spec:
    """log(1/X) is uniform between min and max."""
    return _exponents(parameter, at, sign=-1)


def _rounded(parameter: Parameter, at: str) -> Spec:
    """round(X/q)·q of a uniform X: a choice in which the values at the ends have less weight."""
    return _rounding(parameter["min"], parameter["max"], lambda x: x, parameter, at)


def _rounded_exponents(parameter: Parameter, at: str) -> Spec:
    lo, hi = (math.exp(parameter[end]) for end in ("min", "max"))
    return _rounding(lo, hi, math.log, parameter, at)


def _rounded_values(parameter: Parameter, at: str) -> Spec:
    return _rounding(parameter["min"], parameter["max"], math.log, parameter, at)


def _rounding(
    lo: float, hi: float, scale: Callable[[float], float], parameter: Parameter, at: str
) -> Spec:
    _ordered(parameter, at)
    q = parameter.get("q", 1)
    if hi - lo > MOST_ROUNDED * q:
        raise UserError(
            f"{at}: more than {MOST_ROUNDED:,} rounded values; nearest: the same without q"
        )
    first, last = math.floor(lo / q), math.ceil(hi / q)
    weights = {}
    for step in range(first, last + 1):
        low, high = max(lo, (step - 0.5) * q), min(hi, (step + 0.5) * q)
        if low < high:
            weights[tidy(step * q)] = tidy(scale(high) - scale(low))
    return {"choice": list(weights), "weights": list(weights.values())}


_DISTRIBUTIONS: dict[str, Callable[[Parameter, str], Spec]] = {
    "categorical": _choice,
    "categorical_w_probabilities": _weighted,
    "int_uniform": _ends("int"),
    "uniform": _ends("uniform"),
    "q_uniform": _rounded,
    "log_uniform": _exponents,
    "inv_log_uniform": _inverse_exponents,
    "q_log_uniform": _rounded_exponents,
    "log_uniform_values": _ends("loguniform"),
    "inv_log_uniform_values": _ends("loguniform"),
    "q_log_uniform_values": _rounded_values,
    "normal": _moments("normal"),
    "log_normal": _moments("lognormal"),
}


def _ordered(parameter: Parameter, at: str) -> None:
    if not parameter["min"] < parameter["max"]:
        raise UserError(f"{at}: min must be less than max")


def _check_values(value: Any, at: str) -> None:
    """Numbers are finite, and no text has a ``${``, which would be computed here."""
    if isinstance(value, str) and "${" in value:
        raise UserError(f"{at}: {shown(value)}: ${{…}} is computed here, and plain text in W&B")
    if isinstance(value, (int, float)):
        finite(int(value) if isinstance(value, bool) else value, at)
    if isinstance(value, Mapping):
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        _check_values(inner, at)
