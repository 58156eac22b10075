"""Cluster profiles: what is in slurm/, what is refused, and that nothing acts on a shell."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import submitit
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from launch.profiles import Command, Profile, load_profile, profile_names
from launch.resources import decode_resources
from lrscale.errors import ConfigError, UserError


@pytest.fixture
def profile_of(tmp_path: Path):
    """A profile from the text of its file."""

    def load(text: str) -> Profile:
        path = tmp_path / "site.yaml"
        path.write_text(text)
        return load_profile(str(path))

    return load


def problems_of(load, text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as error:
        load(text)
    return {p.key.split(": ")[1]: str(p) for p in error.value.problems}


def test_every_profile_of_the_folder_loads():
    assert {"default", "example_gpu"} <= set(profile_names())
    for name in profile_names():
        assert isinstance(load_profile(name), Profile)


def test_default_profile_spells_out_the_defaults():
    assert load_profile("default") == Profile()
    assert load_profile("default").refusals(decode_resources({"nodes": 99})) == []


def test_an_empty_file_is_the_default(profile_of):
    assert profile_of("# nothing yet\n") == Profile()


def test_selection(monkeypatch, tmp_path):
    assert load_profile() == Profile()
    monkeypatch.setenv("LRSCALE_PROFILE", "example_gpu")
    assert load_profile().partition == "gpu"
    assert load_profile("default") == Profile()
    with pytest.raises(UserError, match=r"no profile 'exmple_gpu'.*did you mean 'example_gpu'"):
        load_profile("exmple_gpu")
    with pytest.raises(UserError, match=r"nowhere.yaml: No such file"):
        load_profile(str(tmp_path / "nowhere.yaml"))


def test_all_problems_at_once_with_the_file(profile_of):
    found = problems_of(
        profile_of,
        """
        partiton: gpu
        account: a b
        preamble: module load cuda
        sbatch: {time: "1:00", Mail: x, mail-user: "a\\nb", comment: 'a\\b'}
        srun_args: [--mpi=none, 3]
        python: ~/env/bin/python
        limits: {max_times: 3, max_time: soon, partitions: gpu}
        max_array_size: 0
        """,
    )
    assert set(found) == {
        "partiton",
        "account",
        "preamble",
        "sbatch.time",
        "sbatch.Mail",
        "sbatch.mail-user",
        "sbatch.comment",
        "srun_args.1",
        "python",
        "limits.max_times",
        "limits.max_time",
        "limits.partitions",
        "max_array_size",
    }
    assert "did you mean 'partition'?" in found["partiton"]
    assert "did you mean 'max_time'?" in found["limits.max_times"]
    assert "site.yaml: " in found["account"]


@pytest.mark.parametrize("text", ["- a", "limits: [1]", "just text", "sbatch: 3"])
def test_a_file_of_another_shape(profile_of, text):
    assert problems_of(profile_of, text)


def test_broken_yaml_names_the_line(profile_of):
    with pytest.raises(UserError, match=r"site.yaml:\d+: "):
        profile_of("partition: gpu\naccount: [")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"#" * (1 << 21), "larger than 1 MiB"), (b"# caf\xe9", "not text in UTF-8")],
)
def test_no_profile_at_all(tmp_path, content, says):
    path = tmp_path / "site.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"site.yaml: {says}"):
        load_profile(str(path))
    with pytest.raises(UserError, match="not a file"):
        load_profile("/dev/zero")


def test_a_late_sbatch_line_is_refused(profile_of):
    found = problems_of(profile_of, "preamble: ['#SBATCH --mail-type=FAIL']")
    assert "belong under `sbatch`" in found["preamble.0"]


def test_options_without_a_value(profile_of):
    options = profile_of("sbatch: {exclusive: true, overcommit: false, nice: 10}").sbatch
    assert options == {"exclusive": True, "nice": "10"}


def test_placed_fills_what_the_sweep_leaves_open(profile_of):
    profile = profile_of("partition: gpu\naccount: ml\n")
    placed = profile.placed(decode_resources({"partition": "long"}))
    assert (placed.partition, placed.account, placed.qos) == ("long", "ml", None)
    assert placed.minutes == 120


LIMITS = """
partition: gpu
limits:
  partitions: [gpu, cpu]
  gpu_types: [a100]
  max_nodes: 2
  max_gpus_per_node: 4
  max_cpus_per_node: 32
  max_mem_per_node: 128G
  max_time: 1-00:00:00
"""


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        ({}, {}),
        ({"nodes": 2, "gpus_per_node": 4, "time": "24:00:00", "gpu_type": "a100"}, {}),
        ({"partition": "gpu,cpu"}, {}),
        ({"partition": "cpus"}, {"partition": "did you mean 'cpu'?"}),
        ({"partition": "gpu,x"}, {"partition": "known: cpu, gpu"}),
        ({"gpu_type": "a10"}, {"gpu_type": "did you mean 'a100'?"}),
        ({"nodes": 3}, {"nodes": "the profile allows 2"}),
        (
            {"gpus_per_node": 8, "cpus_per_gpu": 2, "mem_per_gpu": "1G"},
            {"gpus_per_node": "allows 4"},
        ),
        ({"gpus_per_node": 4, "cpus_per_gpu": 9}, {"cpus_per_gpu": "36 cores on each node"}),
        (
            {"gpus_per_node": 0, "tasks_per_node": 33, "mem": "1T"},
            {"cpus_per_task": "33 cores", "mem": "1024G on each node"},
        ),
        ({"gpus_per_node": 4, "mem_per_gpu": "33G"}, {"mem_per_gpu": "132G on each node"}),
        ({"time": "1-00:00:01"}, {"time": "the profile allows 1-00:00:00"}),
    ],
)
def test_what_the_profile_cannot_give(profile_of, asked, refused):
    problems = profile_of(LIMITS).refusals(decode_resources(asked))
    assert {p.key.removeprefix("resources.") for p in problems} == set(refused)
    for problem in problems:
        assert refused[problem.key.removeprefix("resources.")] in str(problem)


NOTATION = st.text(st.sampled_from("ab$`'\"\\ ;&|<>()#~*\n\t\x00éñ☃=-/")) | st.text(
    st.characters(exclude_categories=["Cs"])
)


@given(NOTATION)
def test_an_interpreter_command_is_quoted_or_refused(command):
    """In the form that the profile keeps, bash sees exactly the words that the notation means."""
    try:
        quoted = TypeAdapter(Command).validate_python(command)
    except ValidationError:
        return
    assert shlex.split(quoted) == shlex.split(command)
    bash = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {quoted}"], capture_output=True, check=True
    )
    assert bash.stdout.decode().split("\0")[:-1] == shlex.split(command)


def test_option_values_reach_sbatch_literally(slurm, profile_of, tmp_path, monkeypatch):
    """Through submitit's batch script, on the real cluster."""
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    for value in ("it's", "$(id) `id` $HOME", "a; b # c", 'say "x"', "ü ☃ 100% *"):
        options = profile_of(yaml.safe_dump({"sbatch": {"comment": value, "hold": True}})).sbatch
        executor = submitit.SlurmExecutor(tmp_path / "jobs", python=shlex.quote(sys.executable))
        executor.update_parameters(time=5, additional_parameters=dict(options))
        job = executor.submit(print, "never run")
        assert slurm.squeue("--job", job.job_id, "--format", "%k") == [value]
        job.cancel(check=False)
