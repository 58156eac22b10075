"""Checkpoints that are whole or absent, and that cannot run code.

A checkpoint is one file, ``checkpoint-<step>-<digest>.pt``, whose name carries the SHA-256 of
its content: a truncated or altered file does not match its name, and loading falls back to the
one before it. Files are read with ``weights_only=True``, so that nothing in them is executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import time
import warnings
from pathlib import Path
from typing import Any

from lrscale.files import read_bytes, write_bytes

KEEP = 2  # the newest, and the one before it in case the newest turns out damaged
# On NFS a host may have an old listing for a minute, of files that another has long replaced.
LISTINGS, LISTING_SECONDS = 16, 5.0
_TEMPORARIES = ".checkpoint-*.tmp"


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``state`` (nested dicts and lists of tensors and numbers) as taken after ``step``.

    Once the new one is in place, it and the one before it are kept. Removed are older ones, those
    of later steps (damaged, or of an attempt that was overtaken), and what a killed writer left.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    digest = hashlib.sha256(content).hexdigest()[:16]
    path = folder / f"checkpoint-{step:012d}-{digest}.pt"
    write_bytes(path, content)
    kept = [p for p in checkpoints(folder) if _step(p) <= step][:KEEP]
    for other in [*checkpoints(folder), *folder.glob(_TEMPORARIES)]:
        if other not in kept:
            other.unlink(missing_ok=True)
    return path


def load(
    folder: Path, device: Any = "cpu", up_to: int | None = None
) -> tuple[int, dict[str, Any]] | None:
    """The newest checkpoint that is intact, as (step, state); None when there is none.

    Damaged ones are passed over with a warning, and those of steps after ``up_to`` silently.

    Raises:
        OSError: one cannot be read; or, time and again, has been replaced by the time it is.
    """
    for _ in range(LISTINGS - 1):
        with contextlib.suppress(FileNotFoundError):
            return _newest(folder, device, up_to)
        time.sleep(LISTING_SECONDS)
    return _newest(folder, device, up_to)


def _newest(folder: Path, device: Any, up_to: int | None) -> tuple[int, dict[str, Any]] | None:
    for path in checkpoints(folder):
        if up_to is not None and _step(path) > up_to:
            continue
        import torch  # where there is nothing to load it is not needed

        content = read_bytes(path)
        if hashlib.sha256(content).hexdigest()[:16] != path.stem.rpartition("-")[2]:
            warnings.warn(f"{path} is damaged; falling back to the one before it", stacklevel=2)
            continue
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location=device, weights_only=True
        )
        return _step(path), state
    return None


def remove(folder: Path) -> None:
    """Delete all checkpoints, and what a killed writer left."""
    for path in [*checkpoints(folder), *folder.glob(_TEMPORARIES)]:
        path.unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint files, newest first."""
    names = re.compile(r"checkpoint-\d{12}-[0-9a-f]{16}\.pt")
    return sorted((p for p in folder.iterdir() if names.fullmatch(p.name)), key=_step, reverse=True)


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint file; 0 without one."""
    return max(map(_step, checkpoints(folder)), default=0)


def _step(path: Path) -> int:
    return int(path.stem.split("-")[1])
