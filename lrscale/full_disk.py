"""A full disk, or a quota that is used up: no run ends of it that can wait or go on without."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

WAIT_SECONDS = 1200.0
LOOK_SECONDS = 1.0


def is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def despite_full_disk() -> Iterator[None]:
    """Inside, what cannot be written for want of room is left for later, with a warning."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        _say(f"{error}; going on without")


def once_there_is_room(write: Callable[[], T], give_up: Callable[[], bool] = lambda: False) -> T:
    """What ``write`` returns, which is tried until it finds room.

    Raises:
        OSError: there was none for WAIT_SECONDS, or until ``give_up()``.
    """
    deadline, waiting = time.monotonic() + WAIT_SECONDS, False
    while True:
        try:
            return write()
        except OSError as error:
            if not is_full(error) or give_up() or time.monotonic() > deadline:
                raise
            if not waiting:
                _say(f"{error}; waiting for room")
            waiting = True
            time.sleep(LOOK_SECONDS)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the log may lie on that disk
        print(text, file=sys.stderr, flush=True)
