"""Small colour images: whole splits on the device, augmented there in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrscale.data.draws import draws
from lrscale.data.source import Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lrscale.data.arrays import Arrays

PADDING = 4  # black pixels on each side that a random crop may reach into


class AugmentedImages:
    """Images held as bytes; a batch is one gather, and two passes to normalise. A ``Source``.

    Augmented training images are cropped at a random place after padding by 4 black pixels, and
    mirrored with probability ½ (He et al. 2016, section 4.2), as torchvision's
    ``RandomCrop(side, padding=4)`` and ``RandomHorizontalFlip()`` do. Batches come in
    ``channels_last`` memory format.

    Args:
        splits: images (n, height, width, 3) and labels (n,), bytes.
        mean, deviation: of each channel of the training pixels, white being 1.
        augment: whether training batches are augmented; costs 3 times the images' own memory.

    Attributes:
        damaged: a message for each file that could not be read.
    """

    def __init__(
        self,
        title: str,
        splits: Mapping[Split, Arrays],
        classes: int,
        device: torch.device,
        mean: tuple[float, float, float],
        deviation: tuple[float, float, float],
        augment: bool,
    ) -> None:
        import torch

        _, height, width, channels = splits["train"][0].shape
        self.title = title
        self.classes = classes
        self.input_shape: tuple[int, ...] = (channels, height, width)
        self.damaged: set[str] = set()
        self._device = device
        self._splits = {
            split: (
                _Windows(images, augment and split == "train", device),
                torch.from_numpy(labels).to(device, torch.int64),
            )
            for split, (images, labels) in splits.items()
        }
        # One scale and shift for each byte of an image: a pixel's three at a time are too few.
        scale, shift = 1 / (255 * np.array(deviation)), -np.array(mean) / np.array(deviation)
        self._scale, self._shift = (
            torch.from_numpy(np.tile(values, height * width)).to(device, torch.float32)
            for values in (scale, shift)
        )

    def size(self, split: Split) -> int:
        return len(self._splits[split][1])

    def batches(
        self, split: Split, indices: Iterable[Tensor], key: tuple[int, int] | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        windows, targets = self._splits[split]
        starts = windows.starts(key)
        channels, height, width = self.input_shape
        for chosen in indices:
            rows = chosen.to(self._device, non_blocking=True)
            pixels = windows.view.index_select(0, starts.index_select(0, rows)).flatten(1).float()
            pixels.mul_(self._scale).add_(self._shift)
            inputs = pixels.view(len(rows), height, width, channels).permute(0, 3, 1, 2)
            yield inputs, targets.index_select(0, rows)


class _Windows:
    """Every crop of every image and of its mirror image, as one overlapping view of their bytes.

    A crop has fixed strides and is known by where it starts, so that taking one is a copy of
    rows, without arithmetic on pixels.

    Attributes:
        view: (starts, height, 3 · width) bytes, not copied.
    """

    def __init__(self, images: NDArray[Any], augmented: bool, device: torch.device) -> None:
        import torch

        count, height, width, channels = images.shape
        self._count, self._augmented, self._device = count, augmented, device
        if augmented:
            sides = (PADDING, PADDING)
            images = np.pad(images, ((0, 0), sides, sides, (0, 0)))
            images = np.concatenate([images, images[:, :, ::-1]])
        self._pixel = channels
        self._row = channels * images.shape[2]
        self._image = self._row * images.shape[1]
        stored = torch.from_numpy(np.ascontiguousarray(images)).to(device).flatten()
        last = (height - 1) * self._row + channels * width  # bytes from a crop's first to its last
        self.view = stored.as_strided(
            (len(stored) - last + 1, height, channels * width), (1, self._row, 1)
        )

    def starts(self, key: tuple[int, int] | None) -> Tensor:
        """Where each image's crop starts, (n,): drawn for ``key``, or the image itself for None."""
        import torch

        image = np.arange(self._count)
        places = np.full(self._count, PADDING if self._augmented else 0)
        down, right = places, places
        if key is not None and self._augmented:
            down, right, mirrored = crops(key, self._count)
            image = image + self._count * mirrored
        starts = image * self._image + down * self._row + right * self._pixel
        return torch.from_numpy(starts).to(self._device)


def crops(
    key: tuple[int, int], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Each example's crop, (n,) each: rows down and columns right in the padded image, from 0 to
    twice the padding, and whether it is the mirror image (0 or 1), all uniform.

    Args:
        key: (seed, epoch), which with the example's index decides all three.
    """
    bits = draws(*key, np.arange(count))
    places = np.uint64(2 * PADDING + 1)
    low = np.uint64(2**31 - 1)
    down = ((bits & low) * places) >> np.uint64(31)
    right = (((bits >> np.uint64(31)) & low) * places) >> np.uint64(31)
    return down.astype(np.int64), right.astype(np.int64), (bits >> np.uint64(63)).astype(np.int64)
