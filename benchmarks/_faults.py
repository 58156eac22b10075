"""The faults of benchmarks/chaos.py, each as a cluster, a person or a disk brings it about.

Each is given a job that ran a moment ago, and says whether it did anything to it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks._slurm_log import Outage
from benchmarks._storm import PATIENCE, Fault, Job, Storm, ask, processes, send, step_daemons
from lrscale import checkpoint
from lrscale.files import write_text


def requeue(storm: Storm, job: Job) -> bool:
    return _told(storm, job, "scontrol", "requeue", job.id)


def warning_of_the_time_limit(storm: Storm, job: Job) -> bool:
    return _told(storm, job, "scancel", "--signal=USR2", job.id)


def grace_of_a_preemption(storm: Storm, job: Job) -> bool:
    return _told(storm, job, "scancel", "--signal=TERM", f"{job.raw_id}.0")


def step_killed(storm: Storm, job: Job) -> bool:
    return _told(storm, job, "scancel", "--signal=KILL", f"{job.raw_id}.0")


def _told(storm: Storm, job: Job, *command: str) -> bool:
    storm.note(job)
    return ask(*command, seconds=PATIENCE) is not None


def time_limit(storm: Storm, job: Job) -> bool:
    """Lowered to less than the job has run; Slurm looks at limits every 30 s."""
    what = f"limit of {job.id}"
    if storm.under_repair(what):
        return False
    storm.note(job)
    if ask("scontrol", "update", f"jobid={job.id}", "timelimit=1") is None:
        return False
    longer = partial(ask, "scontrol", "update", f"jobid={job.id}", "timelimit=120")
    storm.later(what, 30, 45, longer)
    return True


def process_killed(storm: Storm, job: Job) -> bool:
    """The only rank, or what a packed element has forked for a run, or what forks."""
    return len(job.nodes) == 1 and _killed(storm, job, job.ranks)


def rank_of_four_killed(storm: Storm, job: Job) -> bool:
    return len(job.nodes) == 2 and _killed(storm, job, job.ranks)


def data_worker_killed(storm: Storm, job: Job) -> bool:
    return _killed(storm, job, job.workers)


def _killed(storm: Storm, job: Job, pids: list[int]) -> bool:
    if not pids:
        return False
    storm.note(job)
    return send([storm.random.choice(pids)], signal.SIGKILL)


def preempted_at_once(storm: Storm, job: Job) -> bool:
    return job.partition == "low" and _preempted(storm, job)


def preempted_with_20_s_of_grace(storm: Storm, job: Job) -> bool:
    return job.partition == "lowg" and _preempted(storm, job)


def _preempted(storm: Storm, job: Job) -> bool:
    """By a job that wants the whole node."""
    (node,) = job.nodes
    there = storm.on_node(node)
    if job not in there:  # it has left, or squeue was not answered
        return False
    storm.note(*there)
    whole = ("-p", "high", "-w", node, "-c8", "-o", "/dev/null", "--wrap", "sleep 1")
    return ask("sbatch", *whole) is not None


def node_crashed(storm: Storm, job: Job) -> bool:
    """Its slurmd and every process of its jobs."""
    return _slurmd_killed(storm, job, with_jobs=True)


def slurmd_killed(storm: Storm, job: Job) -> bool:
    """The jobs' processes live on."""
    return _slurmd_killed(storm, job, with_jobs=False)


def _slurmd_killed(storm: Storm, job: Job, with_jobs: bool) -> bool:
    node = storm.random.choice(job.nodes)
    if storm.under_repair(node):
        return False
    since = time.time()
    storm.dev_cluster("kill-node", node)
    if with_jobs:
        of_jobs = processes(SLURMD_NODENAME=node)
        send(step_daemons(storm.state_dir, node), signal.SIGKILL)  # first: a crash reports nothing
        send(of_jobs, signal.SIGKILL)

    def start() -> None:
        storm.dev_cluster("start-node", node)
        storm.outages.append(Outage(node, since, time.time()))

    storm.later(node, 2, 20, start)
    return True


def node_drained(storm: Storm, job: Job) -> bool:
    node = storm.random.choice(job.nodes)
    update = ("scontrol", "update", f"nodename={node}")
    if storm.under_repair(node) or ask(*update, "state=drain", "reason=chaos") is None:
        return False
    storm.later(node, 3, 8, partial(ask, *update, "state=resume"))
    return True


def controller_restarted(storm: Storm, job: Job) -> bool:
    if storm.under_repair("controller"):
        return False
    storm.dev_cluster("stop-controller")
    storm.later("controller", 0, 4, lambda: storm.dev_cluster("start-controller"))
    return True


def process_frozen(storm: Storm, job: Job) -> bool:
    """One stands still for some seconds, as one that waits for a file server does."""
    pids = job.ranks
    if not pids or storm.under_repair("frozen"):
        return False
    pid = storm.random.choice(pids)
    storm.note(job)  # the other ranks need not wait for it
    send([pid], signal.SIGSTOP)
    storm.later("frozen", 1, 4, lambda: send([pid], signal.SIGCONT))
    return True


def disk_full(storm: Storm, job: Job) -> bool:
    if storm.disk is None or storm.under_repair("disk"):
        return False
    filler = storm.disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    since = time.time()

    def make_room() -> None:
        filler.unlink(missing_ok=True)
        storm.unsaved.full.append((since, time.time()))

    storm.later("disk", 1, 5, make_room)
    return True


def checkpoint_truncated(storm: Storm, job: Job) -> bool:
    return _damaged(storm, job, lambda path: os.truncate(path, path.stat().st_size // 2))


def checkpoint_altered(storm: Storm, job: Job) -> bool:
    def flip_a_bit(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[storm.random.randrange(len(content))] ^= 1 << storm.random.randrange(8)
        path.write_bytes(content)

    return _damaged(storm, job, flip_a_bit)


def _damaged(storm: Storm, job: Job, damage: Callable[[Path], object]) -> bool:
    def damaged(run: str, path: Path) -> None:
        storm.unsaved.damaged[run].append(time.time())
        damage(path)

    return _at_newest_checkpoint(storm, job, damaged)


def checkpoint_half_written(storm: Storm, job: Job) -> bool:
    """Beside one that is whole."""

    def leave_half(_: str, path: Path) -> None:
        content = path.read_bytes()
        (path.parent / f".{path.name}.elsewhere.1.tmp").write_bytes(content[: len(content) // 2])

    return _at_newest_checkpoint(storm, job, leave_half)


def _at_newest_checkpoint(storm: Storm, job: Job, act: Callable[[str, Path], None]) -> bool:
    """That of one of its runs; then its step is killed, so that one is needed."""
    saved = [
        (run.id, path)
        for run in job.runs
        if run.exists()
        for path in checkpoint.checkpoints(run.path)[:1]
    ]
    if not saved:
        return False
    with contextlib.suppress(OSError):  # it is gone by now, or the disk is full
        act(*storm.random.choice(saved))
        return step_killed(storm, job)
    return False


def clock_wrong(storm: Storm, job: Job) -> bool:
    """A node's, by an hour, and right again later: both while its processes run."""
    clock = storm.nodes / storm.random.choice(job.nodes) / "clock"
    if clock.exists():
        return False
    clock.parent.mkdir(exist_ok=True)
    write_text(clock, storm.random.choice(("3600", "-3600")))
    storm.later(f"clock {clock}", 3, 20, clock.unlink)
    return True


def files_seen_late(storm: Storm, job: Job) -> bool:
    """What other nodes do to a folder that this one has looked at."""
    late = storm.nodes / storm.random.choice(job.nodes) / "late"
    if late.exists():
        return False
    late.mkdir(parents=True)
    storm.later(f"files {late}", 10, 40, lambda: shutil.rmtree(late, ignore_errors=True))
    return True


def cancelled(storm: Storm, job: Job) -> bool:
    if len(storm.cancelled) >= storm.most_cancelled:
        return False
    storm.note(job)
    if ask("scancel", job.id) is None:
        return False
    storm.cancelled |= {run.id: time.time() for run in job.runs}
    return True


KINDS: dict[str, Fault] = {
    fault.__name__.replace("_", " "): fault
    for fault in (
        requeue, time_limit, warning_of_the_time_limit, grace_of_a_preemption, preempted_at_once,
        preempted_with_20_s_of_grace, step_killed, process_killed, rank_of_four_killed,
        data_worker_killed, node_crashed, slurmd_killed, node_drained, controller_restarted,
        process_frozen, disk_full, checkpoint_truncated, checkpoint_altered,
        checkpoint_half_written, clock_wrong, files_seen_late, cancelled,
    )
}  # fmt: skip
