"""What a result was computed on and with, as far as every trainer asks."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import sys
from collections.abc import Iterable
from pathlib import Path


def versions(libraries: Iterable[str]) -> dict[str, str | None]:
    """Of Python and of the libraries named; None for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in libraries}}


def cpu_name() -> str:
    """The processor's own name for itself; the architecture where it gives none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_resident_bytes() -> int:
    """The most resident memory that this process has had, imports included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
