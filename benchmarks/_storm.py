"""Faults in the order in which benchmarks/chaos.py draws them, their repair, and whom they hit."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._chaos_runs import ROOT, runs_of
from benchmarks._slurm_log import ControllerLog, Outage, node_names
from benchmarks._trace import Unsaved, told
from launch.submissions import job_of_element
from lrscale.lock import process_alive
from lrscale.run_dir import RunDir
from lrscale.store import Store

DEV_CLUSTER = ROOT / "slurm" / "dev_cluster.sh"
# How far a start of a run has come; a job is as far as the first of its runs.
PHASES = ("training", "set-up", "import or earlier")
IN_TRAINING = 0.85  # of the faults
PATIENCE = 5.0  # seconds; scancel would wait minutes for a job that is about to start


@dataclass(frozen=True)
class Job:
    """An array element that runs: ``12_3``, its partition, nodes, runs, and the arm of those."""

    id: str
    partition: str
    nodes: tuple[str, ...]
    runs: tuple[RunDir, ...]
    arm: str

    @property
    def raw_id(self) -> str:
        """By which its steps are named."""
        return (ask("squeue", "-h", "-j", self.id, "-o", "%A") or "").strip() or self.id

    @property
    def ranks(self) -> list[int]:
        """The processes that work on its runs: its tasks, and what a task has forked for a run."""
        return [pid for pid in self._python if pid not in self.workers]

    @property
    def workers(self) -> list[int]:
        """Its processes that load data."""
        python = self._python
        return [pid for pid in python if self.arm == "images" and _parent(pid) in python]

    @property
    def _python(self) -> list[int]:
        array, _, index = self.id.partition("_")
        variables = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index}
        alone = {"SLURM_JOB_ID": self.id}
        return [p for p in processes(**(variables if index else alone)) if _of_submitit(p)]


Fault = Callable[["Storm", Job], bool]


@dataclass
class Storm:
    """Injects faults and mends what would not mend itself.

    Attributes:
        kinds: what there is to draw; each is given a job that ran a moment ago, and says whether
            it did anything to it.
        state_dir: of the cluster.
        trace: where attempts tell how far they are.
        nodes: a folder for each node, with what is wrong there (see _chaos_site).
        disk: the file system of the store, when it is one of its own that may be filled.
        counts: faults by kind.
        phases: faults by the phase of the job that was drawn.
        hits: how often each run may have been interrupted, by id; those aside that lost a node.
        outages: when nodes were away.
        cancelled: when a run's job was cancelled, Unix seconds, by id.
        tended: see ``tend``.
        unsaved: when checkpoints were damaged, or could not be written.
    """

    state_dir: Path
    store: Store
    trace: Path
    nodes: Path
    random: random.Random
    disk: Path | None
    kinds: Mapping[str, Fault]
    counts: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)
    cancelled: dict[str, float] = field(default_factory=dict)
    tended: int = 0
    unsaved: Unsaved = field(default_factory=Unsaved)
    _repairs: list[tuple[float, str, Callable[[], object]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.most_cancelled = 2 + len(runs_of(self.store)) // 5
        self._elements = _elements(self.store)
        self._arms = {run.id: arm for (arm, _), run in runs_of(self.store).items()}

    def strike(self) -> None:
        """One fault, if there is a job that it can be done to: of the kinds that were dealt least,
        more or less, and mostly on a job that is at its training."""
        self.repair()
        jobs = self.in_training()
        if self.random.random() > IN_TRAINING:
            jobs = [job for job in self.jobs() if job not in jobs]
        dealt = {kind: self.counts[kind] + self.random.uniform(0, 3) for kind in self.kinds}
        for kind in sorted(dealt, key=dealt.__getitem__):
            for job in self.random.sample(jobs, len(jobs)):
                phase = self.phase(job)
                if self.kinds[kind](self, job):
                    self.counts[kind] += 1
                    self.phases[phase] += 1
                    say(f"{kind}: job {job.id} in {phase} on {' '.join(job.nodes)}")
                    return

    def in_training(self) -> list[Job]:
        return [job for job in self.jobs() if self.phase(job) == PHASES[0]]

    def phase(self, job: Job) -> str:
        return min((self.phase_of(run) for run in job.runs), key=PHASES.index)

    def phase_of(self, run: RunDir) -> str:
        state = run.state() if run.exists() else None
        if state is None or state.state != "running" or not process_alive(state.pid):
            return PHASES[2]
        lines = [line for line in told(self.trace, run.id) if line.attempt == state.attempt]
        return PHASES[0] if lines and lines[-1].step > lines[0].step else PHASES[1]

    def repair(self, everything: bool = False) -> None:
        """Undo what is to last no longer."""
        for repair in list(self._repairs):
            due, _, undo = repair
            if everything or time.monotonic() >= due:
                self._repairs.remove(repair)
                undo()

    def later(self, what: str, least: float, most: float, undo: Callable[[], object]) -> None:
        due = time.monotonic() + self.random.uniform(least, most)
        self._repairs.append((due, what, undo))

    def under_repair(self, what: str) -> bool:
        return any(what == other for _, other, _ in self._repairs)

    def jobs(self) -> list[Job]:
        """What runs of the store's submissions."""
        running = []
        queue = ("squeue", "-hr", "-t", "RUNNING", "-o", "%i|%P|%N")
        for line in (ask(*queue, seconds=PATIENCE) or "").splitlines():
            job, partition, nodes = line.split("|")
            if runs := self._elements.get(job):
                arm = self._arms[runs[0].id]
                running.append(Job(job, partition, tuple(sorted(node_names(nodes))), runs, arm))
        return running

    def on_node(self, node: str) -> list[Job]:
        return [job for job in self.jobs() if node in job.nodes]

    def note(self, *jobs: Job) -> None:
        """These jobs' runs may be interrupted now."""
        for job in jobs:
            for run in job.runs:
                state = run.state() if run.exists() else None
                if state is not None and state.state in ("done", "diverged"):
                    continue
                self.hits[run.id] += 1

    def broken_starts(self, run: str) -> int:
        """How many starts of a run's jobs have lost a node, to a fault, also to one that was there
        before them, or since Slurm thought so, as a node may answer late on a busy machine; or
        were ended by Slurm without their batch scripts."""
        log = ControllerLog(self.state_dir)
        return sum(
            start.lost_a_node(self.outages) or start.ended_by_slurm
            for job in self._jobs_of(run)
            for start in log.starts(job)
        )

    def ended_by_slurm(self, run: str) -> bool:
        """Whether Slurm itself has ended a run's job for good."""
        return any(map(ControllerLog(self.state_dir).ended_for_good, self._jobs_of(run)))

    def brought_back(self, run: str) -> bool:
        """Whether another job says that it has had a run's job requeued."""
        return not set(jobs_brought_back(self.store)).isdisjoint(self._jobs_of(run))

    def _jobs_of(self, run: str) -> list[str]:
        return [job for job, runs in self._elements.items() if run in {r.id for r in runs}]

    def tend(self) -> None:
        """As whoever keeps the cluster: release jobs that Slurm holds because it could not start
        them, and nodes that it drained because it could not end a job there in time."""
        for line in (ask("squeue", "-hr", "-o", "%i|%r") or "").splitlines():
            job, _, reason = line.partition("|")
            if "held" in reason.lower():
                self.tended += ask("scontrol", "release", job) is not None
        drained = ask("sinfo", "-hN", "-p", "main", "-t", "drain", "-o", "%N") or ""
        for node in drained.split():
            if not self.under_repair(node):
                resume = ("scontrol", "update", f"nodename={node}", "state=resume")
                self.tended += ask(*resume) is not None

    def dev_cluster(self, *verb: str) -> None:
        subprocess.run([DEV_CLUSTER, *verb, self.state_dir], check=False, capture_output=True)


def _elements(store: Store) -> dict[str, tuple[RunDir, ...]]:
    """The runs of every array element handed over, by job."""
    return {
        job_of_element(array, index): tuple(map(store.run, runs))
        for record in store.read_submissions().values()
        for array in record["arrays"]
        for index, runs in enumerate(array["elements"])
    }


def jobs_brought_back(store: Store) -> list[str]:
    """That Slurm had ended, and that others had requeued, as those say in their logs."""
    said = re.compile(r"^lrscale: Slurm has ended (\S+) with its batch script", re.MULTILINE)
    logs = (store.root / "submissions").glob("*/*_log.out")
    return [job for path in logs for job in said.findall(path.read_text(errors="replace"))]


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def ask(*words: str, seconds: float | None = None) -> str | None:
    """What a command prints; None if it fails or is not answered in time, as while the controller
    is away."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def processes(**variables: str) -> list[int]:
    """Those of this cluster in whose environment these variables have these values."""
    variables["SLURM_CONF"] = os.environ["SLURM_CONF"]
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted <= {*(folder / "environ").read_bytes().split(b"\0")}:
                found.append(int(folder.name))
    return found


def step_daemons(state_dir: Path, node: str) -> list[int]:
    """The slurmstepd processes of a cluster's node, told by the log that they hold open."""
    log = str(state_dir / "log" / f"slurmd-{node}.log")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text().strip() == "slurmstepd" and any(
                os.readlink(file) == log for file in (folder / "fd").iterdir()
            ):
                found.append(int(folder.name))
    return found


def send(pids: list[int], number: signal.Signals) -> bool:
    """Whether there was any to send it to."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(pids)


def _of_submitit(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"submitit.core._submit" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
