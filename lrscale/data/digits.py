"""scikit-learn's digits, 8 × 8: small enough for a smoke test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import PositiveInt
from lrscale.data.arrays import check_fingerprint, normalise, three_way
from lrscale.data.packaged import packaged_fingerprint, packaged_images
from lrscale.data.source import InMemory, Source
from lrscale.registry import datasets

if TYPE_CHECKING:
    import torch

TITLE = "digits, 1,797 images of 8 × 8 (scikit-learn)"
FILE = ("sklearn", "datasets/data/digits.csv.gz")
SIZE = 1_797
TEST = 300


@datasets.register("digits")
@dataclass(frozen=True)
class Digits:
    """Optical recognition of handwritten digits (Alpaydin and Kaynak 1998), the test part.

    300 images are the test here; the pixels (0 to 16) are scaled to mean 0 and deviation 1.

    Attributes:
        validation: training images held out for validation.
        fingerprint: of the data that a run was submitted with; filled in by the submission.
    """

    validation: PositiveInt = 300
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.validation >= SIZE - TEST:
            raise ValueError(f"validation {self.validation} leaves no training images")

    @property
    def title(self) -> str:
        return TITLE

    def locate(self) -> str:
        """Fingerprint of the data. Raises UserError when scikit-learn is not installed."""
        return packaged_fingerprint(*FILE)

    def train_size(self) -> int:
        """Number of training examples."""
        return SIZE - TEST - self.validation

    def open(self, device: torch.device) -> Source:
        """The source on ``device``. Raises UserError as ``locate``, or when the data changed."""
        check_fingerprint(TITLE, self.fingerprint, self.locate())
        arrays = packaged_images(*FILE, side=8)
        normal = normalise(three_way(arrays, self.validation, TEST), 16, 0.3053, 0.3760)
        return InMemory(TITLE, normal, classes=10, device=device)
