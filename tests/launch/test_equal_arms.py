"""Arms that are the same: how often a report tells one from another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from local_launcher import LocalLauncher

from lrscale.compare.difference import ALPHA, holm, measure
from lrscale.compare.load import load_runs

TRAINED = """
name: equal
run: {workload: digits_mlp, epochs: 2, optimizer: {name: sgd, lr: 0.1}}
seeds: 20
parallel: 2
resources: {gpus_per_node: 0, cpus_per_task: 1}
"""


def test_errors_and_coverage_simulated() -> None:
    """benchmarks/error_rates.py in small: its bounds widen with fewer tables."""
    script = Path(__file__).parents[2] / "benchmarks" / "error_rates.py"
    command = [sys.executable, script, "--tables", "2000", "--sweeps", "12", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)["results"]
    worst, *others = results
    assert 3 < worst["value"] < worst["target"] < 6
    bias = {key: v for r in others for key, v in r["details"].items() if "less the true" in key}
    shared = [v for r in others for key, v in r["details"].items() if "the same" in key]
    assert len(bias) == len(shared) == 3
    assert max(map(abs, bias.values())) < 0.1 < np.mean(shared)  # in points


def test_arms_of_trained_runs_that_differ_in_their_seeds(local: LocalLauncher) -> None:
    """Twenty runs of one configuration, dealt to three arms over and over: at most one deal in
    twenty shows a difference. A deal that shifts an arm by three deviations nearly always does."""
    local.submit(local.sweep(TRAINED, "equal.yaml"), "--backend", "local")
    runs = load_runs(local.store, local.store.read_sweep("equal"))
    accuracies = runs["metrics.test_accuracy"].to_numpy(dtype=float)
    assert len(set(accuracies)) > 5
    rng = np.random.default_rng(0)
    dealt = np.stack([rng.permutation(accuracies)[:15].reshape(3, 5) for _ in range(4000)], axis=1)
    assert 0.005 < _share_shown(dealt) < ALPHA + 0.01
    dealt[1] += 3 * accuracies.std()
    assert _share_shown(dealt) > 0.5


def _share_shown(arms: np.ndarray) -> float:
    """``arms``: (arms, tables, seeds)."""
    p = holm([m.p for m in measure(list(arms), paired=False)])
    return float((p < ALPHA).any(axis=0).mean())
