"""The block of ``residual_mlp``."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    """h + Linear(relu(LayerNorm(h))) for h (batch, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.branch(inputs)
