"""ImageNet, or any images in a folder for each class."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lrscale.config import NonNegativeInt, PositiveInt, unhashed
from lrscale.data.arrays import check_fingerprint, check_validation, holdout
from lrscale.data.cache import cache_folder
from lrscale.data.image_folder import Listing, listing
from lrscale.data.published import absolute
from lrscale.data.source import Source, Split
from lrscale.data.stage import staged
from lrscale.errors import UserError
from lrscale.registry import datasets

if TYPE_CHECKING:
    import torch

TRAIN, VAL, CLASSES = 1_281_167, 50_000, 1_000  # of ImageNet
HELD_OUT = 25_000  # of its training images, for validation


@datasets.register("imagenet")
@dataclass(frozen=True)
class ImageNet:
    """ImageNet (ILSVRC 2012; Russakovsky et al. 2015) as folders: ``train/CLASS/*.JPEG`` and
    ``val/CLASS/*.JPEG``. Other images in that layout are trained on alike, under their own name.

    The official validation images are the test here; validation is held out of training.

    Attributes:
        validation: training images held out; by default 25,000 of ImageNet's, and the same share
            of fewer images.
        resolution: of the images that the network sees.
        root: the folder of ``train`` and ``val``; by default ``~/.cache/lrscale/imagenet``.
        stage: a folder on the node's own disk to copy the images to first, once for all ranks,
            such as ``$TMPDIR``; environment variables are those of the node.
        workers: processes that decode, for each rank; by default one less than its cores.
        on_damage: ``stop`` at an image that cannot be decoded, or ``skip`` it: the next intact one
            of the split, in the order of names, takes its place, in evaluation too.
        fingerprint: of the data that a run was submitted with; filled in by the submission.
    """

    validation: PositiveInt | None = None
    resolution: PositiveInt = 224
    root: str | None = unhashed(None)
    stage: str | None = unhashed(None)
    workers: NonNegativeInt | None = unhashed(None)
    on_damage: Literal["stop", "skip"] = unhashed("stop")
    fingerprint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", absolute(self.root))

    @property
    def title(self) -> str:
        return titled(self.fingerprint or self.locate())

    def locate(self) -> str:
        """Fingerprint of all names and sizes; no file is opened.

        Raises:
            UserError: not found, a class without images, or no training images left.
        """
        found = listing(self._root)
        self._held_out(len(found.train.labels))
        return found.fingerprint

    def train_size(self) -> int:
        """Number of training examples. Raises UserError as ``locate``."""
        images, *_ = counts(self.fingerprint or self.locate())
        return images - self._held_out(images)

    def open(self, device: torch.device) -> Source:
        """The source on ``device``, copied to the node's disk first where asked to.

        Raises:
            UserError: as ``locate``; the data changed; or it cannot be copied.
        """
        from lrscale.data import _loader

        found = listing(self._root)
        title = titled(found.fingerprint)
        check_fingerprint(title, self.fingerprint, found.fingerprint)
        held = holdout(found.train.labels, self._held_out(len(found.train.labels)))
        root = self._staged(found)
        train, val = root / "train", root / "val"
        parts: dict[Split, _loader.Part] = {
            "train": _loader.Part(train, found.train, np.flatnonzero(~held)),
            "val": _loader.Part(train, found.train, np.flatnonzero(held)),
            "test": _loader.Part(val, found.val, np.arange(len(found.val.labels))),
        }
        return _loader.FileImages(
            title,
            parts,
            len(found.classes),
            device,
            self.resolution,
            _loader.default_workers(self.workers),
            skip=self.on_damage == "skip",
        )

    @property
    def _root(self) -> Path:
        return Path(self.root) if self.root is not None else cache_folder() / "imagenet"

    def _held_out(self, images: int) -> int:
        """How many of the training images. Raises UserError when that leaves none."""
        size = self.validation or max(1, round(images * HELD_OUT / TRAIN))
        check_validation(size, images)
        return size

    def _staged(self, found: Listing) -> Path:
        if self.stage is None:
            return self._root
        files = [
            (f"{folder}/{os.fsdecode(name)}", int(size))
            for folder, of in (("train", found.train), ("val", found.val))
            for name, size in zip(of.names.tolist(), of.sizes, strict=True)
        ]
        return staged(self._root, files, self.stage, f"images-{found.fingerprint}")


def titled(fingerprint: str) -> str:
    """What the folders hold: other images are not passed off as ImageNet."""
    train, test, classes = counts(fingerprint)
    if (train, test, classes) == (TRAIN, VAL, CLASSES):
        return "ImageNet (1,281,167 + 50,000 images)"
    return f"image folder ({train:,} + {test:,} images, {classes:,} classes), not ImageNet"


def counts(fingerprint: str) -> tuple[int, int, int]:
    """Training images, test images and classes, as the fingerprint states them."""
    match = re.match(r"(\d+)\+(\d+)x(\d+)-", fingerprint)
    if match is None:
        raise UserError(
            f"data.fingerprint: '{fingerprint}' does not begin with TRAIN+TESTxCLASSES-"
        )
    return int(match[1]), int(match[2]), int(match[3])
