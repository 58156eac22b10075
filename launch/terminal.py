"""What every command shares: the console, the run store it works on, errors and exit codes."""

from __future__ import annotations

import argparse
import errno
import functools
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from lrscale.errors import UserError
from lrscale.store import Store

OURS = frozenset(Path(__file__).resolve().parents[1] / name for name in ("launch", "lrscale"))
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
# What the user's disk, and not the program, is to blame for.
DISK_ERRORS = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.ENOSPC, errno.EPERM, errno.EROFS}
)


def console(stderr: bool = False) -> Console:
    """A console that takes text literally, and prints plainly into files and pipes.

    Text from users (names, causes) may hold square brackets, so markup is off: style with
    ``rich.text.Text`` or ``style=``. Where there is no terminal there are no colours, and lines
    are as long as their content instead of being wrapped at 80 columns.
    """
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = 240
    return made


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Decorates a command's ``main(argv) -> exit code``.

    A UserError, or a disk that is full or may not be written, is printed on stderr without a
    traceback, exit code 2. Ctrl-C and a reader that closes the pipe (``| head``) end the command
    quietly. Files are the owner's alone, those that libraries make among them. Warnings of ours
    are printed as sentences.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        previous, formatted = os.umask(0o077), warnings.formatwarning
        warnings.formatwarning = _as_a_sentence
        try:
            code = main(argv)
            sys.stdout.flush()
            return code
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return EXIT_USER_ERROR
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            # What is still buffered would fail once more, noisily, at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            place = error.filename or "the run store"  # a write does not say where to
            print(f"error: {place}: {error.strerror}", file=sys.stderr)
            return EXIT_USER_ERROR
        finally:
            os.umask(previous)
            warnings.formatwarning = formatted

    return wrapped


def _as_a_sentence(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning of ours is for the person; one of a library keeps its place in the code."""
    if category is UserWarning and not OURS.isdisjoint(Path(filename).parents):
        return f"warning: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def parser(doc: str, example: str) -> argparse.ArgumentParser:
    """An argument parser with ``--runs`` whose help ends with an example."""
    made = argparse.ArgumentParser(description=doc, epilog=f"example: {example}")
    made.add_argument(
        "--runs",
        metavar="DIR",
        help="the run store (default: $LRSCALE_RUNS, else ./runs)",
    )
    return made


def run_store(runs: str | None) -> Store:
    """The store of ``--runs DIR``, else of LRSCALE_RUNS, else ``./runs``; there or not."""
    return Store(runs or os.environ.get("LRSCALE_RUNS") or "runs")
