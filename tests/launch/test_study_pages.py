"""The pages that ship: made by the generator from the runs that ship, with commands that work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from launch import study, submit
from launch.sweep import expand, read

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docs" / "studies").glob("*.yaml"))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_page_is_what_its_runs_say(file: Path) -> None:
    work = study.Work(file.relative_to(ROOT), study.read_study(file))
    page = work.page.read_text()
    again = f"{work.command} --page writes it anew"
    assert page == study.render(work), again
    for target in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (work.page.parent / target).exists(), target
    shown = {work.page.parent / target for target in re.findall(r"\]\(([^)]+)\)", page)}
    shipped = set(work.folder.iterdir()) - {work.references}
    assert shipped <= shown, "files that no page shows"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_command_of_a_page_exists(file: Path) -> None:
    page = file.with_suffix(".md").read_text()
    assert page.count(f"python launch/study.py {file.relative_to(ROOT)}") == 1
    for command in re.findall(r"`submit\.py ([^`]+)`", page):
        asked = submit.parse(shlex.split(command))
        assert len(expand(read(asked.sweep, asked.overrides, asked.quick))) > 0
    for script in re.findall(r"python (launch/\w+\.py)", page):
        assert (ROOT / script).is_file()
