"""Models, one file each.

A component is a frozen dataclass with ``build(input_shape, classes)``, which returns a torch
module from batches of ``(batch, *input_shape)`` to logits ``(batch, classes)``, initialised
from torch's global generator. One with ``inputs = "tokens"`` reads integers ``(batch, longest)``,
0 after the end of a text, and is built for ``input_shape`` (vocabulary, greatest length).
"""
