"""Transformer encoder over tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from lrscale.config import Decay, PositiveInt
from lrscale.registry import models

if TYPE_CHECKING:
    from torch import nn


@models.register("transformer")
@dataclass(frozen=True)
class Transformer:
    """Embedding, encoder blocks, LayerNorm, mean and maximum over the tokens, Linear.

    After Vaswani et al. 2017, with LayerNorm at the entrance of each part (Xiong et al. 2020).

    Attributes:
        width: of a token's vector throughout.
        layers: encoder blocks, of attention and a two-layer perceptron each.
        heads: of attention; they divide ``width``.
        hidden: units of the perceptrons.
        positions: ``learned``, from zero, or ``sinusoidal``.
        dropout: probability that a number is dropped in training: of the embedding, of each
            part's output and before the last layer.
        token_dropout: probability that a token is taken for an unknown one in training.

    Raises:
        ValueError: heads that do not divide the width, or an odd width with sinusoids.
    """

    inputs: ClassVar[str] = "tokens"

    width: PositiveInt = 64
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    hidden: PositiveInt = 128
    positions: Literal["learned", "sinusoidal"] = "learned"
    dropout: Decay = 0.3
    token_dropout: Decay = 0.2

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} cannot be divided into {self.heads} heads")
        if self.positions == "sinusoidal" and self.width % 2:
            raise ValueError(f"width {self.width} is odd: sinusoids come in pairs")

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """For tokens (batch, length) below ``input_shape[0]``, 0 after the end of a text, of
        length up to ``input_shape[1]``."""
        from lrscale.models._encoder import Encoder

        vocabulary, length = input_shape
        return Encoder(self, vocabulary, length, classes)
