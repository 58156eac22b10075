"""Images in memory: how they are held out, normalised and recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lrscale.data.source import Split
from lrscale.errors import UserError

Arrays: TypeAlias = "tuple[NDArray[Any], NDArray[Any]]"
"""Inputs (n, ...) and labels (n,)."""


def holdout(labels: NDArray[Any], size: int) -> NDArray[np.bool_]:
    """Which ``size`` of the examples to hold out: a mask, a function of the arguments only.

    Each class gives its share (largest remainders first), and within a class the examples are
    taken in the order of a hash of their index: the same whatever the platform, the seed of the
    run or the version of a random generator.
    """
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = counts * size / len(labels)
    quota = np.floor(share).astype(int)
    largest_first = np.argsort(quota - share, kind="stable")
    quota[largest_first[: size - quota.sum()]] += 1
    order = np.argsort(_splitmix64(np.arange(len(labels), dtype=np.uint64)))
    held = np.zeros(len(labels), dtype=np.bool_)
    for code in range(len(classes)):
        held[order[codes[order] == code][: quota[code]]] = True
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
    normal: dict[Split, Arrays] = {}
    for split, (images, labels) in splits.items():
        inputs = images[:, None].astype(np.float32)
        inputs *= 1 / (white * deviation)  # in place: the full arrays are 190 MB
        inputs -= mean / deviation
        normal[split] = (inputs, labels.astype(np.int64))
    return normal


def fingerprint(*arrays: NDArray[Any]) -> str:
    """12 hexadecimal digits of the SHA-256 of the arrays' shapes and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:12]


def check_fingerprint(title: str, expected: str, found: str) -> None:
    """Raises UserError when a run was submitted with other data; ``expected`` may be empty."""
    if expected and found != expected:
        raise UserError(
            f"data: {title} has fingerprint {found}, but the run was submitted with data of "
            f"fingerprint {expected}; put the same data back, or submit the sweep again"
        )


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijective 64-bit hash."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x
