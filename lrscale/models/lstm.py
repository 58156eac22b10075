"""Long short-term memory over tokens, in one direction or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lrscale.config import Decay, PositiveInt
from lrscale.registry import models

if TYPE_CHECKING:
    from torch import nn


@models.register("lstm")
@dataclass(frozen=True)
class LSTM:
    """Embedding, LSTM layers, mean and maximum over the tokens, Linear.

    Attributes:
        embedding: width of a token's vector.
        hidden: units of each layer and direction.
        layers: LSTM layers of each direction.
        bidirectional: a second stack reads the text backwards; the two meet at the end (as in
            ELMo, Peters et al. 2018), not after each layer.
        dropout: probability that a number is dropped in training: of the embedding, between
            layers and before the last one.
        token_dropout: probability that a token is taken for an unknown one in training.
    """

    inputs: ClassVar[str] = "tokens"

    embedding: PositiveInt = 64
    hidden: PositiveInt = 64
    layers: PositiveInt = 1
    bidirectional: bool = True
    dropout: Decay = 0.5
    token_dropout: Decay = 0.1

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """For tokens (batch, length) below ``input_shape[0]``, 0 after the end of a text."""
        from lrscale.models._recurrent import Recurrent

        return Recurrent(self, vocabulary=input_shape[0], classes=classes)
