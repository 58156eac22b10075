"""Weights & Biases, live from rank 0: a mirror that can neither stop nor slow training.

The training process only puts records into a queue; a thread of its own starts the W&B run and
logs. Whatever fails there is reported once, and the run store has everything all the same.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]

PROJECT = "lrscale"  # unless WANDB_PROJECT says otherwise
WINDOW = 50  # optimizer steps whose mean loss is one row
MAX_WAITING = 10_000  # records that wait for a slow server; what comes then is dropped
CLOSE_SECONDS = 30.0  # to send what waits when the run ends


class LiveTracker:
    """Mirrors one run. Made anywhere, idle until the first record.

    Args:
        run_id: lrscale's id, which W&B knows the run by as well: a resumed run goes on there.
        record: the run's ``config.json``: ``config``, and ``sweep`` and ``arm`` if it has them.
        folder: where W&B keeps its files.
    """

    def __init__(self, run_id: str, record: Record, folder: Path) -> None:
        self._id, self._record, self._folder = run_id, record, folder
        self._waiting: queue.Queue[Record | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def __call__(self, record: Record) -> None:
        """Take note of a record that was written to the run's metrics."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Send what waits, for half a minute at most."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=CLOSE_SECONDS)
            self._thread.join(CLOSE_SECONDS)
        except queue.Full:
            self._dropped += self._waiting.qsize()
        if self._dropped or self._thread.is_alive():
            _warn(f"not everything was sent ({self._dropped} records dropped)")

    # --- in the thread

    def _work(self) -> None:
        try:
            self._mirror()
        except Exception as error:  # nothing that W&B does may end a run
            _warn(f"{type(error).__name__}: {error}; the run goes on without")
            self._discard()

    def _mirror(self) -> None:
        run = self._start()
        held = int(run.summary.get("global_step", -1))
        windows = _Windows()
        while (record := self._waiting.get()) is not None:
            for row in windows.rows(record):
                if row["global_step"] > held or "epoch" in row:
                    run.log(row)
        run.finish()

    def _start(self) -> Any:
        import wandb

        self._folder.mkdir(exist_ok=True, mode=0o700)
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=self._id,
            resume="allow",
            group=self._record.get("sweep"),
            job_type=self._record.get("arm") or None,
            config=dict(self._record["config"]),
            dir=str(self._folder),
            settings=wandb.Settings(silent=True, console="off"),
        )
        run.define_metric("*", step_metric="global_step")
        return run

    def _discard(self) -> None:
        while self._waiting.get() is not None:
            self._dropped += 1


class _Windows:
    """Rows from records: the mean loss of each WINDOW steps, and every evaluation."""

    def __init__(self) -> None:
        self._losses: list[float] = []

    def rows(self, record: Record) -> list[dict[str, Any]]:
        """Windows end at multiples of WINDOW, wherever the records were cut."""
        if record["kind"] == "epoch":
            row = {name: value for name, value in record.items() if name not in ("kind", "step")}
            return [row | {"global_step": record["step"]}]
        if record["kind"] != "steps":
            return []
        rows = []
        first = record["step"] - len(record["loss"]) + 1
        for step, (loss, lr) in enumerate(zip(record["loss"], record["lr"], strict=True), first):
            self._losses.append(loss)
            if step % WINDOW == 0:
                mean = sum(self._losses) / len(self._losses)
                rows.append({"global_step": step, "minibatch_loss": mean, "lr": lr})
                self._losses = []
        return rows


def _warn(text: str) -> None:
    print(f"warning: Weights & Biases: {text}", file=sys.stderr, flush=True)
