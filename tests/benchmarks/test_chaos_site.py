"""Nodes of benchmarks/chaos.py whose clocks are wrong, and that see late what others have done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).parents[2] / "benchmarks" / "_chaos_site.py"


class Node:
    """A process of which is started anew for all that is done there."""

    def __init__(self, folder: Path) -> None:
        (folder / "site").mkdir()
        shutil.copy(SITE, folder / "site" / "sitecustomize.py")
        self.wrong, self.store = folder / "nodes" / "n1", folder / "store"
        self.wrong.mkdir(parents=True)
        self.run = self.store / "run"
        self.run.mkdir(parents=True)
        self._env = os.environ | {
            "CHAOS_NODES": str(folder / "nodes"),
            "CHAOS_STORE": str(self.store),
            "SLURMD_NODENAME": "n1",
            "PYTHONPATH": str(folder / "site"),
        }

    def __call__(self, expression: str, before: str = "") -> Any:
        """What an expression comes to, of ``run``, ``os``, ``time`` and Path."""
        lines = [
            "import json, os, time",
            "from pathlib import Path",
            f"run = Path({str(self.run)!r})",
            before,
            f"print(json.dumps({expression}))",
        ]
        words = [sys.executable, "-c", "\n".join(lines)]
        done = subprocess.run(words, env=self._env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


LISTING = "sorted(os.listdir(run))"


def test_a_clock_that_is_an_hour_ahead(node: Node):
    assert abs(node("time.time()") - time.time()) < 600
    (node.wrong / "clock").write_text("3600")
    assert abs(node("time.time()") - time.time() - 3600) < 600


def test_what_others_do_is_seen_once_the_node_does_something_there(node: Node):
    (node.wrong / "late").mkdir()
    assert node(LISTING) == []
    (node.run / "one").touch()
    assert node(LISTING) == []
    assert node("os.listdir(run.parent)") == ["run"]
    assert node(LISTING, before="(run / 'two').touch()") == ["one", "two"]
    (node.run / "three").touch()
    assert node(LISTING, before="os.open(run / 'one', os.O_RDONLY)") == ["one", "two"]
    assert node(LISTING, before="(run / 'one').unlink()") == ["three", "two"]
    (node.run / "two").unlink()
    assert node(LISTING) == ["three", "two"]
    assert node(LISTING, before="os.replace(run / 'three', run / 'four')") == ["four"]


def test_it_is_over_when_the_folder_is_gone(node: Node):
    assert node(LISTING) == []
    (node.run / "one").touch()
    assert node(LISTING) == ["one"]
    (node.wrong / "late").mkdir()
    assert node(LISTING) == ["one"]
    (node.run / "two").touch()
    shutil.rmtree(node.wrong / "late")
    assert node(LISTING) == ["one", "two"]
