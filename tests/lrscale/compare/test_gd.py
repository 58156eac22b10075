from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lrscale import theory
from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.figures import draw
from lrscale.compare.gd_figures import settings_name
from lrscale.compare.gd_runs import GDRun, counted, is_gd, load_gd, scanned, spread, traced
from lrscale.compare.gd_sheets import end_of, plateau, predicted_plateau, sheets
from lrscale.compare.load import load_runs
from lrscale.config import decode, encode, identity
from lrscale.control import Control
from lrscale.store import Store

MakeSweep = Callable[..., Store]
SMALL = {"workload": "gd", "epochs": 100, "dim": 4, "rank": 2, "sharpness_per_decade": 1}
SMALL |= {"input": {"name": "gaussian", "samples": 8}}
LEVELS = [3.0, 1.0, 0.25, 0.0]


def carried_out(root: Path, points: Sequence[dict[str, Any]]) -> tuple[Store, Comparison]:
    """Real runs, one for each point, as a sweep of two seeds; the last one is left unstarted."""
    store = Store(root)
    store.create()
    entries = []
    for point in points:
        for seed in (0, 1):
            config = decode(SMALL | point | {"seed": seed})
            run = store.run(identity(config))
            entries.append({"id": run.id, "arm": None, "seed": seed, "point": point, "trial": None})
            if (point, seed) != (points[-1], 1):
                run.create({"config": encode(config)})
                theory.run(config, run, Control())
    manifest = {"name": "demo", "notes": "", "runs": entries}
    store.write_sweep("demo", manifest)
    return store, compare(load_runs(store, manifest), manifest)


def a_run(losses: Sequence[float], epochs: Sequence[int], **changes: Any) -> GDRun:
    records = pd.DataFrame({"epoch": epochs, "loss": losses, "eta": 1e-5}).set_index("epoch")
    config = {"depth": 2, "dim": 70, "rank": 35, "epochs": 10**6, "activation": "linear"}
    config |= {"dtype": "float32", "step_size": {"name": "bound"}, "start": {"name": "balanced"}}
    found = GDRun("1f", "all", 0, "done", 3, config, records, {"saddle_levels": LEVELS}, 2.0)
    return replace(found, **changes)


def test_the_published_file_name() -> None:
    """``Loss_evolution_linear_constantetak_linear_d70_r35_stepsize0_00003_epochs1000000.png``."""
    runs = []
    for depth, eta in ((2, 7e-4), (3, 1.4e-4), (5, 2.6e-5)):
        run = a_run([1.0], [0])
        runs.append(
            replace(run, config=run.config | {"depth": depth}, records=run.records.assign(eta=eta))
        )
    known = "linear_constantetak_linear_d70_r35_stepsize0_00003_epochs1000000"
    assert settings_name(runs) == known
    step = {"name": "decreasing", "exponent": 0.5}
    decreasing = [replace(run, config=run.config | {"step_size": step}) for run in runs]
    assert settings_name(decreasing) == known.replace("constant", "decreasing0_5")


def test_the_plateau_is_the_flattest_place_near_the_last_saddle() -> None:
    epochs = [0, 10, 100, 1000, 2000, 4000, 8000, 10000]
    run = a_run([9, 5, 1, 0.3, 0.27, 0.26, 0.2, 1e-4], epochs)
    assert predicted_plateau(run) == 0.25
    seen = plateau(run)
    assert (seen.level, seen.end) == (0.27, 4000)


def test_a_loss_that_falls_straight_past_the_saddle_has_no_plateau() -> None:
    epochs = [10**k for k in range(6)]
    assert pd.isna(plateau(a_run([4.0 / k for k in epochs], epochs)).level)


@pytest.mark.parametrize(
    ("losses", "state", "end"),
    [
        ([9, 1e-3, 1e-5], "done", "global minimum"),
        ([9, 1.001, 1.0005], "done", "at a saddle"),
        ([9, 1.1, 1.0005], "done", "in between"),
        ([9, 0.6, 0.6], "done", "in between"),
        ([9, 1e-3, 1e-5], "diverged", "diverged"),
        ([9, 1e-3, 1e-5], "running", "unfinished"),
    ],
)
def test_ends(losses: list[float], state: str, end: str) -> None:
    assert end_of(a_run(losses, [0, 500, 1000], state=state)) == end


def test_a_spread_is_over_what_is_finite() -> None:
    assert spread([3.0, 1.0, float("nan"), 2.0]) == "2 (1 to 3)"
    assert spread([2.0]) == "2"
    assert spread([float("inf")]) == "–"


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Comparison]:
    decreasing = {"step_size": {"name": "decreasing", "exponent": 0.5}}
    return carried_out(
        tmp_path_factory.mktemp("gd") / "runs",
        [{"depth": 2}, {"depth": 2, "dtype": "float32"}, {"depth": 3}, {"depth": 2} | decreasing],
    )


def test_trajectories(trajectories: tuple[Store, Comparison], tmp_path: Path) -> None:
    store, comparison = trajectories
    assert is_gd(comparison.runs)
    runs = load_gd(store, comparison)
    assert len(runs) == len(traced(runs)) == 7
    assert not counted(runs)
    (sheet,) = sheets(runs)
    assert [row[:3] for row in sheet.rows] == [
        ["linear", "constant", "2"],
        ["linear", "constant", "3"],
        ["linear", "decreasing, a = 0.5", "2"],
    ]
    assert all(row[sheet.headers.index("× bound")] == "1" for row in sheet.rows)
    floors = [sheet.headers.index(f"last loss, float{bits}") for bits in (64, 32)]
    assert [[row[k] == "–" for k in floors] for row in sheet.rows] == [
        [False, False],
        [False, True],
        [False, True],
    ]
    assert sheet.frame["drift_residual"].max() < 1e-13
    assert sheet.frame["last_loss"].tolist() == [run.measured("loss") for run in runs]
    made = draw(store, comparison, tmp_path)
    names = {paths[0].name.split("_linear")[0] for paths in made.values()}
    assert names == {
        "Loss_evolution",
        "Parameterized_matrix_norms_comparison",
        "Loss_against_sum_of_steps.png",
    }
    assert len(made) == 5  # the constant and the decreasing rule, two each, and the sum
    assert all(path.exists() for paths in made.values() for path in paths)


def test_a_scan(tmp_path: Path) -> None:
    edge = {"name": "edge", "resolution": 1.5, "scan_epochs": 300}
    store, comparison = carried_out(
        tmp_path / "runs",
        [{"step_size": edge}, {"step_size": edge, "activation": "relu"}],
    )
    runs = load_gd(store, comparison)
    assert len(scanned(runs)) == 3
    (sheet,) = sheets(runs)
    for row in sheet.frame.to_dict("records"):
        assert row["bound"] < row["converges"] < row["fails"] <= 1.5001 * row["converges"]
        assert row["two_over_least"] <= row["two_over_last"]
    made = draw(store, comparison, tmp_path)
    assert {paths[0].name for paths in made.values()} == {"edge.png", "edge_sharpness.png"}


def test_many_starts_are_counted(
    trajectories: tuple[Store, Comparison], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrscale.compare.gd_runs.MANY", 2)
    store, comparison = trajectories
    runs = load_gd(store, comparison)
    assert len(counted(runs)) == 7
    counts = next(sheet for sheet in sheets(runs) if sheet.name == "gd_counts")
    planned = [sum(int(cell) for cell in row[4:]) for row in counts.rows]
    assert planned == [2, 2, 2, 1]  # a run that has not begun is not counted
    assert "balance.png" in {paths[0].name for paths in draw(store, comparison, tmp_path).values()}


def test_other_sweeps_have_none_of_this(make_sweep: MakeSweep) -> None:
    store = make_sweep()
    manifest = store.read_sweep("demo")
    assert not is_gd(load_runs(store, manifest))
