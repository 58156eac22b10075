"""What a result was computed on, with and from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrscale.host import cpu_name, versions
from lrscale.theory.kernels import vector_bytes
from lrscale.workloads.gd import GDConfig, GivenInput

# Looked up once for all the runs that are forked from here.
CPU, VERSIONS = cpu_name(), versions(("numpy", "scipy", "numba", "torch", "lrscale"))


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
        "hardware": {"cpu": CPU, "vector_bytes": vector_bytes(), "gpu": gpu},
        "versions": VERSIONS,
    }


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
