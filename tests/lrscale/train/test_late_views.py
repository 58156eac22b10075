"""Two hosts that see each other's files late, as on NFS: two mounts of one folder by sshfs.

A host keeps listings, and that a file is not there, for some seconds, whatever the other does
meanwhile; what it opens is what is there now, and a file is created by one of them only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ranks import Runs, results

from lrscale import checkpoint
from lrscale.control import Outcome
from lrscale.run_dir import RunDir, Superseded
from lrscale.store import Store
from lrscale.workloads.classification import Classification

SECONDS = 60  # for which a host believes what it has seen
AT_ONCE = "attr_timeout=0,entry_timeout=0,dcache_stat_timeout=0"  # what it opens it looks at
SFTP_SERVER = "/usr/lib/openssh/sftp-server"
RUN = {"workload": "digits_mlp", "epochs": 3, "checkpoint_minutes": 1e-9}

pytestmark = pytest.mark.usefixtures("save_at_every_look")


class Hosts(NamedTuple):
    """The same store as two hosts see it, and as it is."""

    one: Runs
    other: Runs
    server: Runs


@pytest.fixture
def hosts(
    tmp_path: Path, wait_until: Callable[..., None], request: pytest.FixtureRequest
) -> Iterator[Hosts]:
    if not shutil.which("sshfs") or not os.path.exists(SFTP_SERVER):
        pytest.skip("not installed: sshfs, openssh-sftp-server")
    server = Store(tmp_path / "server")
    server.create()
    seconds = getattr(request, "param", SECONDS)
    mounts = [tmp_path / "one", tmp_path / "other"]
    processes = [process for mount in mounts for process in _mount(server.root, mount, seconds)]
    try:
        for mount in mounts:
            wait_until(
                lambda mount=mount: os.path.ismount(mount) or _ended(processes), 20, "mounted"
            )
        if _ended(processes):
            pytest.skip("file systems of one's own (FUSE) cannot be mounted here")
        yield Hosts(*(Runs(Store(root)) for root in [*mounts, server.root]))
    finally:
        for mount in mounts:
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
        for process in processes:
            process.kill()
            process.wait()


def _mount(folder: Path, at: Path, seconds: int) -> list[subprocess.Popen[bytes]]:
    """The file server and its client, which talk to each other by a pair of sockets."""
    at.mkdir()
    ours, theirs = socket.socketpair()
    views = f"dcache_dir_timeout={seconds},negative_timeout={seconds}"
    client = ["sshfs", "-f", f":{folder}", str(at), "-o", f"passive,{AT_ONCE},{views}"]
    with ours, theirs:
        return [
            subprocess.Popen([SFTP_SERVER], stdin=ours, stdout=ours, stderr=subprocess.DEVNULL),
            subprocess.Popen(client, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL),
        ]


def _ended(processes: list[subprocess.Popen[bytes]]) -> bool:
    return any(process.poll() is not None for process in processes)


def of(runs: Runs, run_dir: RunDir) -> RunDir:
    """A run as a host sees it."""
    return runs.store.run(run_dir.id)


def look(run_dir: RunDir) -> set[str]:
    """A listing, which the host believes from now on."""
    return set(os.listdir(run_dir.path))


def test_a_run_goes_on_from_the_checkpoint_on_a_host_that_has_not_seen_it_yet(
    hosts: Hosts, runs: Runs
):
    expected, run_dir = runs.new(RUN), hosts.server.new(RUN)
    runs.here(expected)
    one, other = of(hosts.one, run_dir), of(hosts.other, run_dir)
    for here, there, steps in ((one, other, 50), (other, one, 30), (one, other, 5)):
        before = look(there)
        assert hosts.server.once(here, max_steps=steps).state == "stopped"
        assert look(there) == before != look(run_dir)  # it sees nothing of it yet
    assert hosts.server.once(other) == Outcome("done", 111)
    state = run_dir.state()
    assert state is not None
    assert (state.attempt, state.resumed_from) == (4, 85)
    assert results(run_dir) == results(expected)


def test_one_attempt_is_claimed_once(hosts: Hosts):
    run_dir = hosts.server.new(RUN)
    claimed: list[int] = []

    def claim(view: RunDir) -> None:
        for _ in range(20):
            with contextlib.suppress(PermissionError):  # SFTP has one error for all
                claimed.append(view.begin())

    views = [of(runs, run_dir) for runs in (hosts.one, hosts.other)]
    threads = [threading.Thread(target=claim, args=(view,)) for view in views]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) > 20
    assert sorted(claimed) == list(range(1, len(claimed) + 1))


def test_a_host_that_learns_late_that_it_was_overtaken(
    hosts: Hosts, runs: Runs, monkeypatch: pytest.MonkeyPatch
):
    """It works on for some seconds, and writes nothing but what the run comes to anyway."""
    expected, run_dir = runs.new(RUN), hosts.server.new(RUN)
    runs.here(expected)
    one, other = of(hosts.one, run_dir), of(hosts.other, run_dir)
    sums, outcomes = Classification.sums, list[Outcome]()

    def overtaken(self: Classification, *args: object) -> object:
        if not outcomes:  # during the first evaluation on one host, the other takes the run over
            look(one)
            outcomes.extend(hosts.server.start(other, cuts=[60], to_end=False).outcomes())
            assert "metrics-0002.jsonl" in look(run_dir) - look(one)
        return sums(self, *args)

    monkeypatch.setattr(Classification, "sums", overtaken)
    with contextlib.suppress(Superseded):
        hosts.server.once(one)
    assert [outcome.state for outcome in outcomes] == ["stopped"]
    hosts.server.once(other)
    assert results(run_dir) == results(expected)


@pytest.mark.parametrize("hosts", [3], indirect=True)
def test_a_checkpoint_that_was_listed_and_is_gone(hosts: Hosts, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoint, "LISTING_SECONDS", 0.5)
    run_dir = hosts.server.new(RUN)
    one = of(hosts.one, run_dir)
    for steps in ((1, 2), (3, 4)):
        for step in steps:
            checkpoint.save(run_dir.path, step, {"step": step})
        assert checkpoint.newest_step(one.path) == 2
    assert checkpoint.load(one.path) == (4, {"step": 4})
