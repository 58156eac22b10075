"""Locks: folders, because renames are atomic on NFS and flock is not."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from lrscale.errors import UserError
from lrscale.files import clock_of


@contextlib.contextmanager
def hold(path: Path, wait_seconds: float = 60.0, stale_seconds: float = math.inf) -> Iterator[None]:
    """Hold the lock ``path``, whose parent is there.

    A lock whose holder has died on this host is taken over, and so is one that has not been
    touched for ``stale_seconds``.

    Raises:
        UserError: another process still holds it after ``wait_seconds``.
    """
    _drop_stale(path, stale_seconds)
    deadline = time.monotonic() + wait_seconds
    while not _acquire(path):
        if time.monotonic() > deadline:
            host, pid = _lock_owner(path) or ("?", "?")
            raise UserError(
                f"another process (pid {pid} on {host}) holds {path}; "
                "if it is gone for certain, remove that folder"
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        (path / _me()).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the next holder may be in it by now
            path.rmdir()


def _acquire(path: Path) -> bool:
    """One attempt at a lock: a folder with a file in it that is named after its holder.

    It is made elsewhere and renamed into place, which fails while another holder's is there. A
    dead holder's file is renamed to ours: of several who try, one succeeds.
    """
    mine = path.with_name(f".{path.name}.{_me()}")
    mine.mkdir(exist_ok=True, mode=0o700)
    (mine / _me()).touch(mode=0o600)
    try:
        os.rename(mine, path)  # succeeds on an empty folder, as a lock just released may be
        return True
    except OSError:
        shutil.rmtree(mine, ignore_errors=True)
    owner = _lock_owner(path)
    if owner is None or owner[0] != socket.gethostname() or process_alive(int(owner[1])):
        return False
    try:
        os.rename(path / ".".join(owner), path / _me())
        return True
    except OSError:
        return False


def _drop_stale(path: Path, seconds: float) -> None:
    """Remove a lock that nobody has touched for so long."""
    with contextlib.suppress(FileNotFoundError):
        touched = path.stat().st_mtime
        if clock_of(path.parent) - touched > seconds:
            shutil.rmtree(path, ignore_errors=True)


def _me() -> str:
    return f"{socket.gethostname()}.{os.getpid()}"


def _lock_owner(path: Path) -> tuple[str, str] | None:
    """Host and pid of the lock's holder; None when it is free."""
    try:
        name = next(iter(os.listdir(path)), "")
    except OSError:
        return None
    host, _, pid = name.rpartition(".")
    return (host, pid) if pid.isdigit() else None


def process_alive(pid: int) -> bool:
    """Whether a process of this host with that id is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
