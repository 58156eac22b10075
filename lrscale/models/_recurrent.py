"""The module of ``lstm``. Imports torch: only for use inside ``build``."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lrscale.models._text import PADDING, TokenDropout, embedding, pooled

if TYPE_CHECKING:
    from lrscale.models.lstm import LSTM


class Recurrent(nn.Module):
    """Tokens (batch, length) to logits (batch, classes).

    Padding stands at the end, behind all that it could influence: the backward stack reads each
    text reversed in its own place. So a text's logits do not depend on what it is batched with,
    and nothing is packed.
    """

    def __init__(self, config: LSTM, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.token_dropout = TokenDropout(config.token_dropout)
        self.embedding = embedding(vocabulary, config.embedding)
        self.dropout = nn.Dropout(config.dropout)
        stacks = [_Stack(config) for _ in range(1 + config.bidirectional)]
        self.stacks = nn.ModuleList(stacks)
        self.output = nn.Linear(2 * config.hidden * len(stacks), classes)

    def forward(self, tokens: Tensor) -> Tensor:
        inside = tokens != PADDING
        tokens = self.token_dropout(tokens)
        readings = [tokens, _reversed(tokens, inside)]
        states = [
            pooled(stack(self.dropout(self.embedding(reading))), inside)
            for stack, reading in zip(self.stacks, readings, strict=False)
        ]
        logits: Tensor = self.output(self.dropout(torch.cat(states, dim=1)))
        return logits


class _Stack(nn.Module):
    """LSTM layers of one direction with dropout between them.

    Layer by layer, for cuDNN's own dropout between layers goes on from a hidden state of its
    own, which no seed of a step resets: a resumed run would differ.
    """

    def __init__(self, config: LSTM) -> None:
        super().__init__()
        widths = [config.embedding] + [config.hidden] * config.layers
        self.layers = nn.ModuleList(
            nn.LSTM(inputs, outputs, batch_first=True) for inputs, outputs in pairwise(widths)
        )
        self.dropout = nn.Dropout(config.dropout)
        for layer in self.layers:
            _initialise(layer)

    def forward(self, states: Tensor) -> Tensor:
        # On the CPU always in float32: oneDNN has no LSTM in bfloat16 for many processors.
        with torch.autocast("cpu", enabled=False):
            for depth, layer in enumerate(self.layers):
                states, _ = layer(self.dropout(states) if depth else states)
        return states


def _initialise(layer: nn.Module) -> None:
    """Orthogonal recurrence, and forget gates that start open (Jozefowicz et al. 2015)."""
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.chunk(4):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
            if name.startswith("bias_ih"):
                with torch.no_grad():
                    parameter.chunk(4)[1].fill_(1.0)


def _reversed(tokens: Tensor, inside: Tensor) -> Tensor:
    """Each text back to front, its padding still at the end."""
    places = torch.arange(tokens.shape[1], device=tokens.device)
    lengths = inside.sum(dim=1, keepdim=True)
    mirrored = (lengths - 1 - places).clamp(min=0)
    return tokens.gather(1, mirrored).masked_fill(~inside, PADDING)
