"""Image files in a folder for each class, under ``train/`` and ``val/``: listed, not read."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lrscale.data.cache import cache_folder, read_arrays, write_arrays
from lrscale.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
FOLDERS = ("train", "val")
Columns: TypeAlias = "dict[str, NDArray[Any]]"
_SCANNERS = 16  # threads: on a network file system a listing is all waiting
_RACY_SECONDS = 2  # a folder changed so recently may change again with the same time of change


@dataclass(frozen=True)
class Files:
    """The images of ``train`` or ``val``, in the order of their names.

    Held in arrays and not in lists: worker processes share them as long as nobody counts
    references.

    Attributes:
        names: paths under the folder, such as ``n01440764/n01440764_10026.JPEG``: (n,), bytes.
        labels: numbers of the classes, (n,), int64.
        sizes: of the files in bytes, (n,), int64.
    """

    names: NDArray[np.bytes_]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]


@dataclass(frozen=True)
class Listing:
    """A folder of images.

    Attributes:
        classes: names of ``train``'s folders, sorted: a class's number is its place.
        train, val: the files.
        fingerprint: TRAIN+VALxCLASSES- and 12 digits of a hash of all names and sizes.
    """

    classes: tuple[str, ...]
    train: Files
    val: Files
    fingerprint: str


def listing(root: Path) -> Listing:
    """What ``root`` holds.

    The names and sizes of a million files take a network file system minutes, so that they are
    kept in the user's cache until one of the class folders changes. (A file whose content is
    overwritten in place changes no folder: ``touch`` its folder then.)

    Raises:
        UserError: no such layout, class folders without images, or classes of ``val`` that
            ``train`` does not have.
    """
    return _listing(root, _stamp(root))


@lru_cache(maxsize=2)
def _listing(root: Path, stamp: str) -> Listing:
    kept = cache_folder() / "listings" / f"{hashlib.sha256(bytes(root)).hexdigest()[:16]}.npz"
    found = _load(kept, stamp)
    if found is None:
        found = _scan(root)
        _keep(kept, stamp, found, root)
    classes = tuple(found["classes"].tolist())
    train, val = (
        Files(*(found[f"{f}_{key}"] for key in ("names", "labels", "sizes"))) for f in FOLDERS
    )
    digest = hashlib.sha256()
    for files in (train, val):
        digest.update(b"\n".join(files.names.tolist()))
        digest.update(files.sizes.astype("<i8").tobytes())
    counts = f"{len(train.labels)}+{len(val.labels)}x{len(classes)}"
    return Listing(classes, train, val, f"{counts}-{digest.hexdigest()[:12]}")


def _scan(root: Path) -> Columns:
    """The classes and both folders' files, as they are kept. Raises UserError."""
    classes, of_val = (_class_folders(root / folder) for folder in FOLDERS)
    if unknown := sorted(set(of_val) - set(classes)):
        raise UserError(
            f"{root / 'val'}: {_some(unknown)} have no counterpart in {root / 'train'}: their "
            "labels would be out of range"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    return {
        "classes": np.array(classes),
        **_scan_folder(root / "train", classes, numbers),
        **_scan_folder(root / "val", of_val, numbers),
    }


def _class_folders(folder: Path) -> list[str]:
    """Sorted names. Raises UserError."""
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_dir() for entry in entries if entry.name[0] != "."}
    except OSError:
        raise UserError(
            f"no images under {folder.parent}: expected train/CLASS/*.JPEG and val/CLASS/*.JPEG "
            "(torchvision's ImageFolder layout); say where they are with data.root=…"
        ) from None
    classes = sorted(name for name, is_folder in found.items() if is_folder)
    loose = [name for name in found if name.lower().endswith(EXTENSIONS)]
    if not classes or loose:
        what = f"images outside of class folders ({_some(loose)})" if loose else "no class folders"
        raise UserError(f"{folder}: {what}: each image belongs into the folder of its class")
    return classes


def _scan_folder(folder: Path, classes: list[str], numbers: dict[str, int]) -> Columns:
    """Files of all ``classes``, each array under its name. Raises UserError for an empty class."""

    def of_class(name: str) -> list[tuple[bytes, int]]:
        with os.scandir(folder / name) as entries:
            images = [e for e in entries if e.name.lower().endswith(EXTENSIONS)]
            return sorted((os.fsencode(f"{name}/{e.name}"), e.stat().st_size) for e in images)

    with ThreadPoolExecutor(_SCANNERS) as threads:
        scanned = list(threads.map(of_class, classes))
    if empty := [name for name, files in zip(classes, scanned, strict=True) if not files]:
        raise UserError(f"{folder}: no images in {_some(empty)}; fill or remove these folders")
    counts = [len(files) for files in scanned]
    return {
        f"{folder.name}_names": np.array([name for files in scanned for name, _ in files]),
        f"{folder.name}_labels": np.repeat([numbers[name] for name in classes], counts),
        f"{folder.name}_sizes": np.array([size for files in scanned for _, size in files]),
    }


def _some(names: list[str]) -> str:
    """The first three of some names, and how many more there are."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(sorted(names)[:3]) + more


# --- the cache


def _stamp(root: Path) -> str:
    """Changes when a file comes or goes: a hash of the class folders' times of change."""
    digest = hashlib.sha256()
    for folder in FOLDERS:
        for name in _class_folders(root / folder):
            changed = (root / folder / name).stat().st_mtime_ns
            digest.update(f"{folder}/{name} {changed}\n".encode())
    return digest.hexdigest()


def _load(path: Path, stamp: str) -> Columns | None:
    kept = read_arrays(path)
    return kept if kept is not None and kept.get("stamp") == stamp else None


def _keep(path: Path, stamp: str, found: Columns, root: Path) -> None:
    newest = max(
        (root / folder / name).stat().st_mtime
        for folder in FOLDERS
        for name in _class_folders(root / folder)
    )
    if time.time() - newest >= _RACY_SECONDS:
        write_arrays(path, {**found, "stamp": np.array(stamp)})
