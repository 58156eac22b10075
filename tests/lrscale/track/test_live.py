"""The live mirror, with the real client; the server is absent, or the client offline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lrscale.track.live import WINDOW, _Windows


def steps(last: int, count: int) -> dict[str, Any]:
    losses = [float(step) for step in range(last - count + 1, last + 1)]
    return {"kind": "steps", "step": last, "loss": losses, "lr": [0.1] * count}


@pytest.mark.parametrize("cuts", [[200], [1, 49, 50, 100], [7, 143, 50], [60, 60, 80]])
def test_windows_do_not_depend_on_how_the_records_were_cut(cuts: list[int]):
    windows, rows, last = _Windows(), [], 0
    for count in cuts:
        last += count
        rows += windows.rows(steps(last, count))
    assert [row["global_step"] for row in rows] == [WINDOW, 2 * WINDOW, 3 * WINDOW, 4 * WINDOW]
    assert [row["minibatch_loss"] for row in rows] == [25.5, 75.5, 125.5, 175.5]


def test_an_evaluation_is_a_row_at_its_step():
    record = {"kind": "epoch", "epoch": 2, "step": 74, "val_accuracy": 0.9}
    expected = {"epoch": 2, "val_accuracy": 0.9, "global_step": 74}
    assert _Windows().rows(record) == [expected]


MIRROR = """
import sys
from pathlib import Path
from lrscale.track.live import LiveTracker

record = {"config": {"workload": "digits_mlp"}, "sweep": "s", "arm": "a"}
tracker = LiveTracker("0123456789abcdef0123", record, Path(sys.argv[1]))
for last in range(1, 2001):
    tracker({"kind": "steps", "step": last, "loss": [0.5], "lr": [0.1]})
tracker({"kind": "epoch", "epoch": 1, "step": 2000, "val_accuracy": 0.9})
tracker.close()
"""


def mirror(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run's records to the real client, whose settings last as long as its process."""
    command = [sys.executable, "-c", MIRROR, str(folder)]
    env = os.environ | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def test_the_real_client_offline(tmp_path: Path):
    done = mirror(tmp_path / "wandb", WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    (log,) = (tmp_path / "wandb").rglob("run-0123456789abcdef0123.wandb")
    assert log.stat().st_size > 1000


def test_a_server_that_is_not_there_does_not_stop_a_run(tmp_path: Path):
    key = "0123456789" * 4
    done = mirror(
        tmp_path / "wandb",
        WANDB_BASE_URL="http://127.0.0.1:9",  # the discard port: nobody listens
        WANDB_API_KEY=key,
        WANDB_INIT_TIMEOUT="3",
    )
    assert done.returncode == 0, done.stderr
    assert "warning: Weights & Biases" in done.stderr
    assert key not in done.stdout + done.stderr
