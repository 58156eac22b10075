"""What of a run store can go, and how much that is: checkpoints of runs that have finished, code
that no run needs, what killed processes left. With --yes it goes.

Results stay, whatever is asked; so does all that belongs to a run which somebody has, or which can
still go on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from launch import terminal
from launch.claims import Claims, beats, live_claims
from lrscale import checkpoint
from lrscale.errors import UserError
from lrscale.run_dir import RunDir
from lrscale.run_state import FINISHED
from lrscale.store import Store

EXAMPLE = "python launch/clean.py --yes"
# A file is written under another name and renamed. Nothing takes that long to write.
ABANDONED_SECONDS = 3600.0
OF_FINISHED = "checkpoints of finished runs"
OF_ATTEMPTS = "what attempts of finished runs left, joined since"
SNAPSHOTS = "code that no run needs"
TEMPORARIES = "files that killed processes left half-written"


@dataclass(frozen=True)
class Spare:
    """A file or a folder that can go.

    Attributes:
        kind: why, for the person.
        files, size: how many, and their bytes.
    """

    kind: str
    path: Path
    files: int
    size: int


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for the user's mistakes."""
    arguments = _parser().parse_args(argv)
    store, console = terminal.run_store(arguments.runs), terminal.console()
    if not (store.root / "store.json").exists():
        raise UserError(f"no run store at {store.root}; --runs DIR names another")
    with console.status("looking …") if console.is_terminal else contextlib.nullcontext():
        if arguments.yes:
            with store.lock("submit"):  # nothing is handed over meanwhile, and so nothing begins
                found = list(spare(store, _claims(store)))
                for one in found:
                    _remove(one.path)
        else:
            found = list(spare(store, _claims(store)))
    if arguments.json:
        print(json.dumps([vars(one) | {"path": str(one.path)} for one in found]))
    else:
        _show(console, store, found, gone=arguments.yes)
    return 0


def _claims(store: Store) -> Claims:
    claims = live_claims(store)
    for warning in claims.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return claims


def spare(store: Store, claims: Claims) -> Iterator[Spare]:
    """All that can go.

    Raises:
        UserError: a run's record cannot be read, so that it is not known what it needs.
    """
    needed = set()
    for path in sorted((store.root / "runs").glob("*/*")):
        run = store.run(path.name)
        needed.add(_snapshot(run))
        if run.id not in claims.runs:
            yield from _of_run(run, store.clock())
    submissions = store.read_submissions(open_only=True)
    live = [submissions[name] for name in submissions if name not in claims.over]
    needed |= {array["snapshot"] for record in live for array in record["arrays"]}
    for path in sorted((store.root / "snapshots").glob("[!.]*")):
        if path.name not in needed:
            yield _spare(SNAPSHOTS, path)
    for path in sorted(_temporaries(store)):
        if not any(store.submission_dir(record["id"]) == path.parent for record in live):
            yield _spare(TEMPORARIES, path)


def _snapshot(run: RunDir) -> str:
    if not run.exists():  # its job has died before it could say what the run is
        return ""
    try:
        return str(run.record().get("snapshot", ""))
    except (OSError, ValueError) as error:
        raise UserError(f"run {run.id} cannot be read, nothing was removed: {error}") from error


def _of_run(run: RunDir, now: float) -> Iterator[Spare]:
    state = run.state()
    if state is not None and state.state in FINISHED and run.summary() is not None:
        for path in checkpoint.checkpoints(run.path):
            yield _spare(OF_FINISHED, path)
        for path in run.joined():
            yield _spare(OF_ATTEMPTS, path)
    if not beats(state, now):
        for path in _abandoned(run.path.glob(".*.tmp")):
            yield _spare(TEMPORARIES, path)


def _temporaries(store: Store) -> Iterator[Path]:
    """Of the store itself; those of runs are with them."""
    for pattern in (
        "[!.]*/.*.tmp",
        "submissions/*/.*.tmp",
        "submissions/*/*.save_tmp",  # submitit's
        "snapshots/.*",
        "locks/.*",
    ):
        yield from _abandoned(store.root.glob(pattern))


def _abandoned(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.lstat().st_mtime > ABANDONED_SECONDS:
                yield path


def _spare(kind: str, path: Path) -> Spare:
    inside = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    files = inside if path.is_dir() else [path]
    sizes = []
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            sizes.append(file.lstat().st_size)
    return Spare(kind, path, len(sizes), sum(sizes))


def _remove(path: Path) -> None:
    """A folder goes at once or not at all, as far as its name tells: what is left by a kill is a
    temporary of its own."""
    if path.is_dir() and not path.is_symlink():
        gone = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
        os.rename(path, gone)
        shutil.rmtree(gone)
    else:
        path.unlink(missing_ok=True)


def _show(console: Console, store: Store, found: Sequence[Spare], gone: bool) -> None:
    if not found:
        console.print(f"{store.root}: nothing to remove", soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    for kind in dict.fromkeys(one.kind for one in found):
        table.add_row(*_row(kind, [one for one in found if one.kind == kind]))
    table.add_row(*_row("together", found))
    console.print(table)
    said = "removed" if gone else "nothing was removed: --yes does it, --json lists every path"
    console.print(said)


def _row(name: str, some: Sequence[Spare]) -> tuple[str, str, str]:
    files = sum(one.files for one in some)
    size = decimal(sum(one.size for one in some))
    return name, f"{files:,} file" + ("" if files == 1 else "s"), size


def _parser() -> argparse.ArgumentParser:
    parser = terminal.parser(__doc__ or "", EXAMPLE)
    parser.add_argument("--yes", action="store_true", help="remove it")
    parser.add_argument("--json", action="store_true", help="print every path, with why and size")
    return parser


if __name__ == "__main__":
    sys.exit(main())
