"""idx, the file format of MNIST and its successors: two files of images, two of labels."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lrscale.data.arrays import Arrays, fingerprint, sizes
from lrscale.data.source import Split
from lrscale.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def find(folders: Iterable[Path]) -> tuple[Path, ...] | None:
    """The four files, plain or ``.gz``, of the first folder that holds all of them."""
    for folder in folders:
        paths = [
            next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
            for name in FILES
        ]
        found = tuple(path for path in paths if path is not None)
        if len(found) == len(FILES):
            return found
    return None


def read(path: Path) -> NDArray[np.uint8]:
    """The array of an idx file of unsigned bytes. Raises UserError naming a damaged file."""
    import numpy as np

    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read()
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise UserError(f"{path}: not an idx file of unsigned bytes")
    shape = tuple(int(n) for n in np.frombuffer(data, dtype=">u4", count=data[3], offset=4))
    body = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * data[3])
    if body.size != np.prod(shape):
        raise UserError(
            f"{path}: damaged: its header says {' × '.join(map(str, shape))} bytes, "
            f"and {body.size} follow"
        )
    return body.reshape(shape)


def load(paths: tuple[Path, ...]) -> tuple[dict[Split, Arrays], str]:
    """The ``train`` and ``test`` arrays of the four files, and their fingerprint.

    Raises:
        UserError: a damaged file, images and labels that do not belong together, or labels
            out of range.
    """
    arrays = [read(path) for path in paths]
    splits: dict[Split, Arrays] = {"train": (arrays[0], arrays[1]), "test": (arrays[2], arrays[3])}
    for images, labels in splits.values():
        if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
            raise UserError(
                f"{paths[0].parent}: expected images with one label from 0 to 9 each; "
                f"found images {images.shape} and labels {labels.shape} up to {labels.max()}"
            )
    counts = f"{len(splits['train'][1])}+{len(splits['test'][1])}"
    return splits, f"{counts}-{fingerprint(*arrays)}"


def fingerprint_of(paths: tuple[Path, ...]) -> str:
    """As ``load`` gives it, such as ``60000+10000-0f3a…``; read once per process and version."""
    return _fingerprint(tuple((path, path.stat().st_mtime_ns) for path in paths))


@lru_cache(maxsize=8)
def _fingerprint(versions: tuple[tuple[Path, int], ...]) -> str:
    return load(tuple(path for path, _ in versions))[1]


def titled(name: str, fingerprint: str) -> str:
    """``name`` with what the files hold: files with fewer images than published say so."""
    train, test = sizes(fingerprint)
    if (train, test) == (60_000, 10_000):
        return f"{name} (60,000 + 10,000 images)"
    first = ("" if train == 60_000 else "first ", "" if test == 10_000 else "first ")
    return f"{name} ({first[0]}{train:,} training images, {first[1]}{test:,} test images)"
