"""Tumours of the breast, as scikit-learn ships them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrscale.config import PositiveInt
from lrscale.data.arrays import check_fingerprint, three_way
from lrscale.data.packaged import packaged_file
from lrscale.data.source import InMemory, Source
from lrscale.registry import datasets

if TYPE_CHECKING:
    import torch

SIZE = 569
TEST = 100


@datasets.register("tumours")
@dataclass(frozen=True)
class Tumours:
    """30 measurements of the cell nuclei in 569 samples (Street, Wolberg and Mangasarian 1993).

    Malignant (0) or benign (1). 100 samples are the test here; the features are scaled to mean 0
    and deviation 1 over the training split.

    Attributes:
        validation: training samples held out for validation.
        fingerprint: of the data that a run was submitted with; filled in by the submission.
    """

    validation: PositiveInt = 100
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.validation >= SIZE - TEST:
            raise ValueError(f"validation {self.validation} leaves no training samples")

    @property
    def title(self) -> str:
        return "breast tumours, 569 samples (scikit-learn)"

    def locate(self) -> str:
        """Fingerprint of the data. Raises UserError when scikit-learn is not installed."""
        return hashlib.sha256(_file().read_bytes()).hexdigest()[:12]

    def train_size(self) -> int:
        """Number of training samples."""
        return SIZE - TEST - self.validation

    def open(self, device: torch.device) -> Source:
        """The source on ``device``. Raises UserError as ``locate``, or when the data changed."""
        import numpy as np

        check_fingerprint(self.title, self.fingerprint, self.locate())
        table = np.loadtxt(_file(), delimiter=",", skiprows=1)
        splits = three_way((table[:, :-1], table[:, -1].astype(int)), self.validation, TEST)
        train, _ = splits["train"]
        mean, deviation = train.mean(axis=0), train.std(axis=0)
        scaled = {name: ((x - mean) / deviation, y) for name, (x, y) in splits.items()}
        return InMemory(self.title, scaled, classes=2, device=device)


def _file() -> Path:
    return packaged_file("sklearn", "datasets/data/breast_cancer.csv", "these samples")
