"""The script that sbatch is given: bash runs it here, with stand-ins for sbatch and srun."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from launch.backends import slurm
from launch.profiles import Profile, load_profile
from lrscale.errors import UserError
from lrscale.store import Store

# What does something in a shell: each would leave a file HIT somewhere.
PIECES = ["; touch HIT;", "$(touch HIT)", "`touch HIT`", "&& touch HIT", "> HIT", "| tee HIT"]
PIECES += ["\n", "'", '"', "\\", "$HOME", "$", "~", "*", "#", "!", "{a,b}", "(", " ", "\t", "\0"]
PIECES += ["é☃", "\u202e", "a", "-x", "a" * 60]
NASTY = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
PYTHON = "interpreter"  # a stand-in on the PATH


class Batch(NamedTuple):
    """Where a job is put together.

    Attributes:
        store: of which the job is.
        script: what the stand-in for sbatch was given.
        words: of the srun command, once the script has run.
        called: words that the interpreter was given when that had ended.
    """

    store: Store
    script: Path
    words: Path
    called: Path


@pytest.fixture
def batch_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Batch]:
    """A store in a folder of that name; sbatch keeps the script, srun its words, and fails."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    script, words, called = (tmp_path / name for name in ("script", "words", "called"))
    for name, body in {
        "sbatch": f'cp "$1" {script}; echo "Submitted batch job 7"',
        "srun": f"""printf '%s\\0' "$@" > {words}; exit ${{SRUN:-3}}""",
        "interpreter": f"""case "$*" in *--watch) exec sleep 60 ;; esac
printf '%s\\0' "$@" >> {called}""",
    }.items():
        (stand_ins / name).write_text(f"#!/bin/sh\n{body}\n")
        (stand_ins / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{stand_ins}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    def make(name: str) -> Batch:
        store = Store(tmp_path / "stores" / name)
        slurm.check_store(store.root)
        store.create()
        store.submission_dir("s").mkdir(exist_ok=True)
        store.snapshot_dir("code").mkdir(exist_ok=True)
        words.unlink(missing_ok=True)
        called.unlink(missing_ok=True)
        return Batch(store, script, words, called)

    return make


def submitted(batch: Batch, profile: Profile, **resources: Any) -> list[str]:
    """The lines of the script of a job of two elements."""
    shape = {"gpus_per_node": 0, **resources}
    array = slurm.ArrayJob("name.s.0", [["ab"], ["cd"]], shape, 2, "code", 1, 2)
    assert slurm.submit(batch.store, "s", array, {"ab": {}, "cd": {}}, profile, []) == "7"
    return batch.script.read_text().splitlines()


def run(batch: Batch, srun: int = 3) -> str:
    """What the script prints when bash runs it, and srun ends so."""
    done = subprocess.run(
        ["bash", batch.script],
        env={**os.environ, "SRUN": str(srun)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def profile_of(folder: Path, **keys: Any) -> Profile:
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(keys, allow_unicode=True), encoding="utf-8")
    return load_profile(str(path))


def test_a_whole_script(batch_of: Callable[[str], Batch], tmp_path: Path) -> None:
    profile = profile_of(
        tmp_path,
        partition="main",
        preamble=["module load x"],
        sbatch={"comment": "it's $HOME", "exclusive": True},
        srun_args=["--label=a b"],
        python=PYTHON,
    )
    batch = batch_of("run s")
    root, code = f"'{batch.store.root}'", f"'{batch.store.snapshot_dir('code')}'"
    logs = f"'{batch.store.submission_dir('s')}"
    gone = "is not visible from this node: '$(hostname); exit 1; }"
    assert submitted(batch, profile, time="1:00:00", mem="2G") == [
        "#!/bin/bash",
        "",
        "# Parameters",
        "#SBATCH --array=0-1%2",
        f"#SBATCH --chdir={code}",
        "#SBATCH --comment='it'\"'\"'s $HOME'",
        "#SBATCH --cpus-per-task=1",
        "#SBATCH --exclusive",
        "#SBATCH --job-name=name.s.0",
        "#SBATCH --mem=2G",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={logs}/%A_%a_0_log.out'",
        "#SBATCH --partition=main",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@180",
        "#SBATCH --time=60",
        "",
        "# setup",
        "set -e",
        "umask 077",
        f"test -d {root} || {{ echo 'lrscale: the run store {root[1:-1]} {gone}",
        f"[[ -O {root} || $EUID = 0 ]] && [[ -z $(find -H {root} -maxdepth 0 -perm /022) ]] || "
        f"{{ echo 'lrscale: others own the run store {root[1:-1]} or may write to it: '"
        "$(hostname); exit 1; }",
        f"test -d {code} || {{ echo 'lrscale: the code snapshot {code[1:-1]} {gone}",
        """trap 'echo "lrscale: a line of the preamble failed: $BASH_COMMAND"' ERR""",
        "module load x",
        "trap - ERR",
        f"command -v {PYTHON} >/dev/null || {{ echo 'lrscale: the interpreter {PYTHON} {gone}",
        f"cd {code}",
        "unset PYTHONSAFEPATH",
        "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}",
        "export SLURM_EXIT_ERROR=113",
        f"{PYTHON} -m launch.rescue {root} --watch & lrscale_watch=$!",
        f"trap '{PYTHON} -m launch.requeue {_twice(root)} s 0 $? || true; "
        "kill $lrscale_watch 2>/dev/null || true' EXIT",
        "",
        "# command",
        "export SUBMITIT_EXECUTOR=slurm",
        f"srun --unbuffered --output {logs}/%j_%t_log.out' --cpus-per-task=1 "
        f"--kill-on-bad-exit=1 '--output={logs[1:]}/%A_%a_%t_log.out' '--label=a b' {PYTHON} -u -m "
        f"submitit.core._submit {logs}'",
        "",
        "",
        "# teardown",
        f"{PYTHON} -m launch.rescue {root} || true",
    ]


def _twice(quoted: str) -> str:
    """What stands in quotes, within quotes."""
    return quoted.replace("'", """'"'"'""")


@settings(max_examples=40)
@given(name=NASTY, words=st.lists(NASTY, max_size=2), arguments=st.lists(NASTY, max_size=2))
@example(name="$(touch HIT)", words=["'; touch HIT; '"], arguments=["`touch HIT`"])
def test_paths_and_words_reach_srun_as_they_are(
    batch_of: Callable[[str], Batch],
    tmp_path: Path,
    name: str,
    words: list[str],
    arguments: list[str],
) -> None:
    """Of the store, of the interpreter and of srun's arguments: literal, or refused."""
    keys = {"python": shlex.join([PYTHON, *words]), "srun_args": arguments}
    try:
        profile, batch = profile_of(tmp_path, **keys), batch_of(name)
    except (UserError, ValueError):  # ValueError: NUL in a path
        assume(False)
    submitted(batch, profile)
    printed = run(batch)
    assert printed == ""
    folder = batch.store.submission_dir("s")
    log = f"--output={folder / '%A_%a_%t_log.out'}"
    assert batch.words.read_text().split("\0")[:-1] == [
        *("--unbuffered", "--output", str(folder / "%j_%t_log.out")),
        *("--cpus-per-task=1", "--kill-on-bad-exit=1", log, *arguments),
        *(PYTHON, *words, "-u", "-m", "submitit.core._submit", str(folder)),
    ]
    settles = [*words, "-m", "launch.requeue", str(batch.store.root), "s", "0"]
    assert batch.called.read_text().split("\0")[:-1] == [*settles, "3"]
    batch.called.unlink()
    assert run(batch, srun=0) == ""
    looks = [*words, "-m", "launch.rescue", str(batch.store.root)]
    assert batch.called.read_text().split("\0")[:-1] == [*looks, *settles, "0"]
    assert not list(tmp_path.rglob("HIT"))


@settings(max_examples=50)
@given(
    key=st.sampled_from(["partition", "account", "qos", "constraint", "comment", "reservation"]),
    value=NASTY,
)
def test_options_are_one_word_on_one_line_or_refused(
    batch_of: Callable[[str], Batch], tmp_path: Path, key: str, value: str
) -> None:
    own = key in ("partition", "account", "qos", "constraint")
    try:
        profile = profile_of(tmp_path, **({key: value} if own else {"sbatch": {key: value}}))
    except UserError:
        assume(False)
    lines = submitted(batch_of("runs"), profile)
    (line,) = [line for line in lines if line.startswith(f"#SBATCH --{key}")]
    assert shlex.split(line.removeprefix("#SBATCH ")) == [f"--{key}={value}"]
    assert lines[lines.index("# setup") + 1] == "set -e"


def test_a_job_does_not_run_what_others_may_have_written(
    batch_of: Callable[[str], Batch], tmp_path: Path
) -> None:
    batch = batch_of("runs")
    submitted(batch, profile_of(tmp_path, python=PYTHON))
    batch.store.root.chmod(0o770)
    said = f"lrscale: others own the run store {batch.store.root} or may write to it: "
    assert run(batch).startswith(said)
    assert not batch.words.exists()
    batch.store.root.chmod(0o750)
    assert run(batch) == ""
    assert batch.words.exists()
