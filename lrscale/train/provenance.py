"""What a result was computed on and with."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lrscale.train.runtime import Runtime

LIBRARIES = ("torch", "numpy", "accelerate", "lrscale")


def provenance(runtime: Runtime) -> dict[str, Any]:
    """Whatever may change the last digit of a result, as plain values.

    A run whose attempts differ in any of it is not exactly repeatable, and is marked as mixed.
    """
    on_gpu = runtime.device.type == "cuda"
    return {
        "device": runtime.device.type,
        "world_size": runtime.world,
        "threads": torch.get_num_threads(),
        "hardware": {
            "cpu": _cpu_name(),
            "gpu": torch.cuda.get_device_name(runtime.device) if on_gpu else None,
        },
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in LIBRARIES},
            "cuda": torch.version.cuda if on_gpu else None,
        },
    }


def peak_memory_bytes(runtime: Runtime) -> int:
    """The most memory in use at once by any rank: of the GPU where there is one, else resident.

    Collective.
    """
    if runtime.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(runtime.device)
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    mine = torch.tensor([peak], dtype=torch.float64, device=runtime.device)
    return int(max(rank[0] for rank in runtime.gather(mine)))


def digest(model: nn.Module) -> str:
    """16 hexadecimal digits of the SHA-256 of all parameters and buffers, bit for bit."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]


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
