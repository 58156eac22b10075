"""Sweep files, valid and not, and command-line arguments, as hypothesis draws them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from launch.sweep_file import TOP_LEVEL

WORDS = st.sampled_from(
    [
        *TOP_LEVEL,
        *(
            "trials",
            "sampler",
            "space",
            "sobol",
            "seed",
            "name",
            "a",
            "a.b",
            "a.name",
            "b",
            ".",
            "",
        ),
        *("logspace", "linspace", "range", "uniform", "loguniform", "normal", "lognormal", "int"),
        *("quantized", "choice", "weights", "optimizer.lr", "optimizer", "s.yaml", "auto"),
        *("${a}", "${a.b}", "${mul:${a},2}", "${div:1,${b}}", "${", "${x:", "\\${a}", "${seed}"),
    ]
)
SCALARS = st.one_of(
    WORDS,
    st.none(),
    st.booleans(),
    st.integers(-3, 5),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
)
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
LISTS = st.lists(SCALARS, min_size=1, max_size=3)
RANGES = st.builds(
    lambda kind, a, b, c: {kind: [a, b, c]},
    st.sampled_from(["logspace", "linspace", "range", "quantized"]),
    st.integers(-2, 9) | SCALARS,
    st.integers(-2, 9) | SCALARS,
    st.integers(1, 4) | SCALARS,
)
PAIRS = st.builds(
    lambda kind, a, b: {kind: [a, b]},
    st.sampled_from(["uniform", "loguniform", "normal", "lognormal", "int"]),
    st.integers(-2, 9) | st.floats(),
    st.integers(-2, 9) | st.floats(),
)
CHOICES = st.builds(lambda values: {"choice": values}, LISTS)
KEYS = st.sampled_from(["a", "a.b", "a.name", "b", "optimizer.lr"])
GRIDS = st.dictionaries(KEYS, LISTS | RANGES, max_size=3)
RUNS = st.dictionaries(KEYS, VALUES, max_size=3)
SECTIONS: dict[str, Any] = {
    "grid": GRIDS,
    "zip": st.lists(st.dictionaries(KEYS, st.just([1, 2]) | LISTS, min_size=1), max_size=2),
    "random": st.fixed_dictionaries(
        {"trials": st.integers(1, 4), "space": st.dictionaries(KEYS, PAIRS | CHOICES, max_size=3)},
        optional={"sampler": st.sampled_from(["random", "sobol"]), "seed": st.integers(0, 3)},
    ),
    "exclude": st.lists(st.dictionaries(KEYS, SCALARS, min_size=1, max_size=2), max_size=2),
    "seeds": st.integers(1, 3),
    "resources": RUNS,
}
ARMS = st.dictionaries(
    st.sampled_from(["x", "y", "x.y"]),
    st.builds(lambda own, run: own | run, st.fixed_dictionaries({}, optional=SECTIONS), RUNS),
    max_size=2,
)
JUNK = st.dictionaries(
    st.sampled_from([key for key in TOP_LEVEL if key != "include"]), VALUES, max_size=1
)
SWEEPS = st.builds(
    lambda sweep, junk: sweep | junk,
    st.fixed_dictionaries({}, optional=SECTIONS | {"arms": ARMS, "run": RUNS}),
    JUNK,
)
ARGUMENTS = st.lists(
    st.text(max_size=12)
    | st.builds(
        lambda parts, value: f"{'.'.join(parts)}={value}",
        st.lists(WORDS, min_size=1, max_size=3),
        VALUES.map(json.dumps) | st.text(max_size=5),
    ),
    max_size=2,
)
