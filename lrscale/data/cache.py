"""The user's cache: published files that were fetched, and arrays that are dear to make."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cache_folder() -> Path:
    """``~/.cache/lrscale``, or where XDG_CACHE_HOME puts it."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lrscale"


def read_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """What ``write_arrays`` kept there; None where there is nothing, or a damaged file."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as kept:
            return dict(kept)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Keep arrays (of numbers or text, not of objects). Best effort: a home that is full or cannot
    be written to just means that they are made again.

    Renamed into place, so that a run beside this one reads the whole file or none.
    """
    import numpy as np

    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
        try:
            with os.fdopen(handle, "wb") as stream:
                np.savez(stream, **arrays)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
