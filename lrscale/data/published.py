"""MNIST and its successors as published: found or fetched, and opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrscale.data import idx
from lrscale.data.arrays import (
    Arrays,
    check_fingerprint,
    check_validation,
    normalise,
    sizes,
    two_way,
)
from lrscale.data.cache import cache_folder
from lrscale.data.source import InMemory, Split
from lrscale.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Published:
    """A dataset of four idx files.

    Attributes:
        name: how it is named in titles and messages.
        folder: its folder under a root, and its class in ``torchvision.datasets``.
        mean, deviation: of the training pixels, white being 1.
        elsewhere: folders to look in when no root is given.
    """

    name: str
    folder: str
    mean: float
    deviation: float
    elsewhere: tuple[Path, ...] = ()

    def locate(self, root: str | None, download: bool, validation: int) -> str:
        """Fingerprint of the files; fetches them first where asked to and needed.

        Raises:
            UserError: not found, damaged, or not more than ``validation`` training images.
        """
        fingerprint = idx.fingerprint_of(self._files(root, download))
        train, _ = sizes(fingerprint)
        check_validation(validation, train)
        return fingerprint

    def open(
        self,
        root: str | None,
        validation: int,
        fingerprint: str,
        device: torch.device,
        standardise: bool = True,
    ) -> InMemory:
        """The source; raises UserError when the data is not what ``fingerprint`` says."""
        loaded, found = idx.load(self._files(root, download=False))
        title = self.title(found)
        check_fingerprint(title, fingerprint, found)
        splits = {**two_way(loaded["train"], validation), "test": loaded["test"]}
        return InMemory(title, self.normalised(splits, standardise), classes=10, device=device)

    def normalised(self, splits: Mapping[Split, Arrays], standardise: bool) -> dict[Split, Arrays]:
        """Pixels with mean 0 and deviation 1, or from 0 to 1."""
        mean, deviation = (self.mean, self.deviation) if standardise else (0.0, 1.0)
        return normalise(splits, 255, mean, deviation)

    def title(self, fingerprint: str) -> str:
        return idx.titled(self.name, fingerprint)

    def _files(self, root: str | None, download: bool) -> tuple[Path, ...]:
        base = Path(root) if root is not None else cache_folder()
        folders = [base / self.folder / "raw", base]
        if root is None:
            folders += self.elsewhere
        files = idx.find(folders)
        if files is None and download:
            self._fetch(base)
            files = idx.find(folders)
        if files is None:
            raise UserError(self._how_to_get(folders))
        return files

    def _how_to_get(self, folders: Iterable[Path]) -> str:
        looked = "".join(f"\n    {folder}" for folder in folders)
        return (
            f"{self.name} not found. Looked for {idx.FILES[0]}[.gz] and its three companions in"
            f"{looked}\n  Say where they are with data.root=…, or fetch them with "
            "data.download=true"
        )

    def _fetch(self, base: Path) -> None:
        from torchvision import datasets

        try:
            getattr(datasets, self.folder)(base, download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(f"{self.name} could not be fetched to {base}: {error}") from None


def train_size(fingerprint: str, validation: int) -> int:
    """Number of training images of files with that fingerprint."""
    return sizes(fingerprint)[0] - validation


def absolute(root: str | None) -> str | None:
    """A root that means the same to a job that runs in another folder."""
    return None if root is None else os.path.abspath(os.path.expanduser(root))
