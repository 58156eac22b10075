"""Where ranks meet; that they do, and what comes of a port that is taken: tests/slurm."""

from __future__ import annotations

from pathlib import Path

from launch.ranks import PORTS, master_port, this_start
from lrscale.run_dir import RunDir


def test_each_start_has_a_port_of_its_own() -> None:
    here, there = RunDir(Path("/a/runs/3f/3f2a")), RunDir(Path("/b/runs/3f/3f2a"))
    starts = [(here, "12", 0), (here, "12", 1), (here, "13_0", 0), (there, "12", 0)]
    ports = [master_port(this_start(*start)) for start in starts]
    assert len({*ports}) == len(starts)
    assert {*ports} <= {*PORTS}
    assert ports == [master_port(this_start(*start)) for start in starts]
    assert master_port(this_start(RunDir(Path("/\udcff/runs")), "12", 0)) in PORTS
