"""Patches of photographs that come with Python packages: real pixels without a download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrscale.data.arrays import Arrays, check_fingerprint, fingerprint, three_way
from lrscale.data.draws import splitmix64
from lrscale.data.images import AugmentedImages
from lrscale.data.packaged import packaged_file
from lrscale.data.source import Source
from lrscale.errors import UserError
from lrscale.registry import datasets

if TYPE_CHECKING:
    import torch

PHOTOGRAPHS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/hubble_deep_field.jpg"),
    ("skimage", "data/ihc.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/retina.jpg"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)
REGION, SIDE, STRIDE = 48, 32, 8  # pixels
REGIONS = 54  # of each photograph: as many as the smallest has
VALIDATION, TEST = 50, 100  # regions, of all photographs together
TITLE = "photo patches (ten photographs of scikit-image and scikit-learn), not CIFAR"
# Of the training patches, channel by channel, white being 1.
MEAN, DEVIATION = (0.4767, 0.3775, 0.3344), (0.3207, 0.2643, 0.2690)


@datasets.register("photo_patches")
@dataclass(frozen=True)
class PhotoPatches:
    """Which of ten photographs does a patch of 32 × 32 pixels come from? Colour images of the
    shape of CIFAR-10 to try networks and augmentation on; a puzzle of its own, whose results say
    nothing about CIFAR-10's.

    Each photograph is cut into regions of 48 × 48 pixels, of which 54 are taken: 39 for training,
    5 for validation and 10 for the test, by a fixed rule. A region gives nine patches, 8 pixels
    apart. Patches of different splits share no pixel.

    Attributes:
        augment: random crops after padding by 4 black pixels, and mirror images.
        fingerprint: of the data that a run was submitted with; filled in by the submission.
    """

    augment: bool = True
    fingerprint: str = ""

    @property
    def title(self) -> str:
        return TITLE

    def locate(self) -> str:
        """Fingerprint of the data. Raises UserError when a package is not installed."""
        return fingerprint(*_regions())

    def train_size(self) -> int:
        """Number of training examples."""
        a_side = (REGION - SIDE) // STRIDE + 1
        return (len(PHOTOGRAPHS) * REGIONS - VALIDATION - TEST) * a_side**2

    def open(self, device: torch.device) -> Source:
        """The source on ``device``. Raises UserError as ``locate``, or when the data changed."""
        regions = _regions()
        check_fingerprint(TITLE, self.fingerprint, fingerprint(*regions))
        splits = {
            split: patches(*of_split)
            for split, of_split in three_way(regions, VALIDATION, TEST).items()
        }
        return AugmentedImages(TITLE, splits, 10, device, MEAN, DEVIATION, self.augment)


def patches(regions: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Arrays:
    """Every patch of regions (n, 48, 48, 3) with its label: (9n, 32, 32, 3) and (9n,)."""
    places = range(0, REGION - SIDE + 1, STRIDE)
    cut = [
        regions[:, down : down + SIDE, right : right + SIDE] for down in places for right in places
    ]
    return np.concatenate(np.stack(cut, axis=1)), np.repeat(labels, len(cut))


@lru_cache(maxsize=1)
def _regions() -> Arrays:
    """Regions (540, 48, 48, 3) and the numbers of their photographs, (540,): bytes."""
    taken = [_cut(_photograph(*where)) for where in PHOTOGRAPHS]
    labels = np.repeat(np.arange(len(taken), dtype=np.uint8), REGIONS)
    return np.concatenate(taken), labels


def _cut(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """54 of the photograph's regions, which do not overlap, spread over it by a fixed rule."""
    down, right = (side // REGION for side in photograph.shape[:2])
    whole = photograph[: down * REGION, : right * REGION]
    grid = (
        whole.reshape(down, REGION, right, REGION, 3).swapaxes(1, 2).reshape(-1, REGION, REGION, 3)
    )
    order = np.argsort(splitmix64(np.arange(len(grid), dtype=np.uint64)))
    taken: NDArray[np.uint8] = grid[np.sort(order[:REGIONS])]
    return taken


def _photograph(package: str, file: str) -> NDArray[np.uint8]:
    """(height, width, 3), bytes."""
    from PIL import Image

    path = packaged_file(package, file, "some of these photographs")
    try:
        with Image.open(path) as image:
            pixels: NDArray[np.uint8] = np.array(image.convert("RGB"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    return pixels
