"""Whether all is well with the runs of benchmarks/chaos.py, and true what is shown of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._chaos_runs import MAX_RETRIES, command, runs_of
from benchmarks._storm import Storm
from benchmarks._trace import by_attempt, told
from launch.claims import STALE_SECONDS
from lrscale.lock import process_alive
from lrscale.run_dir import RunDir
from lrscale.run_state import BADLY, FINISHED, State
from lrscale.store import Store

# Shown of a run, they say that nobody will go on with it by itself.
OVER = frozenset({"failed", "lost", "missing", "cancelled"})
SECONDS_TO_DIE = 30.0  # that a cancelled job's processes are given on a busy machine
# For a batch script that has outlived its job's place in the queue, as after a slurmd that died.
SECONDS_TO_SETTLE = 60.0


@dataclass
class Findings:
    """What is not as it should be, a line each.

    Attributes:
        lost: runs that did not end by themselves.
        doubled: runs with a step or an evaluation on record twice, out of order or not at all.
        wrong: all else that differs from an undisturbed run's, was shown wrongly, or was done
            once more than needed.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Witness:
    """Looks at what ``status.py`` shows while there are faults.

    Attributes:
        looks: how often it did.
        over: of runs shown as OVER: as which, and the attempt that was the newest then.
    """

    tree: Path
    store: Store
    findings: Findings
    looks: int = 0
    over: dict[str, tuple[str, int]] = field(default_factory=dict)

    def look(self) -> None:
        """A run on which a process worked before and after must be shown at work."""
        before = self._at_work()
        shown = self.shown()
        after = self._at_work()
        for run, attempt in before.items() & after.items():
            if shown and shown[run] not in ("running", "silent"):
                self.findings.wrong.append(
                    f"{run}: shown as {shown[run]} while attempt {attempt} was at work"
                )
        for run, state in shown.items():
            if state in OVER:
                self.over[run] = (state, self.store.run(run).newest_attempt())
        self.looks += 1

    def shown(self) -> dict[str, str]:
        """Each run's state as a person sees it; empty, and a finding, when the command fails."""
        done = command(self.tree, "status.py", "--runs", self.store.root, "--json")
        if done.returncode != 0:
            self.findings.wrong.append(f"status.py: {done.stderr}")
            return {}
        return {
            run["id"]: run["state"] for sweep in json.loads(done.stdout) for run in sweep["runs"]
        }

    def look_back(self, storm: Storm) -> None:
        """When all is over: what was shown as over must have been, but for what was cancelled, or
        lost until another job had it brought back."""
        for run, (state, attempt) in self.over.items():
            newest = self.store.run(run).newest_attempt()
            if newest == attempt or run in storm.cancelled:
                continue
            if state != "lost" or not storm.brought_back(run):
                self.findings.wrong.append(
                    f"{run}: shown as {state} at attempt {attempt}, of {newest} in the end"
                )

    def _at_work(self) -> dict[str, int]:
        """The attempt, by run, whose process is there."""
        found = {}
        for run in runs_of(self.store).values():
            state = run.state() if run.exists() else None
            if state is not None and state.state == "running" and process_alive(state.pid):
                found[run.id] = state.attempt
        return found


def check_settled(storm: Storm, witness: Witness) -> None:
    """All has ended by itself, but for what was cancelled, which nothing has brought back, and for
    what Slurm has ended, which nobody is said to be at."""
    findings = witness.findings
    findings.lost += _unsettled(storm)
    shown = _shown_at_last(storm, witness)
    for (arm, _), run in runs_of(storm.store).items():
        name = _state(run)
        if run.id not in storm.cancelled:
            truth = {name, "lost"} if storm.ended_by_slurm(run.id) else {name}
            if shown.get(run.id) not in truth - {"running"}:
                findings.wrong.append(f"{run.id} is {name} and shown as {shown.get(run.id)}")
            continue
        # Its processes may have been killed before they knew. Then the accounting says so; where
        # that is late as well, the run is lost.
        known = name in (*_ends(arm), "cancelled", "missing")
        if not known and shown.get(run.id) not in ("cancelled", "lost"):
            findings.lost.append(f"{arm} {run.id} was cancelled and is {name}")
        late = storm.cancelled[run.id] + SECONDS_TO_DIE
        if any(begun[0].time > late for begun in by_attempt(told(storm.trace, run.id))):
            findings.wrong.append(f"{run.id} went on after it was cancelled")
    witness.look_back(storm)


def _shown_at_last(storm: Storm, witness: Witness) -> dict[str, str]:
    """What is shown once no cancelled run's last sign of life is recent: its node may have died a
    moment before it was cancelled, and then nobody could say more."""
    deadline = time.monotonic() + STALE_SECONDS + SECONDS_TO_DIE
    while True:
        shown = witness.shown()
        alive = any(shown.get(run) in ("running", "silent") for run in storm.cancelled)
        if not alive or time.monotonic() > deadline:
            return shown
        time.sleep(1)


def _unsettled(storm: Storm) -> list[str]:
    """What has not ended as it should, a line each; in the end."""
    deadline = time.monotonic() + SECONDS_TO_SETTLE
    while True:
        lines = [
            f"{arm} {run.id} is {_state(run)}"
            for (arm, _), run in runs_of(storm.store).items()
            if _state(run) not in _ends(arm)
            and run.id not in storm.cancelled
            and not storm.ended_by_slurm(run.id)
        ]
        if not lines or time.monotonic() > deadline:
            return lines
        time.sleep(1)


def _ends(arm: str) -> frozenset[str]:
    return frozenset({"failed"}) if arm == "doomed" else FINISHED


def _state(run: RunDir) -> str:
    state = run.state() if run.exists() else None
    return state.state if state else "missing"


def check_runs(calm: Store, storm: Storm, findings: Findings) -> None:
    """Every run against the one that nothing interrupted."""
    references = runs_of(calm)
    for key, run in runs_of(storm.store).items():
        name = f"{key[0]} {key[1]} ({run.id})"
        state, expected = run.state(), references[key]
        if state is None or (run.summary() is None and key[0] != "doomed"):
            findings.lost.append(f"{name}: {state}")
            continue
        if not in_order(run.metrics()):
            findings.doubled.append(name)
        for what, value in facts(run).items():
            if value != facts(expected)[what]:
                findings.wrong.append(f"{name}: {what}")
        findings.wrong += (f"{name}: {line}" for line in _miscounted(run.id, state, key[0], storm))


def _miscounted(run: str, state: State, arm: str, storm: Storm) -> Iterator[str]:
    """What is wrong with the number of attempts, or with the causes that are given for them."""
    afresh = run in storm.cancelled  # without a checkpoint
    if not afresh and sum(state.interruptions.values()) != state.attempt - 1:
        yield f"{state.attempt} attempts, and of these ended {state.interruptions}"
    hits = storm.hits[run] + storm.broken_starts(run)
    again = afresh + storm.ended_by_slurm(run)  # the forgetting takes a number
    tries = MAX_RETRIES * (1 + again) if arm == "doomed" else 0
    if state.attempt > 1 + hits + tries + again:
        yield f"hit {hits} times, attempt {state.attempt}"
    if arm == "doomed" and (state.retries != MAX_RETRIES or "times in a row" not in state.cause):
        yield f"tried again {state.retries} times: {state.cause}"
    if arm == "doomed" and sum(state.interruptions.get(end, 0) for end in BADLY) < MAX_RETRIES:
        yield f"ended {state.interruptions}"


def in_order(records: list[dict[str, Any]]) -> bool:
    """Every step and evaluation once, none before an earlier one."""
    step, evaluated = 0, -1
    for record in records:
        if record["kind"] == "steps":
            if record["step"] - len(record["loss"]) != step:
                return False
            step = record["step"]
        elif record["step"] <= evaluated:
            return False
        else:
            evaluated = record["step"]
    return True


def facts(run: RunDir) -> dict[str, Any]:
    """All that must not depend on what happened."""
    state, summary = run.state(), run.summary() or {}
    steps = [record for record in run.metrics() if record["kind"] == "steps"]
    evaluations = [record for record in run.metrics() if record["kind"] == "epoch"]
    clocks = ("seconds", "evaluation_seconds", "data_wait")
    return {
        "state": (state.state, state.step) if state else None,
        "weights": summary.get("weights"),
        "metrics": summary.get("metrics"),
        "mixed": summary.get("mixed"),
        "losses": [loss for record in steps for loss in record["loss"]],
        "rates": [rate for record in steps for rate in record["lr"]],
        "evaluations": [
            {key: value for key, value in record.items() if key not in clocks}
            for record in evaluations
        ],
        "predictions": run.predictions(),
    }
