"""Files that are whole or absent, and who may read them."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Stamp = list[int]


def to_json(value: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON text; non-finite numbers, which JSON has no form for, become null."""
    try:
        return json.dumps(value, allow_nan=False, indent=indent)
    except ValueError:
        return json.dumps(_finite(value), indent=indent)


def write_json(path: Path, value: Mapping[str, Any], indent: int | None = None) -> None:
    """Replace ``path`` atomically; non-finite numbers become null."""
    write_text(path, to_json(value, indent) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace ``path`` atomically; see ``open_file`` for who may read it."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with open(open_file(temporary, os.O_TRUNC), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:  # such as a full disk, which has room again for smaller files
        temporary.unlink(missing_ok=True)
        raise


def open_file(path: Path, flags: int, executable: bool = False) -> int:
    """A descriptor to write a file with, which is made if it is not there.

    It is the owner's alone, or the group's to read where the group may read the folder.
    """
    mode = 0o700 if executable else 0o600
    file = os.open(path, os.O_CREAT | os.O_WRONLY | flags, mode)
    if _group_reads(path.parent):
        os.fchmod(file, mode | mode >> 3 & 0o050)
    return file


def make_folder(path: Path) -> None:
    """A folder, if it is not there, that is the owner's alone, or the group's to read where the
    group may read the one that it is in."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        if _group_reads(path.parent):
            path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o050)


def stamp(path: Path) -> Stamp | None:
    """Inode, time of change in nanoseconds and size, by which to tell that a file is still the one
    that was read; None when there is no such file."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [found.st_ino, found.st_mtime_ns, found.st_size]


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``; None when there is no such file."""
    try:
        value: dict[str, Any] = json.loads(read_bytes(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return value


def read_bytes(path: Path) -> bytes:
    """What is in ``path``.

    On NFS a file that another host has just replaced may be known here by its old handle, which is
    good for nothing any more: the next look finds the new one.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return path.read_bytes()


def clock_of(folder: Path) -> float:
    """Now, in Unix seconds, by the clock that stamps the files of ``folder``.

    On a network file system that is its server's, the only one that all hosts share: the time of
    change of a file can be held against it wherever it was written. Where nothing may be written
    it is this host's own.
    """
    probe = folder / f".clock.{socket.gethostname()}.{os.getpid()}"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)
    except OSError:
        return time.time()


def _group_reads(folder: Path) -> bool:
    return folder.stat().st_mode & 0o050 == 0o050


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
