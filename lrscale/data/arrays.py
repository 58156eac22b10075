"""Images in memory: how they are held out, normalised and recognised.

numpy, a tenth of a second, is imported where arrays are made: finding data needs none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from lrscale.data.source import Split
from lrscale.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Arrays: TypeAlias = "tuple[NDArray[Any], NDArray[Any]]"
"""Inputs (n, ...) and labels (n,)."""


def holdout(
    labels: NDArray[Any], size: int, hashes: NDArray[np.uint64] | None = None
) -> NDArray[np.bool_]:
    """Which ``size`` of the examples to hold out: a mask, a function of the arguments only.

    Each class gives its share (largest remainders first), and within a class the examples are
    taken in the order of ``hashes``, by default of their index: the same whatever the platform,
    the seed of the run or the version of a random generator.
    """
    import numpy as np

    from lrscale.data.draws import splitmix64

    if hashes is None:
        hashes = splitmix64(np.arange(len(labels), dtype=np.uint64))
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = counts * size / len(labels)
    quota = np.floor(share).astype(int)
    largest_first = np.argsort(quota - share, kind="stable")
    quota[largest_first[: size - quota.sum()]] += 1
    by_class = np.lexsort((hashes, codes))  # and in the order of the hashes within a class
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(len(labels), dtype=np.bool_)
    held[by_class[place < np.repeat(quota, counts)]] = True
    return held


def three_way(arrays: Arrays, validation: int, test: int) -> dict[Split, Arrays]:
    """Train, validation and test of data that comes in one piece; test does not depend on
    ``validation``."""
    inputs, labels = arrays
    held = holdout(labels, test)
    rest = (inputs[~held], labels[~held])
    return {**two_way(rest, validation), "test": (inputs[held], labels[held])}


def two_way(arrays: Arrays, validation: int) -> dict[Split, Arrays]:
    """Train and validation of data that has a test set of its own."""
    inputs, labels = arrays
    held = holdout(labels, validation)
    return {"train": (inputs[~held], labels[~held]), "val": (inputs[held], labels[held])}


def normalise(
    splits: Mapping[Split, Arrays], white: float, mean: float, deviation: float
) -> dict[Split, Arrays]:
    """(pixel / white − mean) / deviation in float32, with a channel: (n, 1, height, width)."""
    import numpy as np

    normal: dict[Split, Arrays] = {}
    for split, (images, labels) in splits.items():
        inputs = images[:, None].astype(np.float32)
        inputs *= 1 / (white * deviation)  # in place: the full arrays are 190 MB
        inputs -= mean / deviation
        normal[split] = (inputs, labels.astype(np.int64))
    return normal


def fingerprint(*arrays: NDArray[Any]) -> str:
    """12 hexadecimal digits of the SHA-256 of the arrays' shapes and bytes."""
    import numpy as np

    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:12]


def sizes(fingerprint: str) -> tuple[int, int]:
    """Training and test examples, as a fingerprint that begins with TRAIN+TEST- states them."""
    match = re.match(r"(\d+)\+(\d+)-", fingerprint)
    if match is None:
        raise UserError(f"data.fingerprint: '{fingerprint}' does not begin with TRAIN+TEST-")
    return int(match[1]), int(match[2])


def check_validation(validation: int, train: int) -> None:
    """Raises UserError when ``validation`` of ``train`` training images leave none."""
    if validation >= train:
        raise UserError(f"data.validation: {validation:,} of {train:,} training images leave none")


def check_fingerprint(title: str, expected: str, found: str) -> None:
    """Raises UserError when a run was submitted with other data; ``expected`` may be empty."""
    if expected and found != expected:
        raise UserError(
            f"data: {title} has fingerprint {found}, but the run was submitted with data of "
            f"fingerprint {expected}; put the same data back, or submit the sweep again"
        )
