"""The energy that a run takes, as the driver of its GPU counts it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch


class Meter:
    """Joules of all ranks' GPUs, summed over a run's attempts.

    The counters (NVML's, from Volta on) are of whole boards, whoever computes on them. What a
    killed attempt took after its last checkpoint is not counted.
    """

    def __init__(self, device: torch.device) -> None:
        self._board = _board(device)
        self._start = self._count()
        self._earlier = self._total = 0.0

    @property
    def total(self) -> float | None:
        """When the ranks were last added up; None where it is not known."""
        return self._total if math.isfinite(self._total) else None

    def joules(self) -> float:
        """Of this rank's GPU since the meter was made. NaN where nobody counts: on a CPU, without
        NVML, on part of a GPU (MIG)."""
        return self._count() - self._start

    def add_up(self, ranks: Sequence[float]) -> None:
        """``ranks``: the ``joules`` of each."""
        self._total = self._earlier + sum(ranks)

    def carry(self, earlier: float | None) -> None:
        """Add the ``total`` of earlier attempts."""
        self._total = self._earlier = math.nan if earlier is None else earlier

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
    if device.type != "cuda":
        return None
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
