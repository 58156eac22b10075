"""A real SLURM cluster for the tests that ask for it (``slurm``), and the want of one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

DEV_CLUSTER = Path(__file__).parents[2] / "slurm" / "dev_cluster.sh"
CLUSTER = {
    "NODES": "4",
    "CPUS": "8",
    "GPUS": "4",
    "MEM": "256000",
    "MAX_ARRAY_SIZE": "21",
    "EXTRA_CONF": "AccountingStorageEnforce=limits",
}
SLURM_COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr")


def poll(true: Callable[[], object], seconds: float, what: str = "") -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"after {seconds} s still not: {what or true}")
        time.sleep(0.1)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """``wait_until(true, seconds, what)`` asks ``true()`` every 0.1 s and fails when time is up."""
    return poll


@dataclass(frozen=True)
class SlurmCluster:
    """A running cluster of ``slurm/dev_cluster.sh``.

    Attributes:
        state_dir: its logs, configuration and pids.
        env: the environment in which sbatch and the others reach it. In the test's own process:
            ``monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])``.
    """

    state_dir: Path
    env: dict[str, str]

    def run(
        self, *command: str | Path, check: bool = True, timeout: float = 60, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command that reaches the cluster; the test fails, with its output, when it does."""
        done = subprocess.run(
            command, env=self.env, cwd=cwd, timeout=timeout, capture_output=True, text=True
        )
        if check and done.returncode != 0:
            pytest.fail(f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def squeue(self, *options: str) -> list[str]:
        """The lines of ``squeue --noheader`` with the given options."""
        return self.run("squeue", "--noheader", *options).stdout.splitlines()

    def states(self, job: str) -> dict[str, str]:
        """What the accounting says of a job: ``{"12_0": "COMPLETED", …}``, by array element."""
        lines = self.run("sacct", "-XnP", "-j", job, "-o", "JobID,State").stdout.splitlines()
        return dict(line.split("|") for line in lines)

    def wait_until(self, true: Callable[[], object], seconds: float, what: str = "") -> None:
        """As the fixture ``wait_until``; a failure shows the queue."""
        try:
            poll(true, seconds, what)
        except pytest.fail.Exception as error:
            pytest.fail("\n".join([str(error), "queue:", *self.squeue()]))

    def wait_for_jobs(self, *jobs: str, seconds: float = 60) -> None:
        """Until none of the given jobs or arrays is in the queue."""
        ids = {job.split("_")[0] for job in jobs}
        self.wait_until(lambda: ids.isdisjoint(self.squeue("-o", "%F")), seconds, f"{jobs} ended")

    def rank(self, job: str, rank: int) -> int:
        """The process id of a rank of a running job, as ``12`` or ``12_3``."""
        # The batch script and its srun have no step.
        wanted = {b"SLURM_STEP_ID=0", f"SLURM_PROCID={rank}".encode()}
        for pid, environment in self._processes(job):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"submitit.core._submit" in command and wanted <= environment:
                    return pid
        pytest.fail(f"rank {rank} of job {job} does not run")

    def kill(self, job: str) -> None:
        """Kills all of a running job at once, its batch script first."""
        for pid, _ in sorted(self._processes(job)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self, job: str) -> Iterator[tuple[int, set[bytes]]]:
        """Process ids and environments."""
        (raw,) = self.squeue("-j", job, "-o", "%A")
        ours = {f"SLURM_JOB_ID={raw}".encode(), f"SLURM_CONF={self.env['SLURM_CONF']}".encode()}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = {*(folder / "environ").read_bytes().split(b"\0")}
                if ours <= environment:
                    yield int(folder.name), environment

    def kill_node(self, node: str) -> None:
        """Kills a node's slurmd (``127.0.0.1``, …); its jobs' processes live on."""
        self.run(DEV_CLUSTER, "kill-node", node, self.state_dir)

    def crash_node(self, node: str) -> None:
        """Kills a node's slurmd and all of its jobs, so that nobody is left to tell of it."""
        from benchmarks._storm import (  # with numpy, which a plugin starts without
            send,
            step_daemons,
        )

        self.kill_node(node)
        send(step_daemons(self.state_dir, node), signal.SIGKILL)
        for job in self.squeue("-r", "-w", node, "-o", "%i"):
            self.kill(job)

    def start_node(self, node: str) -> None:
        self.run(DEV_CLUSTER, "start-node", node, self.state_dir)


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """One cluster for the whole session: four nodes of 8 CPUs, 4 pretended GPUs and 256 GB.

    MaxArraySize is 21 (indices 0 to 20), accounting is on and its limits are enforced. Skips,
    saying what to install, where SLURM is not.
    """
    with running(CLUSTER) as cluster:
        yield cluster


@contextlib.contextmanager
def running(settings: Mapping[str, str]) -> Iterator[SlurmCluster]:
    """A cluster with settings of ``slurm/dev_cluster.sh``. Skips where SLURM is not installed."""
    state_dir = Path(tempfile.mkdtemp(prefix="lrscale-slurm-"))
    # Takes the cluster down when it is given a line, or its standard input closes: at the end of
    # the session, however that comes, a SIGKILL of pytest included.
    guard = subprocess.Popen(
        ["sh", "-c", 'read -r _; "$1" down "$2"; rm -rf "$2"', "sh", DEV_CLUSTER, state_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        up = subprocess.run(
            [DEV_CLUSTER, "up", state_dir],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=120,
        )
        if "not installed:" in up.stderr:
            missing, _, install, *_ = map(str.strip, up.stderr.splitlines())
            pytest.skip(f"{missing} ({install})")
        assert up.returncode == 0, f"the cluster does not start:\n{up.stdout}{up.stderr}"
        conf = str(state_dir / "etc" / "slurm.conf")
        yield SlurmCluster(state_dir, {**os.environ, "SLURM_CONF": conf})
    finally:
        # A line, for what was forked in the meantime may keep the pipe open.
        guard.communicate(b"\n", timeout=60)


@pytest.fixture(scope="session")
def path_without_slurm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH as on a machine without SLURM: the user's own, less SLURM's commands."""
    folders = []
    for folder in dict.fromkeys(Path(f).resolve() for f in os.environ["PATH"].split(os.pathsep)):
        if (folder / "sbatch").exists():
            copy = tmp_path_factory.mktemp("bin")
            for program in folder.iterdir():
                if program.name not in SLURM_COMMANDS:
                    (copy / program.name).symlink_to(program)
            folder = copy
        folders.append(str(folder))
    return os.pathsep.join(folders)
