"""A plugin on the cluster: what was queued with it keeps it."""

from __future__ import annotations

import shutil
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_an_edit_after_submission_changes_no_queued_run(launcher, slurm):
    lab = shutil.copytree(EXAMPLES / "my_lab", launcher.folder / "my_lab")
    run = {"workload": "tumours", "epochs": 1}
    sweep = launcher.sweep(plugins="my_lab/workloads.py", run=run)
    launcher.submit(sweep, "--profile", launcher.profile(sbatch={"hold": True}))
    (lab / "_signum.py").write_text("raise ValueError('edited')")
    (job,) = launcher.jobs()
    slurm.run("scontrol", "release", job)
    launcher.finish()
    assert launcher.counts() == {"done": 1}
    (done,) = launcher.runs()
    edited = launcher.submit(sweep, "--dry-run")
    assert "1  submit  new" in edited
    assert done.id[:10] not in edited
