"""W&B sweep files as sweeps of ours: the same values, the same distributions, or a refusal."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from launch import import_wandb, submit
from launch.distributions import quantile
from launch.sweep import expand, read
from launch.sweep_yaml import parse_yaml, to_yaml
from launch.wandb_schema import FILE, PARAMETERS
from launch.wandb_sweep import translate
from lrscale.errors import UserError

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from(["no", "on", "1e-3", "1:30", "0x1F", "null", "~", "- a", "a: b", "", " é "]),
    st.text(st.characters(categories=["L", "N", "P", "S"]) | st.just(" "), max_size=6).filter(
        lambda text: "${" not in text
    ),
)
VALUES = st.lists(SCALARS | st.lists(SCALARS, max_size=2), min_size=1, max_size=4)
PLACES = [(k + 0.5) / 64 for k in range(64)]


def drawn(**parameter: Any) -> Any:
    """The distribution of a random search's only parameter, in our words."""
    raw = {"method": "random", "run_cap": 5, "parameters": {"x": parameter}}
    made, _ = translate(raw, "f")
    assert made["random"]["trials"] == 5
    return made["random"]["space"]["x"]


# Values ----------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(["a", "b.c", "b.d", "e"]), VALUES, min_size=1, max_size=3))
def test_a_grid_has_all_of_its_values_to_the_type(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, list[Any]]
) -> None:
    raw = {"method": "grid", "parameters": {key: {"values": v} for key, v in values.items()}}
    folder = tmp_path_factory.mktemp("grid")
    theirs, ours = folder / "theirs.yaml", folder / "ours.yaml"
    theirs.write_text(json.dumps(raw, ensure_ascii=False), encoding="utf-8")  # is YAML
    made, notices = translate(import_wandb.read_wandb(theirs), "f")
    assert not notices
    ours.write_text(to_yaml(made), encoding="utf-8")
    runs = expand(read(ours))
    assert len(runs) == math.prod(map(len, values.values()))
    for key, wanted in values.items():
        found = [run.point[key] for run in runs]
        assert {repr(value) for value in found} == {repr(value) for value in wanted}


@given(SCALARS | VALUES | st.dictionaries(st.text(max_size=4), SCALARS, max_size=3))
@example({"\x85": "\u2028"})
def test_what_is_written_is_read_again(value: Any) -> None:
    with contextlib.suppress(UserError):  # of keys with control characters
        assert parse_yaml(to_yaml({"key": value}), "f") == {"key": value}


def test_nested_constant_and_counted_parameters() -> None:
    raw = {
        "method": "grid",
        "name": "a b",
        "description": "why",
        "program": "train.py",
        "metric": {"name": "val_loss", "goal": "minimize"},
        "parameters": {
            "optimizer": {"parameters": {"name": {"value": "sgd"}, "lr": {"values": [0.1, 1]}}},
            "depth": {"min": 2, "max": 4},
            "width": {"distribution": "q_uniform", "min": 0.5, "max": 2, "q": 0.5},
            "seed": {"values": [3, 5]},
        },
    }
    made, notices = translate(raw, "f", workload="w", renamed={"depth": "model.depth"})
    assert made == {
        "name": "a_b",
        "notes": "why",
        "run": {"workload": "w", "optimizer.name": "sgd"},
        "grid": {
            "optimizer.lr": [0.1, 1],
            "model.depth": {"range": [2, 5]},
            "width": [0.5, 1.0, 1.5],  # as numpy.arange, which W&B takes: without the end
        },
        "seeds": [3, 5],
    }
    assert notices == [
        "left out, of no meaning here: program",
        "left out: metric (say it when you look: report.py --metric val_loss)",
        "name: 'a b' became a_b",
    ]


def test_files_are_read_as_wandb_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("a: [no, on, 1e-3, 'no', 010, 2026-01-01, .5]\non: 1\n", encoding="utf-8")
    read_there = import_wandb.read_wandb(file)
    assert read_there == {"a": [False, True, 1e-3, "no", 8, "2026-01-01", 0.5], "on": 1}


# Distributions: W&B's definitions by scipy ------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "ppf"),
    [
        ({"min": 0.5, "max": 2.0}, stats.uniform(0.5, 1.5).ppf),
        ({"distribution": "uniform", "min": 1, "max": 3}, stats.uniform(1, 2).ppf),
        (
            {"distribution": "log_uniform", "min": -3, "max": 1},
            stats.loguniform(math.exp(-3), math.exp(1)).ppf,
        ),
        (
            {"distribution": "inv_log_uniform", "min": -3, "max": 1},
            stats.loguniform(math.exp(-1), math.exp(3)).ppf,
        ),
        (
            {"distribution": "log_uniform_values", "min": 1e-4, "max": 1},
            stats.loguniform(1e-4, 1).ppf,
        ),
        (
            {"distribution": "inv_log_uniform_values", "min": 1e-4, "max": 1},
            stats.loguniform(1e-4, 1).ppf,
        ),
        ({"distribution": "normal", "mu": 2, "sigma": 0.5}, stats.norm(2, 0.5).ppf),
        ({"distribution": "normal"}, stats.norm(0, 1).ppf),
        ({"distribution": "log_normal", "mu": 1}, stats.lognorm(1, scale=math.e).ppf),
        ({"min": 2, "max": 9}, stats.randint(2, 10).ppf),
    ],
)
def test_distributions(parameter: dict[str, Any], ppf: Any) -> None:
    ours = quantile(drawn(**parameter), "f")
    for place in PLACES:
        assert ours(place) == pytest.approx(ppf(place), rel=1e-9)


@given(
    st.sampled_from(["q_uniform", "q_log_uniform_values", "q_log_uniform"]),
    st.floats(0.1, 4),
    st.floats(0.5, 6),
    st.sampled_from([1, 0.25, 0.3]),
)
def test_rounded_ones_have_the_weights_of_what_is_rounded(
    kind: str, lo: float, width: float, q: float
) -> None:
    ends = (math.exp(lo), math.exp(lo + width)) if kind == "q_log_uniform" else (lo, lo + width)
    before = (stats.uniform(lo, width) if kind == "q_uniform" else stats.loguniform(*ends)).cdf
    if (ends[1] - ends[0]) / q > 1_000:
        with pytest.raises(UserError, match="more than 1,000 rounded values"):
            drawn(distribution=kind, min=lo, max=lo + width, q=q)
        return
    spec = drawn(distribution=kind, min=lo, max=lo + width, q=q)
    total = sum(spec["weights"])
    for value, weight in zip(spec["choice"], spec["weights"], strict=True):
        assert weight / total == pytest.approx(
            before(value + q / 2) - before(value - q / 2), abs=1e-9
        )
        assert value / q == pytest.approx(round(value / q))


def test_choices_and_weights() -> None:
    assert drawn(values=["a", 1]) == {"choice": ["a", 1]}
    assert drawn(values=["a", 1], probabilities=[0.25, 0.75]) == {
        "choice": ["a", 1],
        "weights": [0.25, 0.75],
    }


# Refusals --------------------------------------------------------------------------------------

LR = {"values": [1]}
LOG = {"distribution": "log_uniform", "min": 1, "max": 1000}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "f: 'method' is a required property"),
        ([], "f: [] is not of type 'object'"),
        ({"method": "grid", "parameters": {}}, "f.parameters: {} should be non-empty"),
        ({"method": "grid", "parameters": {"a": LR}, "x": 1}, "'x' was unexpected"),
        ({"method": "grids", "parameters": {"a": LR}}, "f.method: 'grids' is not one of"),
        ({"method": "bayes", "parameters": {"a": LR}}, "by the results of those before it"),
        ({"method": "custom", "parameters": {"a": LR}}, "a scheduler of one's own"),
        ({"method": "grid", "parameters": {"a": LR}, "early_terminate": {}}, "take it out"),
        ({"method": "grid", "parameters": {"a": 1}}, "f: parameters.a: expected {value"),
        ({"method": "grid", "parameters": {"a": {"value": 1, "max": 2}}}, "'max' was unexpected"),
        ({"method": "grid", "parameters": {"a": {"min": 0.1, "max": 1}}}, "no values of uniform"),
        ({"method": "grid", "parameters": {"a": {"distribution": "unifrom"}}}, "uniform"),
        ({"method": "grid", "parameters": {"a.b": LR, "a": {"parameters": {"b": LR}}}}, "twice"),
        ({"method": "grid", "parameters": {"a..b": LR}}, "is not a key"),
        ({"method": "grid", "parameters": {"a": {"values": ["${x}"]}}}, "is computed here"),
        ({"method": "grid", "parameters": {"a": {"values": [1, 2]}}, "run_cap": 1}, "1 of 2"),
        ({"method": "random", "parameters": {"a": LR}}, "say how many: --trials 20"),
        ({"method": "random", "parameters": {"a": {"value": 1}}, "run_cap": 2}, "nothing varies"),
        ({"method": "random", "parameters": {"seed": LR}, "run_cap": 2}, "write seeds: 3"),
        ({"method": "grid", "parameters": {"seed": {"values": [0.5]}}}, "expected integers"),
        (
            {"method": "random", "parameters": {"a": {"min": 2, "max": 2}}, "run_cap": 2},
            "less than",
        ),
        ({"method": "random", "parameters": {"a": LOG}, "run_cap": 2}, "log_uniform_values takes"),
        (
            {"method": "random", "parameters": {"a": {"distribution": "beta"}}, "run_cap": 2},
            "nearest: uniform: [0, 1]",
        ),
    ],
)
def test_refusals_say_what_would_be_right(raw: Any, message: str) -> None:
    with pytest.raises(UserError) as raised:
        translate(raw, "f")
    assert message in str(raised.value)


PARTS = st.dictionaries(
    st.sampled_from(["min", "max", "q", "mu", "sigma", "values", "probabilities", "value", "a"]),
    st.sampled_from(
        [0, 1, 2, 1000, -1, 0.5, 1e300, -1e300, 5e-324, math.inf, math.nan, [1, 2], None]
    ),
    max_size=4,
)
FILES = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["grid", "random"]),
        "parameters": st.dictionaries(
            st.sampled_from(["a", "seed", "b.c"]),
            st.builds(
                lambda kind, parts: {"distribution": kind, **parts},
                st.sampled_from([*PARAMETERS]),
                PARTS,
            )
            | PARTS,
            min_size=1,
            max_size=2,
        ),
        "run_cap": st.sampled_from([1, 3]),
    }
)


@given(FILES)
def test_anything_else_is_a_users_mistake(raw: dict[str, Any]) -> None:
    with contextlib.suppress(UserError):
        made, _ = translate(raw, "f")
        assert set(made) <= {"run", "grid", "random", "seeds"}
        assert parse_yaml(to_yaml(made), "f") == made


def test_everything_in_the_schema_is_of_a_use_that_is_told() -> None:
    ignored = set(FILE["properties"]) - {"early_terminate", "metric", "metrics"}
    raw = {"method": "grid", "parameters": {"a": {"value": 1}}, "command": ["x"], "kind": "sweep"}
    assert set(raw) <= ignored
    assert translate(raw, "f")[1] == ["left out, of no meaning here: command, kind"]


# The command -----------------------------------------------------------------------------------


def test_the_command_makes_a_sweep_that_submit_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = tmp_path / "theirs.yaml", tmp_path / "ours.yaml"
    theirs.write_text(
        "method: random\nrun_cap: 3\nparameters:\n"
        "  epochs: {value: 1}\n"
        "  lr: {distribution: log_uniform, min: -9, max: 0}\n",
        encoding="utf-8",
    )
    command = [str(theirs), "-o", str(ours), "--workload", "digits_mlp", "--rename"]
    assert import_wandb.main([*command, "lr=optimizer.lr"]) == 0
    output = capsys.readouterr()
    assert "3 runs; look at them" in output.out
    assert "lr: log_uniform takes exponents of e: from 0.00012341 to 1" in output.err
    options = ["--dry-run", "--backend", "local", "--runs", str(tmp_path / "runs")]
    assert submit.main([str(ours), *options]) == 0
    assert "3 runs" in capsys.readouterr().out

    assert import_wandb.main([*command, "lr=optimizer.lr"]) == 2
    assert "is there already" in capsys.readouterr().err
    ours.unlink()
    assert import_wandb.main([*command, "lrr=x"]) == 2
    assert "did you mean 'lr'" in capsys.readouterr().err
    assert import_wandb.main([*command, "lr"]) == 2
    assert "write OLD=NEW" in capsys.readouterr().err
    assert import_wandb.main([str(tmp_path / "no.yaml")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert not ours.exists()
