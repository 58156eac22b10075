"""``launch/publish.py`` of the sweep ``demo``: sent to a stand-in for W&B, through its faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from wandb_server import KEY, WandbServer

from launch import publish
from lrscale.store import Store


def run_ids(store: Store, *arms: str) -> list[str]:
    """Of some arms, or of all."""
    runs = store.read_sweep("demo")["runs"]
    return [entry["id"] for entry in runs if not arms or entry["arm"] in arms]


def send(store: Store, *options: str) -> int:
    return publish.main(["demo", "--runs", str(store.root), *options])


def start(store: Store, *options: str) -> subprocess.Popen[str]:
    """``send`` in a process of its own, and that with a client of its own."""
    command = [sys.executable, publish.__file__, "demo", "--runs", str(store.root), *options]
    # Not the client's process of this one, which it would be told of.
    env = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, text=True, stdout=pipe, stderr=subprocess.STDOUT)


def send_through(
    server: WandbServer, operation: str, kind: int | str, times: int, store: Store, *options: str
) -> None:
    """Send until all is there; a try may only fail while the fault has not been met ``times``
    times."""
    fault = server.fail(operation, kind, times)
    while send(store, *options) != 0:
        assert fault.met < times
    assert fault.met == times


def send_to_hanging(server: WandbServer, operation: str, store: Store, *options: str) -> int:
    """``send``, with little patience, to a server that answers such a request never; afterwards it
    does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lrscale.track.mirror.CLOSE_SECONDS", 1.0)
        patch.setattr("lrscale.track.publisher.TRIES", 1)
        patch.setattr("lrscale.track.summary.TRIES", 1)
        server.fail(operation, "hang", 1000)
        status = send(store, *options)
    server.faults.clear()
    return status


def no_key_in(store: Store, *texts: str) -> None:
    """Nor in what was said."""
    for path in store.root.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
    assert not any(KEY in text for text in texts)
