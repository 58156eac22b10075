"""Values of grids; draws: their distribution, and what they may depend on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from launch.distributions import quantile
from launch.space import draw_trials, grid_values, uniform
from lrscale.errors import UserError

ROOT = Path(__file__).parents[2]

# Grids


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ([3, "a", None, {"name": "x"}], [3, "a", None, {"name": "x"}]),
        ({"logspace": [1e-3, 1, 4]}, [0.001, 0.01, 0.1, 1]),
        ({"logspace": [1, 1e-4, 5]}, [1, 0.1, 0.01, 0.001, 0.0001]),
        ({"logspace": [1e-3, 1, 3]}, [0.001, 0.0316227766017, 1]),
        ({"logspace": [0.3, 0.7, 1]}, [0.3]),
        ({"linspace": [0, 1, 5]}, [0, 0.25, 0.5, 0.75, 1]),
        ({"linspace": [0.1, 0.4, 4]}, [0.1, 0.2, 0.3, 0.4]),
        ({"linspace": [-1, -3, 3]}, [-1, -2, -3]),
        ({"range": 3}, [0, 1, 2]),
        ({"range": [3]}, [0, 1, 2]),
        ({"range": [1, 4]}, [1, 2, 3]),
        ({"range": [9, 0, -4]}, [9, 5, 1]),
    ],
)
def test_grid_values(spec: Any, values: list[Any]) -> None:
    assert grid_values(spec, "f: k") == values


@given(
    st.floats(1e-12, 1e12),
    st.floats(1e-12, 1e12),
    st.integers(2, 50),
    st.sampled_from(["log", "lin"]),
)
def test_ends_are_exact_and_between_them_steps_are_even(
    lo: float, hi: float, n: int, kind: str
) -> None:
    values = grid_values({f"{kind}space": [lo, hi, n]}, "f: k")
    assert (values[0], values[-1], len(values)) == (lo, hi, n)
    reference = np.geomspace(lo, hi, n) if kind == "log" else np.linspace(lo, hi, n)
    np.testing.assert_allclose(values, reference, rtol=1e-11)


@pytest.mark.parametrize(
    "spec",
    [
        *(3, "a", None, [], {}, {"logspace": [1, 2, 3], "range": 3}),
        *({"logspace": [0, 1, 3]}, {"logspace": [1, 2]}, {"logspace": [1, 2, 0]}),
        *({"logspace": [1, 2, 2.5]}, {"logspace": [1, True, 2]}, {"logspace": 3}),
        *({"logspace": [1, float("nan"), 2]}, {"linspace": [0, float("inf"), 2]}),
        *({"linspace": [0, 10**400, 2]}, {"linspace": [0, 1, 10**9]}),
        *({"range": 0}, {"range": 10**12}, {"range": [1, 5, 0]}, {"range": 2.5}, {"range": []}),
    ],
)
def test_grid_values_refused(spec: Any) -> None:
    with pytest.raises(UserError, match=r"^f: k"):
        grid_values(spec, "f: k")


# Distributions, against SciPy's


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        ({"uniform": [-2, 5]}, stats.uniform(-2, 7)),
        ({"loguniform": [1e-4, 10]}, stats.loguniform(1e-4, 10)),
        ({"normal": [3, 2]}, stats.norm(3, 2)),
        ({"lognormal": [-1, 0.5]}, stats.lognorm(0.5, scale=np.exp(-1))),
        ({"int": [2, 9]}, stats.randint(2, 10)),
    ],
)
def test_quantiles_are_those_of_scipy(spec: Any, reference: Any) -> None:
    u = np.random.default_rng(0).uniform(size=500)
    function = quantile(spec, "f: k")
    np.testing.assert_allclose([function(x) for x in u], reference.ppf(u), rtol=1e-9)


def test_quantized_and_int_are_even_over_their_values() -> None:
    u = (np.arange(4000) + 0.5) / 4000
    for spec, values in (
        ({"quantized": [0, 1, 0.25]}, [0, 0.25, 0.5, 0.75, 1]),
        ({"quantized": [0.1, 0.35, 0.1]}, [0.1, 0.2, 0.3]),
        ({"quantized": [64, 512, 64]}, list(range(64, 513, 64))),
        ({"int": [-1, 2]}, [-1, 0, 1, 2]),
    ):
        drawn, counts = np.unique([quantile(spec, "f: k")(x) for x in u], return_counts=True)
        assert drawn.tolist() == values
        assert np.ptp(counts) <= 1
    assert type(quantile({"quantized": [64, 512, 64]}, "f: k")(0.5)) is int


def test_choice_follows_its_weights() -> None:
    u = (np.arange(1000) + 0.5) / 1000
    function = quantile({"choice": ["a", None, 3, "d"], "weights": [0, 1, 2, 0]}, "f: k")
    drawn = [function(x) for x in u]
    assert (drawn.count(None), drawn.count(3)) == (333, 667)
    assert function(1 - 2**-53) == 3
    even = quantile({"choice": [1, 2]}, "f: k")
    assert sum(even(x) == 1 for x in u) == 500


@pytest.mark.parametrize(
    "spec",
    [
        *(3, None, {}, [1, 2], {"uniform": [1]}, {"uniform": [2, 1]}, {"uniform": [1, 1]}),
        *({"unifrom": [0, 1]}, {"uniform": [0, 1], "normal": [0, 1]}, {"loguniform": [0, 1]}),
        *({"normal": [0, 0]}, {"lognormal": [0, 100]}, {"int": [0.5, 2]}, {"uniform": ["a", 1]}),
        *({"quantized": [0, 1, 0]}, {"quantized": [0, 1, 2]}, {"quantized": [0, 1]}),
        *({"choice": []}, {"choice": 3}, {"choice": [1], "weights": [1, 2]}),
        *({"choice": [1], "weights": [0]}, {"choice": [1, 2], "weights": [-1, 2]}),
        *({"choice": [1], "p": [1]}, {"uniform": [0, 1], "weights": [1]}),
    ],
)
def test_distributions_refused(spec: Any) -> None:
    with pytest.raises(UserError, match=r"^f: k"):
        quantile(spec, "f: k")


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"space": {"a": {"uniform": [0, 1]}}}, "trials: expected 1"),
        ({"trials": 3}, "space: missing"),
        ({"trials": 10**9, "space": {"a": {"uniform": [0, 1]}}}, "trials: expected 1"),
        ({"trials": 3, "seed": -1, "space": {"a": {"uniform": [0, 1]}}}, "seed: expected"),
        (
            {"trials": 3, "sampler": "halton", "space": {"a": {"uniform": [0, 1]}}},
            "random or sobol",
        ),
        ({"trials": 3, "sampler": [1], "space": {"a": {"uniform": [0, 1]}}}, "random or sobol"),
    ],
)
def test_random_sections_refused(section: Any, says: str) -> None:
    with pytest.raises(UserError, match=r"f: random\.") as error:
        draw_trials(section, "f: random")
    assert says in str(error.value)


# Draws

UNIT = {"uniform": [0, 1]}


def section(names: list[str], trials: int, sampler: str = "random", seed: int = 0) -> Any:
    space = dict.fromkeys(names, UNIT)
    return {"trials": trials, "sampler": sampler, "seed": seed, "space": space}


def columns(names: list[str], trials: int, sampler: str = "random", seed: int = 0) -> Any:
    draws = draw_trials(section(names, trials, sampler, seed), "f: random")
    return {name: [draw[name] for draw in draws] for name in names}


NAMES = st.lists(st.text("abcxyz._", min_size=1, max_size=8), min_size=1, max_size=5, unique=True)


@given(NAMES, st.text("abc", min_size=9, max_size=9), st.integers(0, 9), st.data())
def test_a_draw_depends_on_seed_name_and_trial_only(
    names: list[str], another: str, seed: int, data: st.DataObject
) -> None:
    alone = {name: columns([name], 4, seed=seed)[name] for name in names}
    together = columns([another, *data.draw(st.permutations(names))], 7, seed=seed)
    for name in names:
        assert together[name][:4] == alone[name]
    assert columns(names, 4, seed=seed + 1) != alone


@given(NAMES, st.integers(0, 9), st.data())
def test_a_sobol_design_is_stable_under_reordering_and_more_trials(
    names: list[str], seed: int, data: st.DataObject
) -> None:
    fewer = columns(names, 3, "sobol", seed)
    more = columns(data.draw(st.permutations(names)), 8, "sobol", seed)
    assert {name: more[name][:3] for name in names} == fewer


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_draws_are_uniform_and_uncorrelated(sampler: str) -> None:
    names = ["optimizer.lr", "optimizer.momentum", "model.width", "dropout", "a", "b"]
    points = np.array(list(columns(names, 1024, sampler).values()))
    for column in points:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    correlation = np.corrcoef(points) - np.eye(len(names))
    assert np.abs(correlation).max() < 0.12  # 1024 points: standard error 0.031


def test_sobol_fills_the_square_more_evenly_than_chance() -> None:
    sobol, chance = (
        stats.qmc.discrepancy(np.array(list(columns(["a", "b"], 256, sampler).values())).T)
        for sampler in ("sobol", "random")
    )
    assert sobol < chance / 10


def test_the_draws_of_this_version_are_those_of_the_next() -> None:
    assert uniform(0, "optimizer.lr", 0) == 0.7924736160066034
    assert columns(["a", "b"], 2)["b"] == [0.925502120454, 0.223015467289]
    assert columns(["a", "b"], 2, "sobol")["b"] == [0.96412021853, 0.107524776831]


def test_another_process_expands_to_the_same_runs(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        """
        run: {b: 3, c: '${mul:${b},${exp:0.1}}'}
        arms: {x: {}, y: {random: {trials: 3, sampler: sobol, space: {e: {uniform: [0, 1]}}}}}
        grid: {lr: {logspace: [1e-3, 1, 3]}}
        random:
          trials: 4
          space: {d: {lognormal: [0, 1]}, w: {choice: [1, 2, 3], weights: [1, 2, 3]}}
        seeds: 2
        """
    )
    program = (
        "import json, sys; from launch.sweep import expand, read; "
        "print(json.dumps([vars(run) for run in expand(read(sys.argv[1]))]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(json.loads(outputs.pop())) == 3 * (4 + 3) * 2
