"""CIFAR-10: photographs of ten kinds of things, 32 × 32."""

from __future__ import annotations

import io
import pickle
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lrscale.config import PositiveInt, unhashed
from lrscale.data.arrays import (
    Arrays,
    check_fingerprint,
    check_validation,
    fingerprint,
    sizes,
    two_way,
)
from lrscale.data.cache import cache_folder
from lrscale.data.images import AugmentedImages
from lrscale.data.published import absolute, train_size
from lrscale.data.source import Source
from lrscale.errors import UserError
from lrscale.registry import datasets

if TYPE_CHECKING:
    import torch

FOLDER = "cifar-10-batches-py"
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
# Of the 50,000 training images, channel by channel, white being 1.
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

OnDamage = Literal["stop", "skip"]


@datasets.register("cifar10")
@dataclass(frozen=True)
class CIFAR10:
    """CIFAR-10 (Krizhevsky 2009), the published files of the Python version.

    Attributes:
        validation: training images held out for validation.
        augment: random crops after padding by 4 black pixels, and mirror images (He et al. 2016).
        root: folder of ``cifar-10-batches-py``, as torchvision lays it, or that folder itself; by
            default the user's cache ``~/.cache/lrscale``.
        download: fetch the published files to ``root`` when they are not there.
        on_damage: ``stop`` at a file that cannot be read, or ``skip`` it: train without its
            images, which the title and the fingerprint then say.
        fingerprint: of the data that a run was submitted with; filled in by the submission.
    """

    validation: PositiveInt = 5_000
    augment: bool = True
    root: str | None = unhashed(None)
    download: bool = unhashed(False)
    on_damage: OnDamage = unhashed("stop")
    fingerprint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", absolute(self.root))

    @property
    def title(self) -> str:
        return titled(self.fingerprint or self.locate())

    def locate(self) -> str:
        """Fingerprint of the data, such as ``50000+10000-0f3a…``; fetches it first where asked to.

        Raises:
            UserError: not found, with where it was looked for and how to get it; damaged; labels
                out of range; or no training images left.
        """
        found = _fingerprint(_versions(self._folder(self.download)), self.on_damage)
        train, _ = sizes(found)
        check_validation(self.validation, train)
        return found

    def train_size(self) -> int:
        """Number of training examples. Raises UserError as ``locate``."""
        return train_size(self.fingerprint or self.locate(), self.validation)

    def open(self, device: torch.device) -> Source:
        """The source on ``device``. Raises UserError as ``locate``, or when the data changed."""
        train, test, found, damaged = _read(self._folder(download=False), self.on_damage)
        title = titled(found)
        check_fingerprint(title, self.fingerprint, found)
        splits = {**two_way(train, self.validation), "test": test}
        source = AugmentedImages(title, splits, 10, device, MEAN, DEVIATION, self.augment)
        source.damaged = set(damaged)
        return source

    def _folder(self, download: bool) -> Path:
        base = Path(self.root) if self.root is not None else cache_folder()
        folders = [base / FOLDER, base]
        found = next((folder for folder in folders if (folder / TEST).is_file()), None)
        if found is None and download:
            _fetch(base)
            found = base / FOLDER
        if found is None:
            looked = "".join(f"\n    {folder}" for folder in folders)
            raise UserError(
                f"CIFAR-10 not found. Looked for {TEST} and its companions in{looked}\n  Say where "
                "they are with data.root=…, or fetch them with data.download=true"
            )
        return found


def titled(found: str) -> str:
    """What the files hold: fewer images than published are not passed off as CIFAR-10."""
    train, test = sizes(found)
    if (train, test) == (50_000, 10_000):
        return "CIFAR-10 (50,000 + 10,000 images)"
    return f"CIFAR-10, incomplete ({train:,} training images, {test:,} test images)"


def _fetch(base: Path) -> None:
    from torchvision import datasets as published

    try:
        published.CIFAR10(base, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"CIFAR-10 could not be fetched to {base}: {error}") from None


def _versions(folder: Path) -> tuple[tuple[Path, int], ...]:
    """The files with the times of their last change: 0 for one that is not there."""
    paths = [folder / name for name in (*TRAIN, TEST)]
    return tuple((path, path.stat().st_mtime_ns if path.exists() else 0) for path in paths)


@lru_cache(maxsize=8)
def _fingerprint(versions: tuple[tuple[Path, int], ...], on_damage: OnDamage) -> str:
    return _read(versions[0][0].parent, on_damage)[2]


def _read(folder: Path, on_damage: OnDamage) -> tuple[Arrays, Arrays, str, list[str]]:
    """Training and test images (n, 32, 32, 3) with labels (n,), their fingerprint, and a message
    for each file that was left out."""
    batches, damaged = [], []
    for name in TRAIN:
        try:
            batches.append(read_batch(folder / name))
        except UserError as error:
            if on_damage == "stop":
                hint = "fetch it again, or train without its images: data.on_damage=skip"
                raise UserError(f"{error}; {hint}") from None
            damaged.append(str(error))
    if damaged:
        lines = "\n  ".join(damaged)
        warnings.warn(f"CIFAR-10: {len(damaged)} of 5 files left out:\n  {lines}", stacklevel=2)
    if not batches:
        raise UserError(f"{folder}: none of the files of CIFAR-10's training images can be read")
    train = tuple(np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    test = read_batch(folder / TEST)
    counts = f"{len(train[1])}+{len(test[1])}"
    return (train[0], train[1]), test, f"{counts}-{fingerprint(*train, *test)}", damaged


def read_batch(path: Path) -> Arrays:
    """Images (n, 32, 32, 3) and labels (n,), bytes, of one of the published files.

    Raises:
        UserError: naming a file that is missing, truncated or not what it should be, or that
            has labels out of range.
    """
    try:
        content = _NumPyOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        pixels, labels = np.asarray(content["data"]), np.asarray(content["labels"])
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{path}: cannot be read as a batch of CIFAR-10: {error}") from None
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3 * 32 * 32):
        raise UserError(
            f"{path}: expected rows of 3,072 bytes, one for each of {len(labels):,} labels; found "
            f"{pixels.dtype} of shape {pixels.shape}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() <= 9:
        raise UserError(f"{path}: labels from {labels.min()} to {labels.max()} are not 0 to 9")
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype(np.uint8)


class _NumPyOnly(pickle.Unpickler):
    """Reads arrays and plain values, and runs nothing else that a file may ask for."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.partition(".")[0], name) in {
            ("numpy", "_reconstruct"),
            ("numpy", "_frombuffer"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no part of CIFAR-10")
