"""What a result was computed on, with and from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrscale.theory.kernels import vector_bytes
from lrscale.workloads.gd import GDConfig, GivenInput

LIBRARIES = ("numpy", "scipy", "numba", "torch", "lrscale")


def provenance(device: str) -> dict[str, Any]:
    """Whatever may change the last digit of a result, as plain values.

    A run whose attempts differ in any of it is not exactly repeatable, and is marked as mixed.
    """
    gpu = None
    if device == "cuda":
        import torch

        gpu = torch.cuda.get_device_name()
    return {
        "device": device,
        "threads": 1,
        "hardware": {"cpu": _cpu_name(), "vector_bytes": vector_bytes(), "gpu": gpu},
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in LIBRARIES},
        },
    }


def peak_memory_bytes() -> int:
    """The most resident memory that this process has had, imports included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def digest(weights: Sequence[NDArray[Any]]) -> str:
    """16 hexadecimal digits of the SHA-256 of W_1, …, W_N, bit for bit."""
    total = hashlib.sha256()
    for weight in weights:
        total.update(f"{weight.dtype} {weight.shape}".encode())
        total.update(np.ascontiguousarray(weight).tobytes())
    return total.hexdigest()[:16]


def title(config: GDConfig) -> str:
    """The data in words: ``gaussian X of 70 × 210, target of rank 35``."""
    if isinstance(config.input, GivenInput):
        return f"given data {config.input.sha256[:12]}"
    name = type(config.input).__name__.removesuffix("Input").lower()
    noise = f", noise {config.noise:g}" if config.noise else ""
    return f"{name} X of {config.dim} × {config.input.samples}, target of rank {config.rank}{noise}"


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    """The processor's own name for itself; the architecture where it gives none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
