"""The energy that a run takes, as the driver of its GPU counts it."""

from __future__ import annotations

import math
from typing import Any

import torch


class Meter:
    """Joules of a GPU since the meter was made.

    The counter (NVML's, from Volta on) is of the whole board, whoever computes on it.
    """

    def __init__(self, device: torch.device) -> None:
        self._board = _board(device) if device.type == "cuda" else None
        self._start = self._count()

    def joules(self) -> float:
        """NaN where nobody counts: on a CPU, without NVML, on part of a GPU (MIG)."""
        return self._count() - self._start

    def _count(self) -> float:
        if self._board is None:
            return math.nan
        import pynvml

        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._board)) / 1e3
        except pynvml.NVMLError:
            return math.nan


def _board(device: torch.device) -> Any:
    """NVML's handle of a GPU; None where it gives none."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except pynvml.NVMLError:
        return None
