"""Whatever stands in a sweep file or on the command line, it runs or is a UserError."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep_strategies import ARGUMENTS, SWEEPS, VALUES

from launch.overrides import arguments as parsed
from launch.overrides import override
from launch.sweep import expand, read
from launch.sweep_file import load
from lrscale.errors import UserError

relaxed = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=300,
)


def attempt(path: Path, arguments: list[str]) -> None:
    with contextlib.suppress(UserError):
        json.dumps([vars(run) for run in expand(read(path, arguments))])


@relaxed
@given(SWEEPS | VALUES, ARGUMENTS)
def test_mappings(tmp_path: Path, sweep: Any, arguments: list[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps(sweep, ensure_ascii=False), encoding="utf-8")
    attempt(path, arguments)


@relaxed
@given(st.binary(max_size=200) | st.text("ab:[]{}&*,-#'\"|>!%@`\n\t ?<~$.0").map(str.encode))
def test_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(content)
    attempt(path, [])


@relaxed
@given(ARGUMENTS)
def test_arguments(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("run: {a: 1}\narms: {x: {grid: {a: [1, 2]}}, y: {}}\nseeds: 2")
    with contextlib.suppress(UserError):
        override(load(str(path)), parsed(arguments))
    attempt(path, arguments)


def test_the_command_plans_or_refuses_and_half_submits_nothing() -> None:
    """benchmarks/fuzz.py in small: what the whole command makes of files and arguments."""
    script = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
    command = [sys.executable, script, "--files", "120", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["value"] == 0
    assert result["details"]["dry runs with exit code 0"] > 5
    assert result["details"]["submissions found complete"] > 0
