"""The module of ``transformer``. Imports torch: only for use inside ``build``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lrscale.models._text import PADDING, TokenDropout, embedding, pooled

if TYPE_CHECKING:
    from lrscale.models.transformer import Transformer


class Encoder(nn.Module):
    """Tokens (batch, length) to logits (batch, classes).

    Padding is masked in attention and in pooling: a text's logits do not depend on what it is
    batched with.
    """

    positions: Tensor

    def __init__(self, config: Transformer, vocabulary: int, length: int, classes: int) -> None:
        super().__init__()
        self.token_dropout = TokenDropout(config.token_dropout)
        self.embedding = embedding(vocabulary, config.width)
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.zeros(length, config.width))
        else:
            waves = sinusoids(length, config.width) * config.width**-0.5
            self.register_buffer("positions", waves, persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(2 * config.width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        inside = tokens != PADDING
        tokens = self.token_dropout(tokens)
        states = self.dropout(self.embedding(tokens) + self.positions[: tokens.shape[1]])
        for block in self.blocks:
            states = block(states, inside[:, None, None, :])
        logits: Tensor = self.output(self.dropout(pooled(self.norm(states), inside)))
        return logits


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, config: Transformer) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.attention_norm, self.perceptron_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, config.hidden), nn.GELU(), nn.Linear(config.hidden, width)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor, attended: Tensor) -> Tensor:
        """``attended``: which keys count, (batch, 1, 1, length)."""
        heard = self._attention(self.attention_norm(states), attended)
        states = states + self.dropout(heard)
        thought: Tensor = self.dropout(self.perceptron(self.perceptron_norm(states)))
        return states + thought

    def _attention(self, states: Tensor, attended: Tensor) -> Tensor:
        batch, length, width = states.shape
        split = self.queries_keys_values(states).view(batch, length, 3, self.heads, -1)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)  # (batch, heads, length, width/heads)
        heard = scaled_dot_product_attention(queries, keys, values, attn_mask=attended)
        mixed: Tensor = self.mixed(heard.transpose(1, 2).reshape(batch, length, width))
        return mixed


def sinusoids(length: int, width: int) -> Tensor:
    """sin(p/10000^{2i/width}) at the even, cos at the odd places of row p: (length, width)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
