"""What Python imports first of all on a node of benchmarks/chaos.py, where it lies as
``sitecustomize.py``: the node's clock may be wrong, and what it sees of folders old, as on NFS.

CHAOS_NODES holds a folder for each node: in its file ``clock`` the seconds by which that is ahead;
in its folder ``late``, if there is one, listings that the node has taken of folders of the store
CHAOS_STORE. It believes them as long as they are there, unless it changes such a folder itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

NODE = os.path.join(os.environ.get("CHAOS_NODES", ""), os.environ.get("SLURMD_NODENAME", ""))
CLOCK, LATE = os.path.join(NODE, "clock"), os.path.join(NODE, "late")
STORE = os.environ.get("CHAOS_STORE", "")
right_time, true_listing, true_open = time.time, os.listdir, os.open
remove, replace = os.unlink, os.replace


def clock() -> float:
    try:
        with open(CLOCK) as file:
            return right_time() + float(file.read())
    except OSError:
        return right_time()


def listing(folder: Any = ".") -> list[Any]:
    path = _kept(folder)
    if path is None:
        return true_listing(folder)
    with contextlib.suppress(OSError), open(path) as file:
        return list(json.load(file))
    names = true_listing(folder)
    with contextlib.suppress(OSError):
        with open(f"{path}.{os.getpid()}", "w") as file:
            json.dump(names, file)
        replace(file.name, path)
    return names


def _kept(folder: Any) -> str | None:
    """Where the node keeps what it sees of a folder of the store, while it sees it late."""
    name = os.path.abspath(folder) if isinstance(folder, str | os.PathLike) else ""
    if not name.startswith(f"{STORE}/") or not os.path.isdir(LATE):
        return None
    return os.path.join(LATE, hashlib.sha256(name.encode()).hexdigest())


def seen_at_once(change: Callable[..., Any], paths: int = 1) -> Callable[..., Any]:
    """A function of ``os`` that changes the folders around its first arguments."""

    def changing(*args: Any, **kwargs: Any) -> Any:
        try:
            return change(*args, **kwargs)
        finally:
            for path in args[:paths]:
                if kept := _kept(os.path.dirname(path)):
                    with contextlib.suppress(OSError):
                        remove(kept)

    return changing


def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
    return (creating if flags & os.O_CREAT else true_open)(path, flags, *args, **kwargs)


if STORE and "SLURMD_NODENAME" in os.environ:
    creating = seen_at_once(os.open)
    time.time, os.listdir, os.open = clock, listing, opened
    os.unlink, os.mkdir = seen_at_once(os.unlink), seen_at_once(os.mkdir)
    os.replace, os.rename = seen_at_once(os.replace, 2), seen_at_once(os.rename, 2)
