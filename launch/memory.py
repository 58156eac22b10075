"""How often the kernel has killed for want of memory, as control groups count it."""

from __future__ import annotations

import contextlib
from pathlib import Path


def oom_kills(own: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Processes of this process's control group, in a job that Slurm holds to its memory those of
    its task; 0 where nobody counts.

    Args:
        own: lists the groups of this process, one for each hierarchy (cgroups(7)).
        groups: where the hierarchies are mounted.
    """
    total = 0
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                total += _count(groups / path.lstrip("/") / "memory.events")
            elif "memory" in controllers.split(","):
                total += _count(groups / "memory" / path.lstrip("/") / "memory.oom_control")
    return total


def _count(file: Path) -> int:
    with contextlib.suppress(OSError):
        counts = dict(line.split() for line in file.read_text().splitlines())
        return int(counts.get("oom_kill", 0))
    return 0
