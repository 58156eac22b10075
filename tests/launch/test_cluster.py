"""What the controller says, asked of a real one; and of none."""

from __future__ import annotations

import getpass
import os

import pytest

from launch.cluster import (
    controller_answers,
    max_array_size,
    max_submit_jobs,
    queued_jobs,
    require_controller,
)
from lrscale.errors import UserError


@pytest.fixture
def on_cluster(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    return slurm


@pytest.fixture
def limit(on_cluster):
    """Sets a limit in the accounting for one test: limit("user", "root", "maxsubmitjobs=3")."""
    undo = []

    def set_limit(kind: str, name: str, setting: str) -> None:
        where = () if kind == "qos" else ("where", "cluster=dev")
        key = setting.split("=")[0]
        on_cluster.run("sacctmgr", "-iQ", "modify", kind, name, *where, "set", setting)
        undo.append(("sacctmgr", "-iQ", "modify", kind, name, *where, "set", f"{key}=-1"))

    yield set_limit
    for command in undo:
        on_cluster.run(*command)


def test_a_controller_that_answers(on_cluster):
    assert controller_answers()
    require_controller()
    assert max_array_size() == 21
    assert max_submit_jobs() is None


def test_submit_limit_of_the_user(limit):
    limit("user", getpass.getuser(), "maxsubmitjobs=7")
    assert max_submit_jobs() == 7
    assert max_submit_jobs(account="dev", partition="main", qos="normal") == 7
    assert max_submit_jobs(account="another") is None


def test_submit_limit_of_the_account_and_the_qos(limit):
    limit("account", "dev", "maxsubmitjobs=9")
    assert max_submit_jobs() == 9
    limit("qos", "normal", "maxsubmitjobsperuser=4")
    assert max_submit_jobs() == 4


def test_the_limit_is_the_controllers(limit, on_cluster):
    limit("user", getpass.getuser(), "maxsubmitjobs=3")
    allowed = max_submit_jobs()
    array = ("sbatch", "-o", "/dev/null", "--parsable", "--hold", "--wrap", "true")
    assert on_cluster.run(*array, f"--array=1-{allowed + 1}", check=False).returncode != 0
    on_cluster.run("scancel", on_cluster.run(*array, f"--array=1-{allowed}").stdout.strip())


def test_array_elements_are_counted(on_cluster):
    before = queued_jobs()
    array = ("sbatch", "-o", "/dev/null", "--parsable", "--hold", "--array=0-9", "--wrap", "true")
    job = on_cluster.run(*array).stdout.strip()
    assert queued_jobs() == before + 10
    on_cluster.run("scancel", job)


def test_sbatch_without_a_controller(slurm, tmp_path, monkeypatch):
    conf = tmp_path / "slurm.conf"
    conf.write_text("ClusterName=gone\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=9\n")
    monkeypatch.setenv("SLURM_CONF", str(conf))
    assert not controller_answers()
    with pytest.raises(UserError, match=r"no SLURM controller answers .*--backend local"):
        require_controller()


def test_no_answer_in_time(tmp_path, monkeypatch):
    for command in ("scontrol", "sacctmgr", "squeue"):
        (tmp_path / command).write_text("#!/bin/sh\nexec sleep 30\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("launch.cluster.TIMEOUT_SECONDS", 0.2)
    assert not controller_answers()
    assert max_array_size() is None
    assert max_submit_jobs() is None
    assert queued_jobs() == 0


def test_no_slurm_at_all(path_without_slurm, monkeypatch):
    monkeypatch.setenv("PATH", path_without_slurm)
    assert not controller_answers()
    with pytest.raises(UserError, match="--backend local"):
        require_controller()
