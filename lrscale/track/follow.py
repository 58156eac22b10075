"""Mirrors one run live: a process beside the training, which reads what the training records.

    python -m lrscale.track.follow STORE RUN_ID        until its standard input ends

It shares nothing with the training but the run's folder, so that nothing which W&B does, or does
not do, can reach the training. What it sends is what ``launch/publish.py`` would send later.
"""

from __future__ import annotations

import os
import select
import sys
import time
from pathlib import Path

from lrscale.control import ignore_signals
from lrscale.store import Store
from lrscale.track.cursor import Cursors
from lrscale.track.mirror import Mirror, check_held, rows_of
from lrscale.track.server import Held, Server, first_line

LOOK_SECONDS = 10.0  # between two looks at the run's folder
TOUCH_SECONDS = 60.0  # between two touches of the lock
SHARE = 0.003  # of a core, at most, goes into looking
CLAIM_SECONDS = 3600.0  # to wait for a publisher, or another attempt's mirror, to let go


def main() -> int:
    """Exit code: 0, or 1 when the mirror was given up; why is said on standard error."""
    ignore_signals()  # Slurm signals every process of a step; the training says when to stop
    store, run_id = Store(sys.argv[1]), sys.argv[2]
    try:
        _follow(store, run_id)
    except Exception as error:  # whatever it is, it is not the training's business
        print(f"warning: Weights & Biases: {first_line(error)}", file=sys.stderr, flush=True)
        return 1
    return 0


def _follow(store: Store, run_id: str) -> None:
    cursors, run_dir = Cursors(store), store.run(run_id)
    record = run_dir.record()
    with cursors.claim(run_id, CLAIM_SECONDS) as lock, cursors.scratch() as folder:
        server = Server()
        cursor = cursors.read(run_id, server.target)
        held = server.held([cursor.wandb_id]).get(cursor.wandb_id, Held())
        every, _ = rows_of(run_dir, record["config"])
        held = check_held(held, every, lambda: server.steps(cursor.wandb_id))
        tags = sorted({*held.tags, *filter(None, [record.get("sweep")])})
        mirror = Mirror(
            server, run_id, record, held, cursor.wandb_id, tags, folder, watched=os.getppid()
        )
        pause = 0.0
        while True:
            ended = _input_ends_within(pause, lock)
            before = time.process_time()
            every, state = rows_of(run_dir, record["config"])
            mirror.send(every)
            if ended:
                mirror.close(state, run_dir.summary())
                return
            pause = max(LOOK_SECONDS, (time.process_time() - before) / SHARE)


def _input_ends_within(seconds: float, lock: Path) -> bool:
    """Touches the lock on the way, which would be taken for a dead one's."""
    until = time.monotonic() + seconds
    while True:
        os.utime(lock)
        left = max(0.0, until - time.monotonic())
        ready, _, _ = select.select([sys.stdin], [], [], min(left, TOUCH_SECONDS))
        if ready or left <= TOUCH_SECONDS:
            return bool(ready)


if __name__ == "__main__":
    sys.exit(main())
