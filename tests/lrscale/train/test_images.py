"""Runs on images: from memory and from files, resumed, shared out, and on damaged data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from image_folders import settle, write_images
from ranks import RankFailed, Runs, results
from torch.nn.functional import cross_entropy

from lrscale.config import decode, identity
from lrscale.control import Control
from lrscale.data import _loader
from lrscale.errors import UserError
from lrscale.run_dir import MetricsWriter
from lrscale.train import run
from lrscale.train.order import Order
from lrscale.workloads.imagenet import ImageNetResNet50

SMALL = {"name": "mlp", "width": 8, "second_width": None, "dropout": 0.3}
PATCHES: dict[str, Any] = {
    "workload": "photo_patches",
    "model": SMALL,
    "batch_size": 512,
    "epochs": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), train=16)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def on_files(root: Path, **more: Any) -> dict[str, Any]:
    data = {"root": str(root), "resolution": 16, "validation": 8, "workers": 0}
    return {
        "workload": "imagenet_resnet18",
        "model": SMALL,
        "data": data | more.pop("data", {}),
        "epochs": 2,
        "batch_size": 8,
        "precision": "no",
        "schedule": {"name": "cosine"},
        **more,
    }


def in_workers(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """In spite of this machine's cores."""
    monkeypatch.setattr(_loader, "default_workers", lambda asked: count)


# Resumed and shared out -------------------------------------------------------------------------


def test_augmented_on_the_device_a_resumed_run_is_the_same(runs: Runs) -> None:
    whole, cut = runs.new(PATCHES, "whole"), runs.new(PATCHES, "cut")
    runs.here(whole)
    runs.here(cut, cuts=[2, 4, 3])
    assert results(cut) == results(whole)


def test_from_files_a_resumed_run_is_the_same(
    runs: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it was cut, and in however many processes it decodes."""
    whole, cut = runs.new(on_files(folder), "whole"), runs.new(on_files(folder), "cut")
    runs.here(whole)
    in_workers(monkeypatch, 2)
    runs.here(cut, cuts=[1, 3, 3])
    assert results(cut) == results(whole)


def test_evaluation_over_ranks_is_exact(runs: Runs, folder: Path) -> None:
    """Training differs by rounding only, and in the end every example has counted once."""
    raw = on_files(folder, model=SMALL | {"dropout": 0.0}, eval_batch_size=5, data={"workers": 1})
    alone, shared = runs.new(raw, "alone"), runs.new(raw, "shared")
    runs.here(alone)
    runs.finish(shared, 2)
    for one, other in zip(results(alone)["epochs"], results(shared)["epochs"], strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_asked_to_stop_it_leaves_at_once(
    runs: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_workers(monkeypatch, 2)
    run_dir, control = runs.new(on_files(folder, epochs=500)), Control()
    monkeypatch.setattr(MetricsWriter, "write", lambda *_: setattr(control, "stop", "timeout"))
    outcome = run(decode(run_dir.record()["config"]), run_dir, control)
    assert (outcome.state, outcome.reason) == ("stopped", "timeout")
    assert outcome.step <= 4, outcome  # of 1,000


# What is on record ------------------------------------------------------------------------------


def test_the_share_of_time_spent_waiting_for_data(runs: Runs, folder: Path) -> None:
    from_files, in_memory = runs.new(on_files(folder)), runs.new(PATCHES)
    runs.here(from_files, cuts=[2])
    runs.here(in_memory)
    records = [r for r in from_files.metrics() if r["kind"] == "epoch"]
    assert all(0 < record["data_wait"] < 1 for record in records)
    summary = from_files.summary()
    assert summary is not None
    assert 0 < summary["data_wait"] < 1
    assert "data_wait" not in summary["metrics"]
    assert "damaged_files" not in summary
    assert {r["data_wait"] for r in in_memory.metrics() if r["kind"] == "epoch"} == {0.0}
    assert (in_memory.summary() or {})["data_wait"] == 0.0


def test_a_stall_shows(runs: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = _loader._Files.__getitem__

    def slow(self: Any, wanted: Any) -> Any:
        if wanted.key == (0, 1):  # in the second epoch
            time.sleep(0.2)
        return read(self, wanted)

    monkeypatch.setattr(_loader._Files, "__getitem__", slow)
    run_dir = runs.new(on_files(folder))
    runs.here(run_dir)
    _, second = [r["data_wait"] for r in run_dir.metrics() if r["kind"] == "epoch"]
    assert second > 0.6


# Damage -----------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """One training image for each of two ranks to meet, at least."""
    root = write_images(tmp_path / "damaged", train=16)
    for name in ("train/n00000000/n00000000_3.JPEG", "val/n00000001/n00000001_0.JPEG"):
        (root / name).write_bytes((root / name).read_bytes()[:100])
        settle((root / name).parent)
    return root


def test_a_damaged_image_ends_the_run_and_is_named(runs: Runs, damaged: Path) -> None:
    with pytest.raises(UserError, match=r"damaged image: .*n0000000\d_\d\.JPEG"):
        runs.here(runs.new(on_files(damaged)))


def test_or_is_replaced_named_and_counted(runs: Runs, damaged: Path) -> None:
    raw = on_files(damaged, data={"on_damage": "skip"})
    summaries = []
    for name in ("alone", "shared"):
        run_dir = runs.new(raw, name)
        if name == "alone":
            runs.here(run_dir, cuts=[3, 3])
        else:
            runs.finish(run_dir, 2)
        summary = run_dir.summary()
        assert summary is not None
        summaries.append(summary["damaged_files"])
    assert [line.partition(": ")[0][len(str(damaged)) :] for line in summaries[0]] == [
        "/train/n00000000/n00000000_3.JPEG",
        "/val/n00000001/n00000001_0.JPEG",
    ]
    assert summaries[1] == summaries[0]


def test_other_ranks_do_not_wait_for_one_that_met_damage(runs: Runs, damaged: Path) -> None:
    with pytest.raises(RankFailed, match=r"damaged image|Connection|closed|died"):
        runs.finish(runs.new(on_files(damaged)), 2)


# Options of the loss and of evaluations ---------------------------------------------------------


def test_label_smoothing_is_of_the_training_loss_only(runs: Runs) -> None:
    raw = PATCHES | {"model": SMALL | {"dropout": 0.0}, "epochs": 1}
    plain, smooth = runs.new(raw), runs.new(raw | {"label_smoothing": 0.1})
    for run_dir in (plain, smooth):
        runs.here(run_dir)
    outputs, targets = torch.randn(7, 5), torch.randint(5, (7,))
    workload = ImageNetResNet50()
    sums = workload.sums(outputs, targets)
    workload.label_smoothing = 0.1
    expected = cross_entropy(outputs, targets, label_smoothing=0.1)
    assert torch.equal(workload.loss(outputs, targets), expected)
    assert workload.sums(outputs, targets) == sums
    first = [results(run_dir)["losses"][0] for run_dir in (plain, smooth)]
    assert first[0] != first[1]
    assert first[0] == pytest.approx(first[1], rel=0.05)
    assert identity(decode(raw)) == identity(
        decode(raw | {"label_smoothing": 0, "eval_train": None})
    )


def test_an_evaluation_may_look_at_some_training_examples_only(runs: Runs) -> None:
    """Evenly spread, the same each time, and all of the other splits."""
    raw = PATCHES | {"epochs": 1, "eval_batch_size": 100}
    whole, some = runs.new(raw, "whole"), runs.new(raw | {"eval_train": 90}, "some")
    for run_dir in (whole, some):
        runs.here(run_dir)
    one, other = results(whole)["epochs"][0], results(some)["epochs"][0]
    assert one["train_accuracy"] != other["train_accuracy"]
    assert other["train_accuracy"] * 90 == pytest.approx(round(other["train_accuracy"] * 90))
    for key in one.keys() - {"train_loss", "train_accuracy"}:
        assert other[key] == one[key]
    assert results(whole)["weights"] == results(some)["weights"]
    all_of_them = runs.new(raw | {"eval_train": 10**6}, "all")
    runs.here(all_of_them)
    assert results(all_of_them)["epochs"] == results(whole)["epochs"]


def test_ranks_share_out_the_examples_looked_at() -> None:
    orders = [Order(100, 10, 1, 0, rank, 2) for rank in range(2)]
    places = torch.arange(7) * 100 // 7
    seen = [places[torch.cat(order.shard(7, 2))].tolist() for order in orders]
    assert sorted(seen[0] + seen[1]) == places.tolist()
    assert all(seen)
