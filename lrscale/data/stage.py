"""Data copied to a disk of the node's own, once for all ranks on it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lrscale.errors import UserError

PROGRESS_SECONDS = 10.0
_COPIERS = 16  # threads: small files from a network file system are all waiting
_COMPLETE = ".complete"


def expanded(folder: str) -> Path:
    """``folder`` with the environment variables of this node. Raises UserError for unset ones."""
    found = os.path.expanduser(os.path.expandvars(folder))
    if missing := re.findall(r"\$\{?\w+\}?", found):
        raise UserError(
            f"data.stage: {missing[0]} is not set on {socket.gethostname()}; name a folder on the "
            "node's own disk, or leave data.stage out"
        )
    return Path(found)


def staged(source: Path, files: Sequence[tuple[str, int]], stage: str, name: str) -> Path:
    """A folder on the node's own disk that holds ``files`` of ``source``.

    The first process of the node copies, the others wait for it. What an interrupted copy left
    is used; what is complete is not looked at again.

    Args:
        files: paths under ``source`` and sizes in bytes.
        stage: where to put the folder ``lrscale-NAME``; environment variables are expanded.

    Raises:
        UserError: a variable that is not set, too little room, or a file that cannot be copied.
    """
    target = expanded(stage) / f"lrscale-{name}"
    try:
        target.mkdir(parents=True, exist_ok=True)
        lock = target.with_suffix(".lock").open("w")
    except OSError as error:
        raise UserError(f"data.stage: {target} cannot be made: {error}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed
        if not (target / _COMPLETE).exists():
            _copy(source, target, files)
            (target / _COMPLETE).touch()
    return target


def _copy(source: Path, target: Path, files: Sequence[tuple[str, int]]) -> None:
    left = [(name, size) for name, size in files if _size(target / name) != size]
    total = sum(size for _, size in left)
    free = shutil.disk_usage(target).free
    if total > free:
        raise UserError(
            f"data.stage: {target} has {free / 1e9:.1f} GB free, and the data needs "
            f"{total / 1e9:.1f} GB; name another folder, or leave data.stage out"
        )
    for folder in {os.path.dirname(name) for name, _ in left}:
        (target / folder).mkdir(parents=True, exist_ok=True)
    progress = _Progress(target, total)

    def copy(file: tuple[str, int]) -> int:
        name, size = file
        try:
            shutil.copyfile(source / name, target / name)
        except OSError as error:
            raise UserError(f"data.stage: {source / name} cannot be copied: {error}") from None
        return size

    with ThreadPoolExecutor(_COPIERS) as threads:
        try:
            for size in threads.map(copy, left):
                progress.add(size)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    progress.end()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


class _Progress:
    """A line on standard error at the beginning, every ten seconds and at the end."""

    def __init__(self, target: Path, total: int) -> None:
        self._what = f"staging {total / 1e9:.1f} GB to {socket.gethostname()}:{target}"
        self._total, self._done = total, 0
        self._started = self._said = time.monotonic()
        self._say("")

    def add(self, size: int) -> None:
        self._done += size
        now = time.monotonic()
        if now - self._said >= PROGRESS_SECONDS:
            self._said = now
            pace = self._done / (now - self._started)
            left = (self._total - self._done) / max(pace, 1)
            share = self._done / max(self._total, 1)
            self._say(f": {share:.0%}, {pace / 1e6:.0f} MB/s, {left:.0f} s left")

    def end(self) -> None:
        self._say(f": done in {time.monotonic() - self._started:.0f} s")

    def _say(self, text: str) -> None:
        print(self._what + text, file=sys.stderr, flush=True)
