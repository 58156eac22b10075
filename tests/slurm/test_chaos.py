"""benchmarks/chaos.py in small: faults at random, on a cluster of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chaos.py"
FAULTS = 4  # at least, each of another kind or nearly so, on however busy a machine


@pytest.mark.timeout(1200)
def test_nothing_is_lost_in_a_short_storm(slurm):  # if there is SLURM to make a cluster of
    short = ("--seed", "3", "--minutes", "0.5", "--runs", "6", "--json")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, SCRIPT, *short], stdout=pipe, stderr=pipe) as chaos:
        try:
            output, said = chaos.communicate()
        finally:
            chaos.terminate()  # it takes its cluster with it
    assert output, said.decode()
    found = json.loads(output)
    assert (found["lost"], found["doubled"], found["wrong"]) == ([], [], []), said.decode()
    assert chaos.returncode == 0
    assert found["runs"] == 8
    assert found["faults"] >= FAULTS
    assert sum(map(bool, found["by kind"].values())) >= FAULTS - 1
    assert found["by phase"]["training"] > found["faults"] / 4
    assert found["looks at status.py"] >= 1
