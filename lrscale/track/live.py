"""Weights & Biases live from rank 0: a process of its own, which can neither stop nor slow the run.

The training does nothing for it but start it and, at the end, give it ten seconds to send what is
left (``lrscale.track.follow``). Whatever fails there is reported once, and the run store has
everything all the same: ``launch/publish.py`` sends what is missing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lrscale.store import Store

CLOSE_SECONDS = 10.0  # to send what is left when the run ends
OFFLINE = ("offline", "dryrun", "disabled")
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def mirrored(store: Store, run_id: str) -> Iterator[None]:
    """Inside, a run is mirrored: by rank 0, and not where WANDB_MODE is offline."""
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    if os.environ.get("WANDB_MODE") in OFFLINE:
        _warn(f"WANDB_MODE is {os.environ['WANDB_MODE']}: nothing is sent")
        yield
        return
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # A W&B client of this process has left its address there, and may be gone by now.
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    follower = subprocess.Popen(
        [sys.executable, "-m", "lrscale.track.follow", str(store.root), run_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment | {"PYTHONPATH": path},
        start_new_session=True,  # with the client's own processes, to end them together
    )
    try:
        yield
    finally:
        _close(follower)


def _close(follower: subprocess.Popen[bytes]) -> None:
    assert follower.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        follower.stdin.close()
    try:
        code = follower.wait(CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        code = None
    # Also what the client has left behind of its own processes.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(follower.pid, signal.SIGKILL)
    follower.wait()
    if code != 0:
        _warn("not everything was sent")


def _warn(text: str) -> None:
    print(
        f"warning: Weights & Biases: {text}; the run store has it all, and launch/publish.py "
        "sends what is missing",
        file=sys.stderr,
        flush=True,
    )
