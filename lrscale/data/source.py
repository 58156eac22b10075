"""What the training loop sees of a dataset: splits that give batches for given indices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lrscale.data.arrays import Arrays

Split = Literal["train", "val", "test"]


class Source(Protocol):
    """An opened dataset on one device.

    A source of tokens gives inputs (batch, longest) that are cut to the longest of the batch; its
    ``lengths(split)``, int64 (size,) on the CPU, then say which examples are best batched together.

    A source of files counts in ``waited`` the seconds that training has waited for its batches, and
    collects in ``damaged`` a message for each file that it could not read.

    Attributes:
        title: how tables and figures name it.
        input_shape: shape of one example, such as (1, 28, 28); of tokens, the size of the
            vocabulary and the greatest length.
        classes: number of classes.
    """

    title: str
    input_shape: tuple[int, ...]
    classes: int

    def size(self, split: Split) -> int:
        """Number of examples."""
        ...

    def batches(
        self, split: Split, indices: Iterable[Tensor], key: tuple[int, int] | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs (batch, *input_shape) and targets (batch,), one pair per tensor of ``indices``.

        Args:
            split: which examples the indices count.
            indices: int64 CPU tensors, already sharded for this rank and offset for a resume.
            key: (seed, epoch), from which the augmentation of the example at an index is drawn
                and from nothing else; None for evaluation, which never augments.
        """
        ...


class InMemory:
    """Whole splits on the device; a batch is one gather. Implements ``Source``.

    Its examples are never augmented, so that ``key`` changes nothing.
    """

    def __init__(
        self, title: str, splits: Mapping[Split, Arrays], classes: int, device: torch.device
    ) -> None:
        """Copies the arrays to ``device``: inputs as float32, labels as int64."""
        import torch

        self.title = title
        self.classes = classes
        self.input_shape: tuple[int, ...] = splits["train"][0].shape[1:]
        self._device = device
        self._splits = {
            split: (
                torch.from_numpy(inputs).to(device, torch.float32),
                torch.from_numpy(labels).to(device, torch.int64),
            )
            for split, (inputs, labels) in splits.items()
        }

    def size(self, split: Split) -> int:
        return len(self._splits[split][1])

    def batches(
        self, split: Split, indices: Iterable[Tensor], key: tuple[int, int] | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, targets = self._splits[split]
        for chosen in indices:
            rows = chosen.to(self._device, non_blocking=True)
            yield inputs.index_select(0, rows), targets.index_select(0, rows)
