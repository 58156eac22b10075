"""SLURM as a backend: arrays of submitit jobs that run the snapshot.

submitit's own arrays have a pickle for each element; here all share one, which makes handing over
a thousand elements five times as fast, and each finds its runs by its index.

Every array is named after its submission before it is handed over, and what its elements are to
do is in the store by then: if the launcher dies right after ``sbatch``, the next command finds
the array in the queue by that name and completes what is missing (``adopt``).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError, JobPaths

from launch.job import Task
from launch.profiles import Profile
from launch.requeue import EXIT_NO_STEP
from launch.resources import Resources, decode_resources
from lrscale.errors import UserError
from lrscale.store import Store

# Slurm warns this long before the time limit; a tenth of the limit, within these bounds.
MIN_WARNING_SECONDS, MAX_WARNING_SECONDS = 30, 180

# Variables that a surrounding job, a launcher or a person sets. sbatch takes its own for options,
# and hands every variable on to the job.
OF_SLURM = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SQUEUE_", "SUBMITIT_")
OF_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class ArrayJob:
    """One array of a submission, as its record holds it.

    Attributes:
        name: job name in the queue: sweep, submission and number of the array.
        elements: run ids of each array element.
        resources: the raw block; one shape an array.
        throttle: elements at once.
        snapshot: digest of the code that the elements run.
        concurrency: runs of an element at a time.
        max_retries: see ``launch.job.Task``.
    """

    name: str
    elements: list[list[str]]
    resources: dict[str, Any]
    throttle: int
    snapshot: str
    concurrency: int
    max_retries: int

    def task(self, store: Store, records: Mapping[str, Any]) -> Task:
        elements = [{run: records[run] for run in element} for element in self.elements]
        return Task(str(store.root), elements, self.concurrency, self.max_retries)


def check_store(root: Path) -> None:
    """Refuse a run store whose path Slurm would not take as it is. Raises UserError.

    In the names of log files ``%`` stands for ids, and a backslash is dropped.
    """
    if re.search(r"[%\\\r\n]", str(root)):
        raise UserError(
            f"run store {str(root)!r}: Slurm takes no path with %, a backslash or a line break; "
            "choose another with --runs DIR"
        )


def submit(
    store: Store,
    submission: str,
    array: ArrayJob,
    records: Mapping[str, Any],
    profile: Profile,
    after: Sequence[str],
) -> str:
    """Hand one array to sbatch; its job id.

    Args:
        after: job ids that must have ended before the array's elements start.

    Raises:
        UserError: sbatch refused, or did not answer in time; with what it said.
    """
    folder = store.submission_dir(submission)
    executor = submitit.SlurmExecutor(folder, python=_python(profile))
    executor.update_parameters(**_parameters(store, submission, array, profile, after))
    before = set(folder.iterdir())
    try:
        with _outside_of_jobs():
            job = executor.submit(array.task(store, records))
    except (FailedJobError, FailedSubmissionError) as error:
        for path in set(folder.iterdir()) - before:
            path.unlink()
        raise UserError(f"sbatch refused {array.name}: {str(error).strip()}") from error
    pickled = str(job.paths.submitted_pickle)
    for name in _pickles(folder, array, job.job_id):
        if name != pickled:
            _link(pickled, name)
    return str(job.job_id)


def adopt(
    store: Store, submission: str, array: ArrayJob, job_id: str, records: Mapping[str, Any]
) -> None:
    """Complete an array that was queued by a launcher which then died.

    submitit gives the pickle its final name only after ``sbatch`` has answered; elements wait
    a minute for it. Where it is missing, it is written from the submission's record.
    """
    paths = _pickles(store.submission_dir(submission), array, job_id)
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        temporary = f"{missing[0]}.adopting"
        DelayedSubmission(array.task(store, records)).dump(temporary)
        for path in missing:
            _link(temporary, path)
        os.unlink(temporary)


def _pickles(folder: Path, array: ArrayJob, job_id: str) -> list[str]:
    """Where submitit looks for each element's pickle."""
    name = str(JobPaths(folder).submitted_pickle)  # …/%j_submitted.pkl
    count = len(array.elements)
    elements = [f"{job_id}_{index}" for index in range(count)] if count > 1 else [job_id]
    return [name.replace("%j", element) for element in elements]


def _link(existing: str, path: str) -> None:
    """The file under another name: all elements share one, each finds its runs in it."""
    try:
        os.link(existing, path)
    except OSError:  # a file system without hard links
        temporary = f"{path}.copy"
        shutil.copyfile(existing, temporary)
        os.replace(temporary, path)


def _parameters(
    store: Store, submission: str, array: ArrayJob, profile: Profile, after: Sequence[str]
) -> dict[str, Any]:
    """submitit's arguments: per task where Slurm counts per task, so that nothing is guessed."""
    resources = profile.placed(decode_resources(array.resources))
    limit = resources.minutes * 60
    snapshot = store.snapshot_dir(array.snapshot)
    count = len(array.elements)
    # Named as submitit names those of its own arrays; %t is the rank.
    log = f"{store.submission_dir(submission)}/{'%A_%a' if count > 1 else '%j'}_%t_log.out"
    parameters: dict[str, Any] = {
        "job_name": array.name,
        "time": resources.minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "cpus_per_task": resources.cpus_per_task,
        "mem": resources.mem_per_node,
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "signal_delay_s": int(min(MAX_WARNING_SECONDS, max(MIN_WARNING_SECONDS, limit // 10))),
        "dependency": ":".join(["afterany", *after]) if after else None,
        "stderr_to_stdout": True,
        "setup": [
            *_setup(store.root, snapshot, profile),
            # Before the trap, which it would run too when it is ended before it is another program.
            f"{_look_for_others(store, profile)} --watch & lrscale_watch=$!",
            _watch_over(store, submission, array, profile),
        ],
        # Reached if srun has ended well, because of set -e.
        "teardown": [f"{_look_for_others(store, profile)} || true"],
        # A bare srun does not inherit --cpus-per-task; and a rank that fails must end the others.
        "srun_args": [
            f"--cpus-per-task={resources.cpus_per_task}",
            "--kill-on-bad-exit=1",
            f"--output={log}",
            *profile.srun_args,
        ],
        "additional_parameters": {
            "chdir": str(snapshot),
            "requeue": True,
            "output": log.replace("%t", "0"),
            **({"array": f"0-{count - 1}%{array.throttle}"} if count > 1 else {}),
            **({"gpus-per-node": _gpus(resources)} if resources.gpus_per_node else {}),
            **profile.sbatch,
        },
    }
    given = {key: value for key, value in parameters.items() if value is not None}
    return given | {"wckey": None}  # submitit's own would be refused where keys are tracked


def _gpus(resources: Resources) -> str:
    kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
    return f"{kind}{resources.gpus_per_node}"


def _setup(store: Path, snapshot: Path, profile: Profile) -> list[str]:
    """Shell lines before srun. A failing line ends the job (``set -e``), and the log says which."""
    python = shlex.split(_python(profile))[0]
    unseen = "is not visible from this node"
    return [
        "set -e",
        "umask 077",
        _require(f"test -d {shlex.quote(str(store))}", f"the run store {store} {unseen}"),
        _require(_owned(store), f"others own the run store {store} or may write to it"),
        _require(f"test -d {shlex.quote(str(snapshot))}", f"the code snapshot {snapshot} {unseen}"),
        """trap 'echo "lrscale: a line of the preamble failed: $BASH_COMMAND"' ERR""",
        *profile.preamble,
        "trap - ERR",
        _require(
            f"command -v {shlex.quote(python)} >/dev/null", f"the interpreter {python} {unseen}"
        ),
        # Python finds the frozen code in its working directory, wherever the preamble went.
        f"cd {shlex.quote(str(snapshot))}",
        "unset PYTHONSAFEPATH",
        "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}",
        f"export SLURM_EXIT_ERROR={EXIT_NO_STEP}",
    ]


def _python(profile: Profile) -> str:
    """The interpreter on the nodes, as words for a shell."""
    return profile.python or shlex.quote(sys.executable)


def _watch_over(store: Store, submission: str, array: ArrayJob, profile: Profile) -> str:
    """Has the batch script settle what becomes of the runs when the step has ended and could not
    itself: killed, before Python listens to signals, at the time limit in a call that does not
    return, or given up by an srun that ends well all the same, as when a node has gone while the
    controller was away.
    """
    arguments = shlex.join([str(store.root), submission, array.name.rpartition(".")[2]])
    settle = f"{_python(profile)} -m launch.requeue {arguments} $? || true"
    return f"trap {shlex.quote(f'{settle}; kill $lrscale_watch 2>/dev/null || true')} EXIT"


def _look_for_others(store: Store, profile: Profile) -> str:
    """Has jobs of the store brought back that Slurm has ended with their batch scripts."""
    return f"{_python(profile)} -m launch.rescue {shlex.quote(str(store.root))}"


def _owned(store: Path) -> str:
    """A job runs what is in the store: the same is asked of it as on submission
    (``Store.create``), since whoever may write beside it may have put another in its place."""
    path = shlex.quote(str(store))
    return f"[[ -O {path} || $EUID = 0 ]] && [[ -z $(find -H {path} -maxdepth 0 -perm /022) ]]"


def _require(test: str, otherwise: str) -> str:
    message = shlex.quote(f"lrscale: {otherwise}: ")
    return f"{test} || {{ echo {message}$(hostname); exit 1; }}"


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """As if not in a job, as the command may be. SLURM_CONF stays: it says which cluster."""
    inherited = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name != "SLURM_CONF" and (name.startswith(OF_SLURM) or name in OF_RANKS)
    }
    try:
        yield
    finally:
        os.environ.update(inherited)
