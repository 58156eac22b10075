"""Fashion-MNIST: photographs of clothing, 28 × 28."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrscale.config import PositiveInt, unhashed
from lrscale.data.published import Published, absolute, train_size
from lrscale.data.source import Source
from lrscale.registry import datasets

if TYPE_CHECKING:
    import torch

PUBLISHED = Published(
    "Fashion-MNIST",
    "FashionMNIST",
    mean=0.2860,
    deviation=0.3530,
    # Debian's package dataset-fashion-mnist
    elsewhere=(Path("/usr/share/datasets/fashion-mnist"),),
)


@datasets.register("fashion_mnist")
@dataclass(frozen=True)
class FashionMNIST:
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), pixels scaled to mean 0 and deviation 1.

    Attributes:
        validation: training images held out for validation.
        root: folder of the published files or of torchvision's ``FashionMNIST/raw``; by default
            the user's cache ``~/.cache/lrscale``, then the folder of Debian's package.
        download: fetch the published files to ``root`` when they are not there.
        fingerprint: of the data that a run was submitted with; filled in by the submission.
    """

    validation: PositiveInt = 5_000
    root: str | None = unhashed(None)
    download: bool = unhashed(False)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", absolute(self.root))

    @property
    def title(self) -> str:
        return PUBLISHED.title(self.fingerprint or self.locate())

    def locate(self) -> str:
        """Fingerprint of the data; fetches it first where asked to.

        Raises:
            UserError: not found, with where it was looked for and how to get it; or damaged.
        """
        return PUBLISHED.locate(self.root, self.download, self.validation)

    def train_size(self) -> int:
        """Number of training examples. Raises UserError as ``locate``."""
        return train_size(self.fingerprint or self.locate(), self.validation)

    def open(self, device: torch.device) -> Source:
        """The source on ``device``. Raises UserError as ``locate``, or when the data changed."""
        return PUBLISHED.open(self.root, self.validation, self.fingerprint, device)
