"""What a sweep file asks for: order, precedence, arms, zip, exclude, seeds, resources."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.sweep import Expansion, expand, read
from lrscale.compare.protocol import Protocol
from lrscale.errors import UserError


@pytest.fixture
def sweep_of(tmp_path: Path) -> Any:
    """Text of a sweep and overrides → its expansion."""

    def expanded(text: str, *overrides: str) -> Expansion:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return expand(read(path, overrides))

    return expanded


def points(expansion: Expansion) -> list[dict[str, Any]]:
    return [dict(run.point) for run in expansion]


def test_the_issue_in_small(sweep_of: Any) -> None:
    runs = sweep_of(
        """
        run:
          workload: mnist_mlp
          batch_size: 128
          optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
          warmup: ${mul:0.1,${div:${batch_size},256}}
        arms:
          sgd: {}
          adam: {optimizer: {name: adam, lr: 0.001}, grid: {optimizer.lr: [1e-4, 1e-3]}}
        grid:
          optimizer.lr: {logspace: [1e-3, 1, 4]}
        seeds: 2
        resources: {time: 02:00:00}
        """
    )
    assert [(r.arm, r.config["optimizer"], r.seed) for r in runs] == [
        *(
            ("sgd", {"name": "sgd", "lr": lr, "momentum": 0.9}, seed)
            for lr in (1e-3, 1e-2, 1e-1, 1.0)
            for seed in (0, 1)
        ),
        *(("adam", {"name": "adam", "lr": lr}, seed) for lr in (1e-4, 1e-3) for seed in (0, 1)),
    ]
    assert all(r.config["warmup"] == 0.05 and r.config["seed"] == r.seed for r in runs)
    assert all(r.resources == {"time": "02:00:00"} and r.trial is None for r in runs)


def test_last_key_fastest_then_zip_then_trials_then_seeds(sweep_of: Any) -> None:
    runs = sweep_of(
        """
        grid: {a: [1, 2], b: [x, y]}
        zip: [{c: [10, 20], d: [30, 40]}]
        random: {trials: 2, space: {e: {uniform: [0, 1]}}}
        seeds: [5, 3]
        """
    )
    seen = [(r.point["a"], r.point["b"], r.point["c"], r.point["d"], r.trial, r.seed) for r in runs]
    assert seen == [
        (a, b, c, d, trial, seed)
        for a in (1, 2)
        for b in ("x", "y")
        for c, d in ((10, 30), (20, 40))
        for trial in (0, 1)
        for seed in (5, 3)
    ]
    assert len({r.point["e"] for r in runs}) == 2  # the same trials at every point of the grid


@pytest.mark.parametrize(
    ("sections", "overrides", "lr"),
    [
        ("", [], 0.1),
        ("run: {optimizer: {lr: 0.2}}", [], 0.2),
        ("run: {optimizer.lr: 0.2}", [], 0.2),
        ("run: {optimizer.lr: 0.2}\narms: {a: {optimizer.lr: 0.3}}", [], 0.3),
        ("arms: {a: {optimizer.lr: 0.3}}\ngrid: {optimizer.lr: [0.4]}", [], 0.4),
        ("arms: {a: {optimizer.lr: 0.3}}\nzip: [{optimizer.lr: [0.4]}]", [], 0.4),
        ("arms: {a: {grid: {optimizer.lr: [0.5]}}}\ngrid: {optimizer.lr: [0.4, 0.6]}", [], 0.5),
        ("arms: {a: {zip: [{optimizer.lr: [0.5]}]}}\ngrid: {optimizer.lr: [0.4, 0.6]}", [], 0.5),
        ("arms: {a: {grid: {optimizer.lr: [0.4, 1]}}}", ["optimizer.lr=0.7"], 0.7),
        ("arms: {a: {grid: {optimizer.lr: [0.4, 1]}}}", ["run.optimizer.lr=0.7"], 0.7),
        ("arms: {a: {grid: {optimizer.lr: [0.4, 1]}}}", ["arms.a.optimizer.lr=0.7"], 0.7),
        ("arms: {a: {grid: {optimizer.lr: [0.4, 1]}}}", ["grid.optimizer.lr=[0.7]"], 0.7),
        ("grid: {optimizer.lr: [0.4, 1]}", ["optimizer={name: sgd, lr: 0.7}"], 0.7),
    ],
)
def test_precedence(
    sections: str, overrides: list[str], lr: float, tmp_path: Path, sweep_of: Any
) -> None:
    (tmp_path / "base.yaml").write_text("run: {optimizer: {name: sgd, lr: 0.1}}")
    (run,) = sweep_of(f"include: base.yaml\n{sections}", *overrides)
    assert run.config["optimizer"] == {"name": "sgd", "lr": lr}


def test_another_name_replaces_the_block_and_the_point_applies_on_top(sweep_of: Any) -> None:
    runs = sweep_of(
        """
        run: {optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
        grid: {optimizer.lr: [1, 2], optimizer.name: [sgd, adam]}
        """
    )
    assert [r.config["optimizer"] for r in runs] == [
        {"name": "sgd", "lr": 1, "momentum": 0.9},
        {"name": "adam", "lr": 1},
        {"name": "sgd", "lr": 2, "momentum": 0.9},
        {"name": "adam", "lr": 2},
    ]


def test_whole_blocks_as_grid_values(sweep_of: Any) -> None:
    runs = sweep_of(
        """
        run: {optimizer: {name: sgd, momentum: 0.9}}
        grid: {optimizer.lr: [1], optimizer: [{name: adam}, {name: sgd, a.b: 2}]}
        """
    )
    assert [r.config["optimizer"] for r in runs] == [
        {"name": "adam", "lr": 1},
        {"name": "sgd", "momentum": 0.9, "a": {"b": 2}, "lr": 1},
    ]


def test_arms_have_their_own_sections(sweep_of: Any) -> None:
    runs = sweep_of(
        """
        arms:
          plain: {}
          own:
            epochs: 3
            seeds: 1
            resources: {time: 1h}
            grid: {c: [7]}
            random: {trials: 1, space: {d: {int: [1, 9]}}}
            exclude: [{a: 1}]
        grid: {a: [1, 2]}
        random: {trials: 2, space: {b: {int: [1, 9]}}}
        seeds: 2
        resources: {time: 2h, nodes: 1}
        """
    )
    plain, own = [r for r in runs if r.arm == "plain"], [r for r in runs if r.arm == "own"]
    assert len(plain) == 2 * 2 * 2
    assert set(plain[0].point) == {"a", "b"}
    assert len(own) == 1
    assert set(own[0].point) == {"a", "c", "d"}
    assert own[0].point["a"] == 2
    assert own[0].config["epochs"] == 3
    assert own[0].resources == {"time": "1h", "nodes": 1}
    assert runs.excluded == 1
    assert runs.warnings == ()


def test_an_arm_can_switch_random_off_or_take_its_key_over(sweep_of: Any) -> None:
    text = "random: {trials: 3, space: {a: {int: [1, 9]}}}\narms: {x: %s, y: {}}"
    runs = sweep_of(text % "{random: null}")
    assert [r.trial for r in runs] == [None, 0, 1, 2]
    runs = sweep_of(text % "{grid: {a: [5]}}")
    assert [(r.trial, r.point["a"]) for r in runs if r.arm == "x"] == [(None, 5)]


def test_exclude_matches_after_interpolation_and_reports_what_matches_nothing(
    sweep_of: Any,
) -> None:
    runs = sweep_of(
        """
        run: {optimizer: {name: sgd}, half: "${div:${batch_size},2}"}
        grid: {batch_size: [2, 4], nesterov: [true, false]}
        exclude:
          - {half: 1, nesterov: true}
          - {optimizer: {name: sgd}, batch_size: 8}
          - {nesterov: 1}
        """
    )
    assert [(r.point["batch_size"], r.point["nesterov"]) for r in runs] == [
        (2, False),
        (4, True),
        (4, False),
    ]
    assert runs.excluded == 1
    assert [w.split("exclude: ")[1] for w in runs.warnings] == [
        "{optimizer: {'name': 'sgd'}, batch_size: 8} matches no run",
        "{nesterov: 1} matches no run",
    ]


def test_logspace_points_can_be_excluded_by_their_plain_value(sweep_of: Any) -> None:
    runs = sweep_of("grid: {lr: {logspace: [1e-3, 1, 4]}}\nexclude: [{lr: 0.01}]")
    assert [r.point["lr"] for r in runs] == [0.001, 0.1, 1]


def test_interpolated_coordinates_are_shown_evaluated(sweep_of: Any) -> None:
    runs = sweep_of("run: {b: 4}\ngrid: {lr: ['${mul:${b},0.1}', 3], c: ['x${seed}']}\nseeds: 2")
    assert points(runs) == [{"lr": lr, "c": f"x{seed}"} for lr in (0.4, 3) for seed in (0, 1)]


def test_resources_may_depend_on_the_run(sweep_of: Any) -> None:
    runs = sweep_of("grid: {b: [512, 1024]}\nresources: {nodes: '${int:${div:${b},512}}'}")
    assert [r.resources["nodes"] for r in runs] == [1, 2]


def test_without_anything_to_vary_there_is_one_run(sweep_of: Any) -> None:
    (run,) = sweep_of("run: {workload: x}")
    assert (run.arm, run.seed, run.point, run.trial) == ("", 0, {}, None)
    assert run.config == {"workload": "x", "seed": 0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optimizer: {lr: 1}", "optimizer: unknown key"),
        ("girds: {a: [1]}", "did you mean 'grid'?"),
        ("run: {seed: 1}", "use seeds"),
        ("grid: {seed: [1, 2]}", "use seeds"),
        ("arms: {a: {seed: 1}}", "use seeds"),
        ("run: 3", "run: expected a mapping"),
        ("grid: [1]", "grid: expected a mapping"),
        ("zip: {a: [1]}", "zip: expected a list of mappings"),
        ("exclude: [{}]", "exclude: expected a list of mappings"),
        ("run: {a..b: 1}", "is not a key"),
        ("grid: {lr: 0.1}", "grid.lr: expected a list of values"),
        ("grid: {lr: []}", "no values"),
        ("grid: {lr: {logspce: [1, 2, 3]}}", "did you mean 'logspace'?"),
        ("zip: [{a: [1, 2], b: [1, 2, 3]}]", "a has 2, b has 3"),
        ("grid: {a: [1]}\nzip: [{a: [2]}]", "grid.a: varied twice, in grid and zip"),
        ("zip: [{a: [1]}, {a: [2]}]", "zip.a: varied twice, in zip"),
        ("arms: {x: {grid: {a: [1]}, zip: [{a: [2]}]}}", "arms.x.grid.a: varied twice"),
        ("arms: {x: 3}", "arms.x: expected a mapping"),
        ("arms: {'a b': {}}", "a name is made of"),
        ("arms: {x: {run: {a: 1}}}", "directly under the arm's name"),
        ("arms: {x: {parallel: 1}}", "it holds for the whole sweep"),
        ("random: {trails: 1}", "did you mean 'trials'?"),
        ("seeds: 0", "1 to 10,000"),
        ("seeds: [1, 1]", "different integers"),
        ("seeds: true", "seeds: expected a number"),
        ("seeds: [-1]", "0 or more"),
        ("parallel: 0", "parallel: expected 1 or more, or null"),
        ("per_gpu: true", "per_gpu: expected 1 or more"),
        ("runs_per_task: some", "or auto, got 'some'"),
        ("minutes_per_run: .nan", "greater than 0"),
        ("name: a/b", "name: 'a/b': it is made of"),
        ("name: ../x", "name: '../x': it is made of"),
        ("name: /etc/x", "name: '/etc/x': it is made of"),
        ("name: '..'", "name: '..': it is made of"),
        ("arms: {../x: {}}", "a name is made of"),
        (
            "run: {v: ../../etc, data: {root: '/data/${v}'}}",
            "run.data.root: '/data/../../etc': no '..'",
        ),
        (
            "run: {v: ..}\ngrid: {data: [{root: a}, {root: '${v}/b'}]}",
            "grid.data.root: '../b': no '..'",
        ),
        ("compare: sgd", "compare: expected a mapping"),
        ("compare: {baselin: a}", "compare.baselin: unknown key (did you mean 'baseline'?)"),
        (
            "arms: {adam: {}}\ncompare: {baseline: adm}",
            "no arm of the sweep (did you mean 'adam'?)",
        ),
        ("compare: {baseline: a}", "the sweep has no arms"),
        ("compare: {paired: true}", "pairs need an arm to be compared with"),
        ("compare: {at: best}", "compare.at: should be 'last' or 'validation'"),
        (
            "arms: {a: {}, b: {seeds: 2}}\ncompare: {baseline: a, paired: true}",
            "compare.paired: arms with different seeds make no pairs",
        ),
        ("run: {a: '${b}'}", "run.a: ${b} is not among the keys of this run"),
        ("run: {a: 1}\nexclude: [{a: 1}]", "leaves no run of 1"),
        ("grid: {a: {range: 1000}, b: {range: 1000}}", "1,000,000 runs; a sweep has at most"),
        ("- a", "expected a mapping"),
        ("", "expected a mapping"),
    ],
)
def test_errors_name_file_and_key(text: str, says: str, sweep_of: Any) -> None:
    with pytest.raises(UserError) as error:
        sweep_of(text)
    assert says in str(error.value)
    assert "sweep.yaml: " in str(error.value)


def test_the_folder_of_data_is_free_when_written_out(sweep_of: Any) -> None:
    (run,) = sweep_of("run: {data: {root: ../data}}")
    assert run.config["data"]["root"] == "../data"
    (run,) = sweep_of("run: {v: mnist, data: {root: '/data/${v}..x'}}")
    assert run.config["data"]["root"] == "/data/mnist..x"


def test_the_comparison_is_no_part_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("arms: {a: {}, b: {}}\ncompare: {baseline: a}")
    assert read(path).protocol == Protocol("a", paired=False, at="last")
    assert read(path, ["compare.baseline=b", "compare.paired=true"]).protocol == Protocol("b", True)
    assert expand(read(path)) == expand(read(path, ["compare=null"]))


def test_all_unknown_keys_at_once(sweep_of: Any) -> None:
    with pytest.raises(UserError, match=r"(?s)epochs: unknown.*gird: unknown.*under run:"):
        sweep_of("epochs: 3\ngird: {}")


def test_top_level_values(tmp_path: Path) -> None:
    path = tmp_path / "my-sweep.v2.yaml"
    path.write_text("{}")
    sweep = read(path)
    assert (sweep.name, sweep.notes, sweep.path) == ("my-sweep.v2", "", str(path))
    assert (sweep.parallel, sweep.runs_per_task, sweep.per_gpu) == (None, "auto", 1)
    assert sweep.minutes_per_run is None
    path.write_text(
        "{name: 2026, notes: why, parallel: 64, runs_per_task: 4, per_gpu: 2, minutes_per_run: 0.5}"
    )
    sweep = read(path)
    assert (sweep.name, sweep.notes, sweep.parallel) == ("2026", "why", 64)
    assert (sweep.runs_per_task, sweep.per_gpu, sweep.minutes_per_run) == (4, 2, 0.5)


def test_origin_says_where_a_run_has_its_values_from(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("run: {epochs: 3, data: {root: x}}")
    path = tmp_path / "s.yaml"
    path.write_text(
        "include: base.yaml\n"
        "run: {optimizer: {name: sgd, lr: 1}}\n"
        "arms: {a: {schedule: {name: cosine}, grid: {optimizer.lr: [1]}}, b: {}}\n"
        "grid: {optimizer.lr: [2]}\n"
        "zip: [{batch_size: [1]}]\n"
        "random: {trials: 1, space: {model.width: {int: [1, 2]}}}\n"
    )
    sweep = read(path, ["precision=bf16"])
    assert sweep.origin("epochs", "a") == f"{tmp_path}/base.yaml: run.epochs"
    assert sweep.origin("data.rooot", "a") == f"{tmp_path}/base.yaml: run.data.rooot"
    assert sweep.origin("optimizer.lr", "a") == f"{path}: arms.a.grid.optimizer.lr"
    assert sweep.origin("optimizer.lr", "b") == f"{path}: grid.optimizer.lr"
    assert sweep.origin("optimizer.momentum", "b") == f"{path}: run.optimizer.momentum"
    assert sweep.origin("schedule.name", "a") == f"{path}: arms.a.schedule.name"
    assert sweep.origin("batch_size", "a") == f"{path}: zip.batch_size"
    assert sweep.origin("model.width", "b") == f"{path}: random.space.model.width"
    assert sweep.origin("precision", "b") == "command line: precision"
    assert sweep.origin("workload", "b") == f"{path}: run.workload"


@given(
    lengths=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    seeds=st.integers(1, 3),
    data=st.data(),
)
def test_the_grid_is_the_product_whatever_the_order_of_its_keys(
    lengths: list[int], seeds: int, data: st.DataObject, tmp_path: Path
) -> None:
    grid = {f"k{i}.v": list(range(n)) for i, n in enumerate(lengths)}
    shuffled = {key: grid[key] for key in data.draw(st.permutations(list(grid)))}
    path = tmp_path / "s.yaml"

    def runs(keys: dict[str, list[int]]) -> Expansion:
        path.write_text(f"grid: {keys}\nseeds: {seeds}")
        return expand(read(path))

    one, other = runs(grid), runs(shuffled)
    assert len(one) == math.prod(lengths) * seeds
    canonical = [sorted(str(sorted(r.config.items())) for r in runs) for runs in (one, other)]
    assert canonical[0] == canonical[1]
    assert len(set(canonical[0])) == len(one)
    expected = sorted(tuple(p.values()) for p in points(one))  # values grow: order is the product's
    assert [tuple(p.values()) for p in points(one)] == expected
    assert one == runs(grid)
