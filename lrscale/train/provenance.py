"""What a training run was computed on and with."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from lrscale.host import cpu_name, peak_resident_bytes, versions
from lrscale.train.runtime import Runtime

# Looked up once for all the runs that are forked from here: it takes 15 ms.
CPU, VERSIONS = cpu_name(), versions(("torch", "numpy", "accelerate", "lrscale"))


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
            "cpu": CPU,
            "gpu": torch.cuda.get_device_name(runtime.device) if on_gpu else None,
        },
        "versions": {**VERSIONS, "cuda": torch.version.cuda if on_gpu else None},
    }


def peak_memory_bytes(runtime: Runtime) -> int:
    """The most memory in use at once by any rank: of the GPU where there is one, else resident.

    Collective.
    """
    on_gpu = runtime.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(runtime.device) if on_gpu else peak_resident_bytes()
    return int(max(rank[0] for rank in runtime.gather([float(peak)])))


def digest(model: nn.Module) -> str:
    """16 hexadecimal digits of the SHA-256 of all parameters and buffers, bit for bit."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]
