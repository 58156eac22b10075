"""The command line's last word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launch.sweep import Expansion, Sweep, expand, read
from lrscale.errors import UserError

TEXT = """
run: {workload: w, epochs: 10, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
arms:
  sgd: {}
  adam-0.9:
    optimizer: {name: adam}
    grid: {optimizer.lr: [1, 2, 3]}
    seeds: 3
    resources: {time: 4h}
    random: {trials: 2, space: {warmup: {int: [1, 9]}}}
grid: {optimizer.lr: [1, 2]}
zip: [{batch_size: [1, 2], model.width: [3, 4]}]
random: {trials: 3, sampler: sobol, space: {decay: {uniform: [0, 1]}, z: {uniform: [0, 1]}}}
seeds: 2
resources: {time: 2h, nodes: 1}
parallel: 4
"""


@pytest.fixture
def given(tmp_path: Path) -> Any:
    def sweep(*overrides: str) -> Sweep:
        path = tmp_path / "s.yaml"
        path.write_text(TEXT)
        return read(path, overrides)

    return sweep


def arm(runs: Expansion, name: str) -> list[Any]:
    return [run for run in runs if run.arm == name]


def test_without_overrides(given: Any) -> None:
    runs = expand(given())
    assert len(arm(runs, "sgd")) == 2 * 2 * 3 * 2
    assert len(arm(runs, "adam-0.9")) == 3 * 2 * 2 * 3


def test_a_run_key_is_pinned_in_every_arm(given: Any) -> None:
    sweep = given("optimizer.lr=0.5", "epochs=1")
    runs = expand(sweep)
    assert len(arm(runs, "sgd")) == 2 * 3 * 2
    assert len(arm(runs, "adam-0.9")) == 2 * 2 * 3
    assert {run.config["optimizer"]["lr"] for run in runs} == {0.5}
    assert {run.config["epochs"] for run in runs} == {1}
    assert not any("optimizer.lr" in run.point for run in runs)
    assert sweep.key_files["parallel"].endswith("s.yaml")


def test_a_key_is_pinned_in_one_arm(given: Any) -> None:
    runs = expand(given("arms.adam-0.9.optimizer.lr=7"))
    assert {run.config["optimizer"]["lr"] for run in arm(runs, "adam-0.9")} == {7}
    assert {run.config["optimizer"]["lr"] for run in arm(runs, "sgd")} == {1, 2}


def test_another_optimizer_keeps_the_grid_and_loses_the_left_overs(given: Any) -> None:
    for override in ("optimizer.name=lion", "optimizer={name: lion}"):
        runs = expand(given(override, "random=null", "zip=null", "seeds=1"))
        assert [run.config["optimizer"] for run in arm(runs, "sgd")] == [
            {"name": "lion", "lr": 1},
            {"name": "lion", "lr": 2},
        ]


def test_a_pinned_key_of_a_zip_leaves_the_others(given: Any) -> None:
    runs = arm(expand(given("batch_size=9")), "sgd")
    assert {(r.config["batch_size"], r.config["model"]["width"]) for r in runs} == {(9, 3), (9, 4)}


def test_a_pinned_dimension_of_a_sobol_design_leaves_the_others_as_they_were(given: Any) -> None:
    before = [run.point["z"] for run in arm(expand(given()), "sgd")]
    after = [run.point["z"] for run in arm(expand(given("decay=0.5")), "sgd")]
    assert before == after


def test_no_trials_when_all_drawn_keys_are_pinned(given: Any) -> None:
    runs = arm(expand(given("decay=0.5", "z=1")), "sgd")
    assert len(runs) == 2 * 2 * 2
    assert {run.trial for run in runs} == {None}


def test_top_level_values_and_sections(given: Any) -> None:
    sweep = given(
        "parallel=8",
        "seeds=1",
        "name=quick",
        "resources.time=01:00:00",
        "grid.optimizer.lr=[0.5]",
        "random.trials=1",
        "zip=[{batch_size: [5]}]",
        "exclude=[{epochs: 3}]",
        "runs_per_task=2",
    )
    assert (sweep.parallel, sweep.name, sweep.runs_per_task) == (8, "quick", 2)
    assert sweep.where("parallel") == "command line: parallel"
    assert sweep.where("grid.optimizer.lr") == "command line: grid.optimizer.lr"
    runs = expand(sweep)
    assert [(run.arm, run.seed, run.trial) for run in runs] == [("sgd", 0, 0), ("adam-0.9", 0, 0)]
    assert {run.config["optimizer"]["lr"] for run in runs} == {0.5}
    assert {run.config["batch_size"] for run in runs} == {5}
    assert [run.resources for run in runs] == [{"time": "01:00:00", "nodes": 1}] * 2
    assert "warmup" in runs[1].point
    assert len(runs.warnings) == 1


def test_a_section_of_one_arm(given: Any) -> None:
    runs = expand(given("arms.adam-0.9.seeds=[7]", "arms.adam-0.9.grid.optimizer.lr=[4, 5]"))
    assert {run.seed for run in arm(runs, "adam-0.9")} == {7}
    assert {run.seed for run in arm(runs, "sgd")} == {0, 1}
    assert {run.config["optimizer"]["lr"] for run in arm(runs, "adam-0.9")} == {4, 5}


def test_a_key_moves_from_random_to_grid(given: Any) -> None:
    runs = expand(given("grid.decay=[0.1]", "grid.warmup=[3]"))
    assert {run.config["decay"] for run in runs} == {0.1}
    assert {run.trial for run in arm(runs, "sgd")} == {0, 1, 2}  # z is still drawn
    assert {run.config["warmup"] for run in runs} == {3}
    assert {run.trial for run in arm(runs, "adam-0.9")} == {None}


def test_sections_are_switched_off(given: Any) -> None:
    runs = expand(given("grid=null", "zip=null", "random=null", "seeds=1"))
    assert [(run.arm, dict(run.point)) for run in runs] == [("sgd", {}), ("adam-0.9", {})]


def test_the_later_argument_wins(given: Any) -> None:
    runs = expand(given("optimizer.lr=1", "optimizer={lr: 2}", "seeds=3", "seeds=1"))
    assert {run.config["optimizer"]["lr"] for run in runs} == {2}
    runs = expand(given("optimizer={lr: 2}", "optimizer.lr=1"))
    assert {run.config["optimizer"]["lr"] for run in runs} == {1}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("x=1e-3", 0.001),
        ("x=no", "no"),
        ("x=[1, 2]", [1, 2]),
        ("x={a: 1}", {"a": 1}),
        ("x=", None),
        ("x=null", None),
        ("x=a=b", "a=b"),
        (" x = 3", 3),
        ("run.name=3", None),
        ("x=${mul:2,${epochs}}", 20),
    ],
)
def test_values_are_yaml(written: str, value: Any, given: Any) -> None:
    run = expand(given(written))[0]
    if written.startswith("run.name"):
        assert run.config["name"] == 3
    else:
        assert run.config["x"] == value


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("epochs", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("paralel=8", "did you mean 'parallel'? (a key of the run: run.paralel)"),
        ("parallel=many", "parallel: expected 1 or more"),
        ("parallel.x=1", "is given whole"),
        ("seed=1", "use seeds"),
        ("arms.adam-0.9.seed=1", "use seeds"),
        ("arms.sgd=3", "expected arms.NAME.KEY=VALUE"),
        ("arms.sdg.epochs=3", "did you mean 'sgd'?"),
        ("arms.sgd.parallel=3", "not a key of an arm"),
        ("include=a.yaml", "only be given in a file"),
        ("run={a: 1}", "give its keys one by one"),
        ("a..b=1", "is not a key"),
        ("random.trails=1", "did you mean 'trials'?"),
        ("random.trials.x=1", "unknown key"),
        ("grid=3", "grid: expected a mapping"),
        ("x=[1", "command line: x: while"),
        ("x=\udcff", "command line: x: not a text file"),
    ],
)
def test_refused(override: str, says: str, given: Any) -> None:
    with pytest.raises(UserError) as error:
        expand(given(override))
    assert says in str(error.value)
    assert "command line" in str(error.value)


def test_typos_in_run_keys_are_left_to_the_decoder(given: Any) -> None:
    assert expand(given("optimzer.lr=1"))[0].config["optimzer"] == {"lr": 1}
