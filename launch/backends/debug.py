"""One run in this process, in the foreground: breakpoints work, output goes to the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch.job import execute
from lrscale.control import Control, Outcome
from lrscale.store import Store


def run(
    store: Store, run_id: str, record: Mapping[str, Any], threads: int, max_steps: int | None
) -> Outcome | None:
    """Carry out or resume one run here; None when another process has taken it over.

    Args:
        record: what its ``config.json`` holds.
        threads: as many as the local pool would give it, for the same numbers to the last digit.
        max_steps: leave after so many steps of this process, saved; the same command goes on.
    """
    import torch

    torch.set_num_threads(threads)
    if not store.run(run_id).exists():
        store.run(run_id).create(record)
    control = Control(max_steps=max_steps, heartbeat_seconds=1.0)
    control.listen()
    return execute(store, run_id, control)
