"""Layers that the models of texts share. Imports torch: only for use inside ``build``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PADDING, UNKNOWN = 0, 1  # as the datasets of tokens have it


class TokenDropout(nn.Module):
    """In training, each token becomes the unknown one with probability ``p``."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, length) to tokens of that shape; padding stays."""
        if not self.training or not self.p:
            return tokens
        dropped = torch.rand(tokens.shape, device=tokens.device) < self.p
        return tokens.masked_fill(dropped & (tokens != PADDING), UNKNOWN)


def embedding(vocabulary: int, width: int) -> nn.Embedding:
    """Of standard deviation ``width``^−½, so that a token's vector has a norm of about 1."""
    made = nn.Embedding(vocabulary, width, padding_idx=PADDING)
    with torch.no_grad():
        made.weight.mul_(width**-0.5)
    return made


def pooled(states: Tensor, inside: Tensor) -> Tensor:
    """Mean and maximum over the tokens: (batch, length, width) to (batch, 2 · width).

    Args:
        inside: which places are not padding: (batch, length).
    """
    kept = inside.unsqueeze(-1)
    mean = (states * kept).sum(dim=1) / kept.sum(dim=1)
    greatest = states.masked_fill(~kept, torch.finfo(states.dtype).min).amax(dim=1)
    return torch.cat([mean, greatest], dim=1)
