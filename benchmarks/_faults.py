"""The faults of benchmarks/chaos.py, each as a cluster, a person or a disk brings it about."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lrscale import checkpoint
from lrscale.run_dir import RunDir
from lrscale.store import Store

ROOT = Path(__file__).resolve().parents[1]
DEV_CLUSTER = ROOT / "slurm" / "dev_cluster.sh"


@dataclass(frozen=True)
class Job:
    """An array element that runs: ``12_3``, its partition, nodes and runs."""

    id: str
    partition: str
    nodes: tuple[str, ...]
    runs: tuple[RunDir, ...]


@dataclass
class Storm:
    """Injects faults and mends what would not mend itself.

    Attributes:
        disk: the file system of the store, when it is one of its own that may be filled.
        counts: faults by kind; early: those that hit a run which had not begun in its process.
        hits: how often each run may have been interrupted, by id.
        cancelled: ids of runs whose job was cancelled.
        at_risk: seconds of work since the newest checkpoint when a run was killed.
    """

    state_dir: Path
    store: Store
    random: random.Random
    disk: Path | None
    counts: dict[str, int] = field(default_factory=dict)
    early: int = 0
    hits: dict[str, int] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    at_risk: list[float] = field(default_factory=list)
    _repairs: list[tuple[float, str, Callable[[], None]]] = field(default_factory=list)

    def strike(self) -> None:
        """One fault, drawn at random, on a job drawn at random; none when nothing can be hit."""
        self.repair()
        jobs = self.jobs()
        if not jobs:
            return
        kind, job = self.random.choice(sorted(KINDS)), self.random.choice(jobs)
        if KINDS[kind](self, job):
            self.counts[kind] = self.counts.get(kind, 0) + 1
            now = time.strftime("%H:%M:%S")
            print(f"{now} {kind}: job {job.id} on {' '.join(job.nodes)}", file=sys.stderr)

    def repair(self, everything: bool = False) -> None:
        """Undo what is to last no longer."""
        now = time.monotonic()
        for repair in list(self._repairs):
            due, _, undo = repair
            if everything or now >= due:
                self._repairs.remove(repair)
                undo()

    def later(self, what: str, least: float, most: float, undo: Callable[[], None]) -> None:
        due = time.monotonic() + self.random.uniform(least, most)
        self._repairs.append((due, what, undo))

    def under_repair(self, what: str) -> bool:
        return any(what == other for _, other, _ in self._repairs)

    def jobs(self) -> list[Job]:
        """What runs of the store's submissions."""
        elements: dict[str, list[str]] = {}
        for record in self.store.read_submissions().values():
            for array in record["arrays"]:
                for index, runs in enumerate(array["elements"]):
                    alone = len(array["elements"]) == 1
                    job = array["job_id"] if alone else f"{array['job_id']}_{index}"
                    elements[job] = runs
        running = []
        for line in command("squeue", "-hr", "-t", "RUNNING", "-o", "%i|%P|%N").splitlines():
            job, partition, nodes = line.split("|")
            if job in elements:
                runs = tuple(map(self.store.run, elements[job]))
                running.append(Job(job, partition, tuple(hosts(nodes)), runs))
        return running

    def note(self, *jobs: Job, killed: bool = False) -> None:
        """These jobs' runs may be interrupted now."""
        for job in jobs:
            for run in job.runs:
                state = run.state() if run.exists() else None
                if state is not None and state.state in ("done", "diverged"):
                    continue
                self.hits[run.id] = self.hits.get(run.id, 0) + 1
                if state is None or state.state != "running":
                    self.early += 1
                elif killed and (saved := checkpoint.checkpoints(run.path)):
                    with contextlib.suppress(FileNotFoundError):
                        self.at_risk.append(time.time() - saved[0].stat().st_mtime)

    def dev_cluster(self, *verb: str) -> None:
        subprocess.run([DEV_CLUSTER, *verb, self.state_dir], check=False, capture_output=True)


def command(*words: str) -> str:
    """What it prints; nothing if it fails, as while the controller is away."""
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def hosts(nodes: str) -> list[str]:
    """``127.0.0.[1-2,4]`` as names."""
    return command("scontrol", "show", "hostnames", nodes).split()


def processes(**variables: str) -> list[int]:
    """Those of jobs in whose environment these variables have these values."""
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted <= {*(folder / "environ").read_bytes().split(b"\0")}:
                found.append(int(folder.name))
    return found


def ranks(job: Job) -> list[int]:
    """The Python processes of a job's step."""
    array, _, index = job.id.partition("_")
    variables = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index}
    return [pid for pid in processes(**variables) if _is_rank(pid)]


def step_daemons(storm: Storm, node: str) -> list[int]:
    """The slurmstepd processes of a node, told by the log that they hold open."""
    log = str(storm.state_dir / "log" / f"slurmd-{node}.log")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text().strip() == "slurmstepd" and any(
                os.readlink(file) == log for file in (folder / "fd").iterdir()
            ):
                found.append(int(folder.name))
    return found


def _is_rank(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"submitit.core._submit" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def send(pids: list[int], number: int) -> bool:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(pids)


# --- each is given a job that ran a moment ago, and says whether it did anything


def requeue(storm: Storm, job: Job) -> bool:
    storm.note(job)
    return command("scontrol", "requeue", job.id) is not None


def warning_of_the_time_limit(storm: Storm, job: Job) -> bool:
    storm.note(job)
    return command("scancel", "--signal=USR2", job.id) is not None


def grace_of_a_preemption(storm: Storm, job: Job) -> bool:
    storm.note(job)
    return command("scancel", "--signal=TERM", f"{raw_id(job)}.0") is not None


def step_killed(storm: Storm, job: Job) -> bool:
    storm.note(job, killed=True)
    return command("scancel", "--signal=KILL", f"{raw_id(job)}.0") is not None


def rank_killed(storm: Storm, job: Job) -> bool:
    pids = ranks(job)
    storm.note(job, killed=True)
    return bool(pids) and send([storm.random.choice(pids)], signal.SIGKILL)


def preemption(storm: Storm, job: Job) -> bool:
    if job.partition not in ("low", "lowg"):
        return False
    node = job.nodes[0]
    storm.note(*(other for other in storm.jobs() if node in other.nodes))
    command("sbatch", "-p", "high", "-w", node, "-c8", "-o", "/dev/null", "--wrap", "sleep 1")
    return True


def node_crash(storm: Storm, job: Job) -> bool:
    """Its slurmd and every process of its jobs."""
    node = storm.random.choice(job.nodes)
    if storm.under_repair(node):
        return False
    storm.note(*(other for other in storm.jobs() if node in other.nodes), killed=True)
    storm.dev_cluster("kill-node", node)
    processes_of_jobs = processes(SLURMD_NODENAME=node)
    send(step_daemons(storm, node), signal.SIGKILL)  # first: a crash reports nothing
    send(processes_of_jobs, signal.SIGKILL)
    storm.later(node, 2, 16, lambda: storm.dev_cluster("start-node", node))
    return True


def slurmd_killed(storm: Storm, job: Job) -> bool:
    """The jobs' processes live on."""
    node = storm.random.choice(job.nodes)
    if storm.under_repair(node):
        return False
    storm.note(*(other for other in storm.jobs() if node in other.nodes))
    storm.dev_cluster("kill-node", node)
    storm.later(node, 2, 20, lambda: storm.dev_cluster("start-node", node))
    return True


def node_drained(storm: Storm, job: Job) -> bool:
    node = storm.random.choice(job.nodes)
    if storm.under_repair(node):
        return False
    name = f"nodename={node}"
    command("scontrol", "update", name, "state=drain", "reason=chaos")
    storm.later(node, 3, 8, lambda: _resume(name))
    return True


def _resume(name: str) -> None:
    command("scontrol", "update", name, "state=resume")


def controller_restarted(storm: Storm, job: Job) -> bool:
    if storm.under_repair("controller"):
        return False
    storm.dev_cluster("stop-controller")
    storm.later("controller", 0, 4, lambda: storm.dev_cluster("start-controller"))
    return True


def checkpoint_damaged(storm: Storm, job: Job) -> bool:
    """Truncated, or one bit flipped, or a half-written one left behind; then the step is killed."""
    saved = [c for run in job.runs if run.exists() for c in checkpoint.checkpoints(run.path)[:1]]
    if not saved:
        return False
    path = storm.random.choice(saved)
    with contextlib.suppress(OSError):  # it may be gone by now, or the disk be full
        content = bytearray(path.read_bytes())
        how = storm.random.choice(("truncated", "flipped", "half"))
        if how == "half":
            (path.parent / ".checkpoint.elsewhere.1.tmp").write_bytes(content[: len(content) // 2])
        elif how == "truncated":
            os.truncate(path, len(content) // 2)
        else:
            content[storm.random.randrange(len(content))] ^= 1 << storm.random.randrange(8)
            path.write_bytes(content)
    storm.note(job)
    command("scancel", "--signal=KILL", f"{raw_id(job)}.0")
    return True


def process_frozen(storm: Storm, job: Job) -> bool:
    """A rank stands still for some seconds, as one that waits for a file server does."""
    pids = ranks(job)
    if not pids or storm.under_repair("frozen"):
        return False
    pid = storm.random.choice(pids)
    send([pid], signal.SIGSTOP)
    storm.later("frozen", 1, 4, lambda: send([pid], signal.SIGCONT) and None)
    return True


def disk_full(storm: Storm, job: Job) -> bool:
    if storm.disk is None or storm.under_repair("disk"):
        return False
    filler = storm.disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    storm.later("disk", 1, 5, lambda: filler.unlink(missing_ok=True))
    return True


def cancelled(storm: Storm, job: Job) -> bool:
    if len(storm.cancelled) >= 3:
        return False
    storm.note(job)
    storm.cancelled |= {run.id for run in job.runs}
    return command("scancel", job.id) is not None


def raw_id(job: Job) -> str:
    """Of an element, by which its steps are named."""
    return command("squeue", "-h", "-j", job.id, "-o", "%A").strip() or job.id


def kinds() -> Iterator[tuple[str, Callable[[Storm, Job], bool]]]:
    for fault in (
        requeue, warning_of_the_time_limit, grace_of_a_preemption, step_killed, rank_killed,
        preemption, node_crash, slurmd_killed, node_drained, controller_restarted,
        checkpoint_damaged, process_frozen, disk_full, cancelled,
    ):  # fmt: skip
        yield fault.__name__.replace("_", " "), fault


KINDS = dict(kinds())
