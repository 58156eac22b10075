"""The rules of the house that a tool can hold: style, types, layers, shell, links in the docs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHELL_SCRIPTS = [ROOT / "slurm" / "dev_cluster.sh", ROOT / ".ci" / "run"]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("slurm/*.md")])
OF_THIS_REPOSITORY = re.compile(
    r"\b(?:launch|lrscale|sweeps|slurm|tests|benchmarks|docs)/[\w./-]+\.(?:py|sh|yaml|md|png|svg)\b"
)


def passes(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"{Path(command[0]).name} says:\n{done.stdout}{done.stderr}", pytrace=False)


def test_style():
    passes(sys.executable, "-m", "ruff", "check", ".")


def test_types():
    passes(sys.executable, "-m", "mypy")


def test_layers():
    passes(Path(sysconfig.get_path("scripts")) / "lint-imports")


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell(script):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck not installed: apt-get install shellcheck")
    passes("shellcheck", script)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_documents_name_exist(document):
    """Paths of this repository; names that stand for the reader's own (x, mysite) aside."""
    named = set(OF_THIS_REPOSITORY.findall(document.read_text(encoding="utf-8")))
    missing = [
        path for path in sorted(named) if not (ROOT / path).exists() and not _an_example(path)
    ]
    assert not missing, f"{document.name} names files that do not exist: {', '.join(missing)}"


def test_the_architecture_names_every_module():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {Path(name).name for name in re.findall(r"`([\w/]+\.py)`", text)}
    modules = {path.name for path in [*ROOT.glob("launch/*.py"), *ROOT.glob("lrscale/*.py")]}
    assert modules - {"__init__.py"} - named == set()


def _an_example(path: str) -> bool:
    return Path(path).stem in {"x", "mine", "mysite"}
