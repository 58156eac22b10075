from __future__ import annotations

import json

import pandas as pd
import pytest

from lrscale.compare.protocol import Protocol
from lrscale.compare.study.data import SweepData, load
from lrscale.compare.study.file import TableSpec, study_of
from lrscale.compare.study.page import page
from lrscale.compare.study.tables import Cost, Table, table
from lrscale.errors import UserError


def runs(quick: bool = False) -> SweepData:
    """sgd at two rates and adam at one, three seeds: accuracies .8 + rate ± .01."""
    rows = [
        {
            "id": f"{arm}{rate}{seed}", "arm": arm, "seed": seed, "state": "done", "cause": "",
            "point": json.dumps({"optimizer.lr": rate}), "config.optimizer.lr": rate,
            "config.workload": "mnist_mlp", "config.data.name": "mnist", "config.quick": quick,
            "data": "MNIST", "metrics.val_accuracy": 0.8 + rate + 0.01 * (seed - 1),
            "metrics.test_accuracy": 0.7 + rate + 0.01 * (seed - 1),
        }
        for arm, rates in {"sgd": [0.01, 0.1], "adam": [0.01]}.items()
        for rate in rates
        for seed in range(3)
    ]  # fmt: skip
    return load("s", pd.DataFrame(rows), Protocol(baseline="adam"), [])


def cost(sweep: str, arm: str) -> Cost:
    return Cost(18, 72.4)


def only(spec: TableSpec, data: SweepData) -> Table:
    (made,) = table(spec, {"s": data}, cost)
    return made


def test_the_best_point_of_each_arm() -> None:
    made = only(TableSpec("best", "s"), runs())
    assert made.headers == ["arm", "chosen", "n", "validation accuracy (%)", "test accuracy (%)"]
    assert made.rows == [
        ["sgd", "lr 0.1", "3", "90.00 ± 1.00", "80.00 ± 1.00"],
        ["adam", "lr 0.01", "3", "81.00 ± 1.00", "71.00 ± 1.00"],
    ]
    assert made.note.count("highest of its grid (0.01 to 0.1): the best may lie beyond.") == 1


def test_groups_show_the_spread_or_how_many() -> None:
    show = {"test": "100 * `metrics.test_accuracy`", "good": "`metrics.test_accuracy` > 0.795"}
    made = only(TableSpec("groups", "s", ["arm", "config.optimizer.lr"], show=show), runs())
    assert made.headers == ["arm", "lr", "runs", "test", "good"]
    assert made.rows == [
        ["adam", "0.01", "3", "71 (70 to 72)", "0"],
        ["sgd", "0.01", "3", "71 (70 to 72)", "0"],
        ["sgd", "0.1", "3", "80 (79 to 81)", "2"],
    ]
    some = only(TableSpec("groups", "s", where="arm == 'adam'", show=show), runs())
    assert [row[0] for row in some.rows] == ["adam"]


def test_the_difference_to_the_baseline() -> None:
    made = only(TableSpec("differences", "s"), runs())
    assert made.rows[0][:2] == ["sgd", "+9.00"]
    assert "test set ±" not in made.headers  # nothing stands in it: the answers do not ship
    assert "Test set ±" not in made.note


@pytest.mark.parametrize(
    ("data", "ours"),
    [
        (runs(), ["80.00 ± 1.00 (test accuracy, 3 seeds)"]),
        (runs(quick=True), ["not run", "18 runs, 72 GPU-hours"]),
    ],
)
def test_published_numbers_beside_ours(data: SweepData, ours: list[str]) -> None:
    row = {"what": "SGD", "published": "95.5", "source": "x", "sweep": "s", "arm": "sgd"}
    made = only(TableSpec("published", rows=[{**row, "about": "mnist"}]), data)
    assert made.rows == [["SGD", "95.5", "x", *ours]]
    other = only(TableSpec("published", rows=[{**row, "about": "cifar10"}]), data)
    assert other.rows[0][3] == "not run"


def test_text_asks_the_runs_for_numbers() -> None:
    study = study_of({
        "title": "T", "sweeps": {"s": ["x"]}, "claims": [], "sections": [],
        "intro": "{{ count('s', \"arm == 'sgd'\") }} runs, {{ mean('s', '`metrics.test_accuracy`', "
        "\"arm == 'adam'\", percent=True) }} %, at most {{ greatest('s', 'seed', digits=2) }}; "
        "{{ cost('s') }} | and {{ least('s', 'seed', 'seed > 7') }}",
    })  # fmt: skip
    made = page("t", "python x", study, {"s": runs()}, cost)
    assert "6 runs, 71.00 %, at most 2; 18 runs, 72 GPU-hours | and –" in made
    with pytest.raises(UserError, match="needs the runs of s"):
        page("t", "python x", study, {}, cost)
