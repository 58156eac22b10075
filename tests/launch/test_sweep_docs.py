"""Every example of docs/sweeps.md is a sweep, and does what the text beside it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launch.arithmetic import FUNCTIONS
from launch.sweep import expand, read
from launch.sweep_file import TOP_LEVEL
from lrscale.config import decode

PAGE = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
COUNTS = [(7 + 2) * 3, 4, 2 * 4 * 4 * 3, 3, 8, 3, 1, 2, 3, 2, 9]


@pytest.mark.parametrize(("example", "count"), list(zip(EXAMPLES, COUNTS, strict=True)))
def test_examples(example: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "mnist.yaml").write_text("run: {precision: no}")
    path = tmp_path / "s.yaml"
    path.write_text(example)
    runs = expand(read(path))
    assert len(runs) == count
    assert not runs.warnings


def test_the_quick_example_is_a_quick_sweep(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(EXAMPLES[-1])
    runs = expand(read(path, quick=True))
    assert len(runs) == 4
    assert {decode(run.config).epochs for run in runs} == {3}


def test_the_arguments_of_the_table_are_accepted(tmp_path: Path) -> None:
    table = PAGE.split("## The command line")[1]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    arguments = [a.strip("'") for cell in cells for a in re.findall(r"`([^`]*)`", cell)]
    assert len(arguments) >= 13
    path = tmp_path / "s.yaml"
    path.write_text("arms: {adam: {}}\nrandom: {trials: 2, space: {a: {uniform: [0, 1]}}}")
    for argument in arguments:
        expand(read(path, [argument]))


def test_all_keys_and_functions_are_described() -> None:
    for word in (*TOP_LEVEL, *FUNCTIONS):
        assert f"`{word}`" in PAGE
