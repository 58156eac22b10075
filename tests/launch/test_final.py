"""``submit.py SWEEP --final N`` on this machine."""

from __future__ import annotations

import json

from local_launcher import LocalLauncher

from launch import report
from lrscale.compare.render.json import as_json
from lrscale.predictions import unpack
from lrscale.run_dir import RunDir

SWEEP = """
name: small
run: {workload: digits_mlp, epochs: 1, batch_size: 200}
arms: {sgd: {optimizer: {name: sgd}}, adam: {optimizer: {name: adam}}}
grid: {optimizer.lr: [0.001, 0.01]}
seeds: [0, 7]
compare: {baseline: sgd}
resources: {gpus_per_node: 0, cpus_per_task: 1}
"""


def test_the_chosen_points_run_on_seeds_of_their_own(local: LocalLauncher) -> None:
    sweep = local.folder / "small.yaml"
    sweep.write_text(SWEEP)
    local.submit(sweep)
    refused = local.submit(sweep, "--final", "2", "seeds=1", code=2)
    assert "ask for other runs than those of small in the run store" in refused
    assert local.store.sweep_names() == ["small"]  # nothing was frozen by mistakes

    output = local.submit(sweep, "--final", "2")
    assert "small.final: 4 runs" in output
    assert "Difference in test accuracy to sgd" in output
    manifest = local.store.read_sweep("small.final")
    assert {entry["seed"] for entry in manifest["runs"]} == {8, 9}
    selection = manifest["selection"]
    chosen = {choice["arm"]: choice["point"] for choice in selection["chosen"]}
    assert {e["arm"]: e["point"] for e in manifest["runs"]} == chosen
    again = local.submit(sweep, "--final", "3")
    assert "4  skip    done" in again
    assert "2  submit  new" in again
    assert local.store.read_sweep("small.final")["selection"] == selection

    comparison = report.load(local.store, ["small.final"])  # the whole, by either name
    names = [sheet.name for sheet in comparison.sheets]
    assert comparison.sweep == "small"
    assert names[:2] == ["means", "differences"]
    json.dumps(as_json(comparison, comparison.sheets), allow_nan=False)
    (difference,) = comparison.sheets[1].frame.to_dict("records")
    assert difference["n"] == 3
    assert difference["test_error"] > 0

    selection["runs"] = selection["runs"][1:]
    local.store.write_sweep("small.final", manifest | {"selection": selection})
    assert "frozen from other runs; to choose again, remove" in local.submit(
        sweep, "--final", "2", code=2
    )

    for run in local.runs():
        check_answers(run)


def check_answers(run: RunDir) -> None:
    """They are those that the accuracy counts."""
    content, summary = run.predictions(), run.summary()
    assert content is not None
    assert summary is not None
    found = unpack(content)
    assert len(found.answers) == summary["examples"]["test"] == len(found.correct)
    assert found.correct.mean() == summary["metrics"]["test_accuracy"]
    assert set(found.answers) <= set(range(10))
    assert len(list(run.path.iterdir())) <= 8
