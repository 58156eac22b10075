"""Jobs that Slurm has ended with their batch scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

PLAIN = {"name": "sgd", "lr": 0.1, "momentum": 0.9}


@pytest.mark.parametrize("watched", [False, True])
def test_a_job_that_nobody_is_left_to_requeue(planted, slurm, reference, watched):
    """Another sweep's has that done as it ends, or while it works; what was cancelled stays so."""
    if watched:
        rescue = planted.tree / "launch" / "rescue.py"
        often = rescue.read_text().replace("= 120.0", "= 2.0").replace("= 60.0,", "= 1.0,")
        rescue.write_text(often)
    flags = {arm: planted.folder / arm for arm in ("killed", "cancelled", "other")}

    def arm(flag: Path, epochs: int) -> dict[str, object]:
        flag.touch()
        slow = PLAIN | {"name": "slow", "seconds": 1.0, "slow_while": str(flag)}
        return {"optimizer": slow, "epochs": epochs}

    arms = {name: arm(flag, epochs) for epochs, (name, flag) in enumerate(flags.items(), 1)}
    planted.submit(planted.sweep("other", arms={"other": arms.pop("other")}))
    planted.submit(planted.sweep(arms=arms, runs_per_task=1))
    other, array = planted.jobs()
    runs = dict(zip(flags, [*planted.runs(), *planted.runs("other")], strict=True))
    for run in runs.values():
        planted.wait_for_state(run, "running")
    slurm.run("scancel", f"{array}_1")
    planted.wait_for_state(runs["cancelled"], "cancelled")
    slurm.kill(f"{array}_0")
    flags["killed"].unlink()
    if not watched:
        slurm.wait_until(lambda: not slurm.squeue("-j", array), 60, "two have ended")
        flags["other"].unlink()
    planted.wait_for_state(runs["killed"], "done")
    assert flags["other"].exists() is watched
    flags["other"].unlink(missing_ok=True)
    planted.finish()
    assert planted.counts() == {"cancelled": 1, "done": 1}
    assert f"Slurm has ended {array}_0 with its batch script" in planted.log(other)
    state = runs["killed"].state()
    assert (state.attempt, state.interruptions) == (2, {"killed": 1})
    undisturbed = reference(epochs=1, optimizer=PLAIN).summary()
    assert runs["killed"].summary()["weights"] == undisturbed["weights"]
