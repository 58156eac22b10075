"""The throw-away cluster behaves as the README of slurm/ says, and as the other tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

DEV_CLUSTER = Path(__file__).parents[2] / "slurm" / "dev_cluster.sh"


def sbatch(slurm, tmp_path: Path, *options: str) -> str:
    done = slurm.run("sbatch", "--parsable", "-o", str(tmp_path / "%A_%a.out"), *options)
    return done.stdout.strip()


def dev_cluster(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    command = [DEV_CLUSTER, *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def test_nodes_are_idle_and_have_gpus(slurm):
    nodes = slurm.run("sinfo", "-hN", "-p", "main", "-o", "%N %G %c").stdout.splitlines()
    assert nodes == [f"127.0.0.{i} gpu:4 8" for i in (1, 2, 3, 4)]


def test_array_runs_and_is_accounted_for(slurm, tmp_path):
    job = sbatch(slurm, tmp_path, "--array=0-2", "--wrap", "test $SLURM_ARRAY_TASK_ID != 1")
    slurm.wait_for_jobs(job)
    expected = {f"{job}_0": "COMPLETED", f"{job}_1": "FAILED", f"{job}_2": "COMPLETED"}
    slurm.wait_until(lambda: slurm.states(job) == expected, 10, "accounted for")


def test_array_size_is_bounded(slurm, tmp_path):
    refused = slurm.run("sbatch", "--array=0-21", "--wrap", "true", check=False)
    assert "Invalid job array specification" in refused.stderr
    slurm.wait_for_jobs(sbatch(slurm, tmp_path, "--array=0-20", "--wrap", "true"))


def test_gpus_are_handed_out_apart(slurm, tmp_path):
    script = "srun --exact --gpus-per-task=1 bash -c 'echo $CUDA_VISIBLE_DEVICES'"
    slurm.wait_for_jobs(
        sbatch(slurm, tmp_path, "--ntasks=3", "-N1", "--gpus-per-node=3", "--wrap", script)
    )
    (output,) = tmp_path.glob("*.out")
    assert sorted(output.read_text().split()) == ["0", "1", "2"]


def test_two_nodes_resolve_each_other(slurm):
    done = slurm.run("srun", "-N2", "-n4", "bash", "-c", "getent hosts $SLURMD_NODENAME; sleep .2")
    assert len(set(done.stdout.split())) >= 2


def test_cancelled_job_stays_cancelled(slurm, tmp_path):
    job = sbatch(slurm, tmp_path, "--wrap", "sleep 300")
    slurm.wait_until(lambda: slurm.squeue("-j", job, "-o", "%T") == ["RUNNING"], 20, "running")
    slurm.run("scancel", job)
    slurm.wait_for_jobs(job)
    slurm.wait_until(
        lambda: slurm.states(job).get(job, "").startswith("CANCELLED"), 10, "cancelled"
    )


def test_high_partition_preempts_low(slurm, tmp_path):
    whole_node = ("-w", "127.0.0.1", "--exclusive", "--wrap", "sleep 300")
    low = sbatch(slurm, tmp_path, "-p", "low", *whole_node)
    slurm.wait_until(lambda: slurm.squeue("-j", low, "-o", "%T") == ["RUNNING"], 20, "running")
    high = sbatch(slurm, tmp_path, "-p", "high", *whole_node)
    slurm.wait_until(lambda: slurm.squeue("-j", high, "-o", "%T") == ["RUNNING"], 20, "preempted")
    assert slurm.squeue("-j", low, "-o", "%T") == ["PENDING"]
    slurm.run("scancel", low, high)
    slurm.wait_for_jobs(low, high)


def test_killed_node_goes_down_and_comes_back(slurm):
    slurm.kill_node("127.0.0.4")
    slurm.wait_until(lambda: "127.0.0.4" not in _alive(slurm), 5, "killed")
    slurm.start_node("127.0.0.4")
    done = slurm.run("srun", "-w", "127.0.0.4", "bash", "-c", "echo $SLURMD_NODENAME")
    assert done.stdout == "127.0.0.4\n"
    assert "127.0.0.4" in _alive(slurm)


def _alive(slurm) -> str:
    return slurm.run(DEV_CLUSTER, "status", slurm.state_dir, check=False).stdout


def test_environment_of_the_tests_does_not_reach_the_cluster(slurm):
    assert "SLURM_CONF" not in os.environ
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_a_second_cluster_and_its_end(slurm, tmp_path):
    """Beside the session's: other ports, nothing left behind, not even a job of a dead node."""
    state = Path(slurm.state_dir.parent / f"{slurm.state_dir.name}-2")
    pids = tmp_path / "pids"
    try:
        up = dev_cluster("up", state, NODES="1", GPUS="0", DBD="0")
        assert up.returncode == 0, up.stderr
        assert dev_cluster("up", state).stdout.startswith("already up")
        env = {**os.environ, "SLURM_CONF": str(state / "etc/slurm.conf")}
        script = f"trap '' TERM; sleep 300 & echo $$ $! > {pids}.tmp; mv {pids}.tmp {pids}; wait"
        subprocess.run(
            ["sbatch", "-Q", "-o", "/dev/null", "--wrap", script], env=env, cwd="/tmp", check=True
        )
        slurm.wait_until(pids.exists, 20, "the job runs")
        assert dev_cluster("kill-node", "127.0.0.1", state).returncode == 0
    finally:
        down = dev_cluster("down", state)
    assert down.returncode == 0, down.stderr
    for pid in pids.read_text().split():
        assert not Path(f"/proc/{pid}/exe").exists()
    assert dev_cluster("status", state).returncode == 3
    assert "no cluster is up" in dev_cluster("env", state).stderr
    subprocess.run(["rm", "-rf", state], check=True)


def test_cluster_goes_when_the_session_is_killed(slurm, tmp_path, wait_until):
    """The fixture's guard: SIGKILL of a pytest that uses the cluster takes the cluster down."""
    test = tmp_path / "test_long.py"
    test.write_text(
        "import pathlib, time\n"
        "def test_long(slurm):\n"
        "    pathlib.Path('state_dir').write_text(str(slurm.state_dir))\n"
        "    time.sleep(300)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(DEV_CLUSTER.parents[1] / "tests" / "support")}
    command = [sys.executable, "-m", "pytest", "-p", "slurm_cluster", test]
    session = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "state_dir").exists, 60)
    finally:
        session.send_signal(signal.SIGKILL)
        session.wait()
    state = Path((tmp_path / "state_dir").read_text())
    wait_until(lambda: not state.exists(), 30)
    assert dev_cluster("status", state).returncode == 3
