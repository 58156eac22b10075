"""One optimizer step of each kind of run, on this machine's CPU: what only a trial can tell."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from typing import Any

from launch.preflight import Refusal, Run, refusal
from launch.sweep import Sweep
from lrscale.config import encode
from lrscale.control import Control
from lrscale.errors import Problem, UserError
from lrscale.plugins import place_of
from lrscale.store import Store

COMPONENTS = ("model", "optimizer", "schedule")  # whose names make a kind of run
STEP_BATCH = 64  # examples of a micro-batch in a trial step


def step_check(runs: Sequence[Run], sweep: Sweep) -> list[Refusal]:
    """Carry out one optimizer step of each distinct kind of run, on this machine's CPU.

    A kind is a workload with its model, optimizer and schedule, by name. The runs go through
    their own trainer, in a store of their own that is thrown away; batches are cut to 64.
    """
    kinds: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        names = (type(getattr(run.config, name, None)).__name__ for name in COMPONENTS)
        kinds.setdefault((run.config.workload, *names), []).append(run)
    refusals = []
    for alike in kinds.values():
        message = _failing_step(alike[0].config)
        if message:
            where = sweep.origin("workload", alike[0].arm)
            problem = Problem("workload", message, "found by --check: one step on the CPU")
            refusals.append(refusal(where, problem, alike, len(runs)))
    return refusals


def _failing_step(config: Any) -> str | None:
    """What goes wrong within one step; None when nothing does."""
    from launch.job import trainer  # imports torch

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.create()
        run_dir = store.run("check")
        run_dir.create({"config": encode(config)})
        try:
            outcome = trainer(config.workload).run(_small(config), run_dir, Control(max_steps=1))
        except UserError as error:
            return str(error)
        except Exception as error:
            place = place_of(error)
            return f"{type(error).__name__}: {error}" + (f" (raised in {place})" if place else "")
    return "the first loss is not finite" if outcome.state == "diverged" else None


def _small(config: Any) -> Any:
    """The configuration for a single step on the CPU, small and without tracking."""
    changes = {"device": "cpu", "precision": "no", "track": None}
    kept = {name: value for name, value in changes.items() if hasattr(config, name)}
    if hasattr(config, "batch_size"):
        share = min(config.batch_size // config.accumulation, STEP_BATCH)
        kept["batch_size"] = share * config.accumulation
    return dataclasses.replace(config, **kept)
