"""Whatever stands in a sweep file or on the command line, it runs or is a UserError."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_strategies import ARGUMENTS, SWEEPS, VALUES

from launch.sweep import expand, read
from lrscale.errors import UserError

often = settings(max_examples=300)


def attempt(path: Path, arguments: list[str]) -> None:
    """Either runs, which JSON holds as they are, or an error that says where."""
    runs, error = expanded(path, arguments)
    if error:
        assert str(path) in error or "command line" in error
    else:
        assert runs
        assert json.loads(json.dumps(runs, allow_nan=False)) == runs


def expanded(path: Path, arguments: list[str]) -> tuple[list[dict[str, Any]], str]:
    """The runs, or what is said of a mistake."""
    try:
        return [vars(run) for run in expand(read(path, arguments))], ""
    except UserError as error:
        return [], str(error)


@often
@given(SWEEPS | VALUES, ARGUMENTS)
def test_mappings(tmp_path: Path, sweep: Any, arguments: list[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps(sweep, ensure_ascii=False), encoding="utf-8")
    attempt(path, arguments)


@often
@given(st.binary(max_size=200) | st.text("ab:[]{}&*,-#'\"|>!%@`\n\t ?<~$.0").map(str.encode))
def test_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(content)
    attempt(path, [])


@often
@given(ARGUMENTS)
def test_arguments(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("run: {a: 1}\narms: {x: {grid: {a: [1, 2]}}, y: {}}\nseeds: 2")
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
