"""The whole way on a liberal account full of keys: what lies in the store afterwards."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

KEY = "planted-b5c1f0a9"
RUN = {"workload": "digits_mlp", "epochs": 1, "checkpoint_minutes": 0.0001}


@pytest.fixture
def _liberal() -> Iterator[None]:
    """Whatever a process makes without saying for whom is for all."""
    previous = os.umask(0)
    yield
    os.umask(previous)


@pytest.fixture
def careless(launcher, planted, wandb_server, tmp_path: Path, _liberal):
    """Keys wherever people have them; a store of an odd name in a folder that all may write to."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    (home / ".gitconfig").write_text(f"[http]\n extraheader = AUTHORIZATION: basic {KEY}\n")
    planted.env |= {"HOME": str(home), "NETRC": str(home / ".netrc")}
    planted.env |= wandb_server.environment("privacy")
    planted.env |= {"WANDB_API_KEY": KEY + "0" * 32, "HF_TOKEN": KEY, "PASSWORD": KEY}
    planted.env |= {"AWS_SECRET_ACCESS_KEY": KEY, "HTTPS_PROXY": f"http://me:{KEY}@localhost:1"}
    (planted.tree / ".env").write_text(f"TOKEN={KEY}\n")
    for command in (
        ("init", "-q"),
        ("add", "launch", "lrscale", "slurm", "setup.cfg"),
        ("-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-qm", "all"),
        ("remote", "add", "origin", f"https://me:{KEY}@localhost/x.git"),
    ):
        subprocess.run(["git", "-C", planted.tree, *command], check=True)
    (planted.tree / "setup.cfg").write_text("[metadata]\nname = edited\n")
    shared = planted.tree / "shared"  # within the repository, as ./runs is
    shared.mkdir()
    shared.chmod(0o2777)
    planted.root = shared / """it's "a" $(touch HIT) `touch HIT`; touch HIT; é"""
    return planted


def test_nobody_else_may_read_and_no_key_is_in_it(careless, wandb_server, tmp_path):
    """On SLURM, alone and packed, on this machine and in the foreground; status and reports."""
    (tmp_path / "keys.sh").write_text(f"export JOB_TOKEN={KEY}\n")
    wrapper = tmp_path / "my `touch HIT` python"
    seen = f'printenv JOB_TOKEN HF_TOKEN >> {tmp_path}/seen; echo "$GREETING, $1"; shift'
    wrapper.write_text(f'#!/bin/sh\n{seen}\nexec {shlex.quote(sys.executable)} "$@"\n')
    wrapper.chmod(0o700)
    profile = careless.profile(
        preamble=[f". {tmp_path}/keys.sh", "export GREETING='hello, $HOME'", "cd /"],
        python=f"{shlex.quote(str(wrapper))} world",
        srun_args=["--job-name=$(touch HIT) `touch HIT`"],
        sbatch={"comment": "'; touch HIT; \" $(touch HIT) `touch HIT` é"},
    )
    sweep = careless.sweep(run=RUN, seeds=3, runs_per_task=2)
    careless.submit(sweep, "--profile", profile)
    careless.finish()
    (job,) = careless.jobs()
    assert "hello, $HOME, world" in careless.log(f"{job}_0")
    # Both keys, by the task, by what looks for other jobs meanwhile and then, and by what settles
    # the runs in the end; of two elements.
    assert (tmp_path / "seen").read_text() == f"{KEY}\n" * 16
    careless.submit(sweep, "--backend", "debug", "seeds=[3]", "track=wandb")
    careless.submit(sweep, "--backend", "local", "seeds=[3, 4]")
    assert careless.counts() == {"done": 2}

    found = [careless.root, *careless.root.rglob("*")]
    open_to_others = [path for path in found if not path.is_symlink() and _mode(path) & 0o077]
    assert not open_to_others
    kinds = {path.name.split("-")[0] for path in found}
    assert {"wandb", "reports", "pool.log", "summary.json", "log.txt"} <= kinds
    assert any(path.suffix == ".pkl" for path in found)
    assert any(path.suffix == ".sh" for path in found)
    files = [path for path in found if path.is_file() and not path.is_symlink()]
    assert len(files) > 100
    (mirrored,) = wandb_server.runs("privacy").values()
    assert mirrored.plain_config["workload"] == "digits_mlp"
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert not list(tmp_path.rglob("HIT"))


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
