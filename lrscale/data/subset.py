"""Some of the training examples of any source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lrscale.data.source import Source, Split
from lrscale.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Subset:
    """A source with so many training examples, evenly spread over its split; validation and test
    stay whole. Implements ``Source``.

    An example is augmented as in the whole: its draws are those of its index there. What else a
    source has (``waited``, ``damaged``) is the whole's.

    Raises:
        UserError: more examples than there are.
    """

    def __init__(self, whole: Source, examples: int) -> None:
        import torch

        size = whole.size("train")
        if examples > size:
            raise UserError(f"train_examples: {examples:,} of {size:,}: there are not as many")
        self._whole = whole
        self._places = torch.arange(examples) * size // examples
        self.title = f"{whole.title}, {examples:,} of {size:,} training examples"
        self.input_shape, self.classes = whole.input_shape, whole.classes
        if hasattr(whole, "lengths"):
            self.lengths = self._lengths

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def size(self, split: Split) -> int:
        return len(self._places) if split == "train" else self._whole.size(split)

    def batches(
        self, split: Split, indices: Iterable[Tensor], key: tuple[int, int] | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if split == "train":
            indices = (self._places[chosen] for chosen in indices)
        return self._whole.batches(split, indices, key)

    def _lengths(self, split: Split) -> Tensor:
        """See ``Source``."""
        lengths: Tensor = self._whole.lengths(split)  # type: ignore[attr-defined]
        return lengths[self._places] if split == "train" else lengths
