"""What an array element asks for: SLURM's ways to write times and amounts, and equal shapes."""

from __future__ import annotations

import dataclasses
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.resources import Resources, decode_resources, memory_mb, time_seconds
from lrscale.errors import ConfigError


def keys(raw: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        decode_resources(raw)
    return [problem.key for problem in error.value.problems]


def test_defaults_are_one_gpu():
    r = decode_resources({})
    assert (r.nodes, r.gpus_per_node, r.tasks_per_node, r.world_size) == (1, 1, 1, 1)
    assert (r.cpus_per_task, r.mem_per_node, r.minutes) == (8, "32G", 120)
    assert r == Resources()


def test_gpu_run_has_one_process_per_gpu():
    r = decode_resources({"nodes": 2, "gpus_per_node": 4, "cpus_per_gpu": 6, "mem_per_gpu": "20G"})
    assert (r.tasks_per_node, r.world_size, r.cpus_per_task, r.mem_per_node) == (4, 8, 6, "80G")
    assert r.gpu_hours(90) == 12
    assert r.core_hours(60) == 48


def test_cpu_run_takes_what_is_given():
    block = {"gpus_per_node": 0, "nodes": 2, "tasks_per_node": 3, "cpus_per_task": 5, "mem": "7G"}
    r = decode_resources(block)
    assert (r.world_size, r.cpus_per_task, r.mem_per_node) == (6, 5, "7G")
    assert r.gpu_hours(60) == 0
    assert r.core_hours(30) == 15
    assert decode_resources({"gpus_per_node": 0}).mem_per_node is None


@pytest.mark.parametrize(
    ("written", "seconds"),
    [  # the forms of sbatch(1), --time
        ("30", 1800),
        (30, 1800),
        ("90:30", 5430),
        ("02:00:00", 7200),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("1-12:30:15", 131415),
        ("0-0:30", 1800),
    ],
)
def test_slurm_times(written, seconds):
    assert time_seconds(written) == seconds


@pytest.mark.parametrize(
    "bad", ["", "0", "00:00:00", "2h", "1:2:3:4", "-5", "1-", "1.5", 1.5, True, "UNLIMITED", None]
)
def test_bad_times(bad):
    with pytest.raises(ValueError, match="expected a time"):
        time_seconds(bad)


@given(st.integers(1, 999_999))
def test_times_keep_their_meaning_in_one_form(seconds):
    assert time_seconds(decode_resources({"time": f"0:0:{seconds}"}).time) == seconds


def test_minutes_are_rounded_up_as_slurm_does():
    assert decode_resources({"time": "0:90"}).minutes == 2
    assert decode_resources({"time": "0:01"}).minutes == 1


@pytest.mark.parametrize(
    ("written", "mb"), [("512M", 512), ("32G", 32768), ("32gb", 32768), ("2T", 2**21)]
)
def test_memory(written, mb):
    assert memory_mb(written) == mb


@pytest.mark.parametrize("bad", [32, "32", "1.5G", "0G", "G", "32K", "", None, "32G; rm"])
def test_bad_memory(bad):
    with pytest.raises(ValueError, match="with its unit"):
        memory_mb(bad)


def test_equal_shapes_are_equal_however_written():
    one = decode_resources({"time": "90", "mem_per_gpu": "2048M", "partition": None})
    other = decode_resources({"time": "01:30:00", "mem_per_gpu": "2G", "nodes": "1"})
    assert one == other
    assert hash(one) == hash(other)
    tried_out = {"gpus_per_node": 0, "cpus_per_gpu": 16, "mem_per_gpu": "64G"}
    assert decode_resources(tried_out) == decode_resources({"gpus_per_node": 0})


BLOCKS = st.fixed_dictionaries(
    {},
    optional={
        "nodes": st.integers(1, 64),
        "gpus_per_node": st.integers(0, 8),
        "cpus_per_gpu": st.integers(1, 64),
        "mem_per_gpu": st.integers(1, 900).map("{}G".format) | st.none(),
        "time": st.integers(1, 10**5),
        "partition": st.sampled_from(["gpu", "a,b-1", None]),
        "constraint": st.sampled_from(["a100&ib", "[rack1*2|rack2]"]),
    },
)


@given(BLOCKS)
def test_a_shape_decodes_to_itself(raw):
    shape = decode_resources(raw)
    assert decode_resources(dataclasses.asdict(shape)) == shape
    assert shape.minutes == raw.get("time", 120)


def test_every_problem_at_once_with_the_nearest_key():
    raw = {"node": 2, "gpus_per_node": -1, "time": "soon", "mem_per_gpu": 32, "nodes": True}
    with pytest.raises(ConfigError) as error:
        decode_resources(raw)
    text = str(error.value)
    for part in (
        "resources.node: unknown key (did you mean 'nodes'?)",
        "resources.gpus_per_node",
        "resources.time: expected a time such as",
        "resources.mem_per_gpu: expected a whole number with its unit",
    ):
        assert part in text
    assert "'soon'" in text
    assert keys({"nodes": True}) == ["resources.nodes"]
    assert keys({"cpus_per_gpu": 0}) == ["resources.cpus_per_gpu"]


def test_contradictions():
    gpu_run = {"gpus_per_node": 2, "tasks_per_node": 4, "cpus_per_task": 2, "mem": "8G"}
    assert keys(gpu_run) == [f"resources.{k}" for k in ("tasks_per_node", "cpus_per_task", "mem")]
    assert keys({"gpus_per_node": 0, "gpu_type": "a100"}) == ["resources.gpu_type"]


@given(
    st.sampled_from(["partition", "account", "qos", "constraint", "gpu_type"]),
    st.text(min_size=1),
)
def test_names_hold_only_the_characters_of_names(key, text):
    plain = string.ascii_letters + string.digits + "_.-"
    allowed = {"partition": plain + ",", "constraint": plain + ",&|*()[]:="}.get(key, plain)
    if set(text) <= set(allowed):
        assert getattr(decode_resources({key: text}), key) == text
    else:
        assert keys({key: text}) == [f"resources.{key}"]


def test_an_account_may_be_a_number():
    assert decode_resources({"account": 12345}).account == "12345"
