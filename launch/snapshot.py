"""Code and environment, frozen at submission: queued jobs run what was there when they were queued.

A snapshot is a copy of the working tree, committed and not, under the digest of its content:
stored once however often it is submitted. What git ignores, the run store and the data stay out,
and so do hidden files that git does not track, because an ``.env`` may hold keys.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import launch
from lrscale.errors import UserError
from lrscale.files import make_folder, open_file
from lrscale.plugins import Plugin, frozen_folder
from lrscale.store import Store

MAX_BYTES = 50_000_000
MAX_FILES = 5_000
MAX_DIFF = 200_000  # characters of the uncommitted changes that are recorded as text

# What decides a run's numbers; commands and tables may be edited without making results stale.
RESULT_CODE = ("lrscale/", "launch/job.py")
NOT_RESULT_CODE = ("lrscale/compare/", "lrscale/track/")

# The only environment variables that are recorded: any other might hold a key.
ENVIRONMENT = (
    "CONDA_DEFAULT_ENV",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "LOADEDMODULES",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VIRTUAL_ENV",
)


@dataclass(frozen=True)
class Snapshot:
    """A working tree as it was at one moment, in memory.

    Attributes:
        digest: 20 hexadecimal digits over every file's name and content.
        code: the same over the code that decides results: two snapshots with equal ``code``
            give equal runs. ``--retry stale`` compares it.
        commit: of git; empty outside of a repository.
        dirty: whether the tree differs from the commit.
        provenance: JSON for the submission's record: the above, the uncommitted changes as text
            (``diff``, ``untracked``), plugins, packages, Python, host and user.
        files: content by path relative to the tree.
        executable: those of ``files`` that may be executed.
    """

    digest: str
    code: str
    commit: str
    dirty: bool
    provenance: dict[str, Any] = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    executable: frozenset[str] = field(repr=False)

    def run_record(self) -> dict[str, Any]:
        """What the record of each run keeps, beside its ``config``."""
        code = {"digest": self.code, "commit": self.commit, "dirty": self.dirty}
        return {"snapshot": self.digest, "code": code}


@dataclass(frozen=True)
class _Git:
    """What git says of the tree; empty throughout when it is in no repository.

    ``untracked`` holds neither what git ignores nor hidden files.
    """

    tracked: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    commit: str = ""
    diff: str = ""


def working_tree() -> Path:
    """The folder that holds ``launch/`` and ``lrscale/``."""
    return Path(launch.__file__).resolve().parent.parent


def take(tree: Path, exclude: Iterable[Path] = (), plugins: Sequence[Plugin] = ()) -> Snapshot:
    """Read the tree; nothing is written. Linked files are read, linked folders are not entered.

    Args:
        tree: the folder that holds ``launch/`` and ``lrscale/``.
        exclude: folders to leave out where git does not track them: the run store, data.
        plugins: a user's own code, frozen as it was read. It is no part of ``code``: what it
            decides, the identity of its runs tells apart.

    Raises:
        UserError: more than 50 MB or 5,000 files; the largest are named.
    """
    tree, exclude = tree.resolve(), [path.resolve() for path in exclude]
    git = _ask_git(tree, exclude)
    names = {*git.tracked, *git.untracked} or set(_walk(tree, exclude))
    paths = {name: tree / name for name in sorted(names) if (tree / name).is_file()}
    _check_size(tree, paths)
    files = {name: path.read_bytes() for name, path in paths.items()}
    for plugin in plugins:
        files |= {f"{frozen_folder(plugin.digest)}/{n}": data for n, data in plugin.files.items()}
    executable = frozenset(name for name, path in paths.items() if os.access(path, os.X_OK))
    digest = digest_of(files, executable)
    code = digest_of({name: data for name, data in files.items() if _decides_results(name)})
    dirty = bool(git.diff or git.untracked)
    provenance = {
        "snapshot": digest,
        "code": code,
        "commit": git.commit,
        "dirty": dirty,
        "diff": _shortened(git.diff),
        "untracked": [name for name in git.untracked if name in files],
        "plugins": [plugin.record() for plugin in plugins],
        **_environment(),
    }
    return Snapshot(digest, code, git.commit, dirty, provenance, files, executable)


def save(snapshot: Snapshot, store: Store) -> Path:
    """Put the snapshot into the store, where jobs have it as their working directory.

    One of that content which is there already is used again; should somebody have edited it, it
    is put right, with a warning.
    """
    path = store.snapshot_dir(snapshot.digest)
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
        for name in snapshot.files:
            _write(snapshot, name, temporary / name)
        try:
            os.rename(temporary, path)
        except OSError:  # another submission was faster: a folder cannot replace a full one
            shutil.rmtree(temporary, ignore_errors=True)
            if not path.exists():
                raise
    for name, data in snapshot.files.items():
        copy = path / name
        if not copy.is_file() or copy.read_bytes() != data:
            warnings.warn(f"{copy} had been altered since it was stored: restored", stacklevel=2)
            _write(snapshot, name, copy)
    return path


def _write(snapshot: Snapshot, name: str, path: Path) -> None:
    for folder in reversed([folder for folder in path.parents if not folder.exists()]):
        make_folder(folder)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(open_file(temporary, os.O_TRUNC, name in snapshot.executable), "wb") as file:
        file.write(snapshot.files[name])
    os.replace(temporary, path)


# --- which files


def _ask_git(tree: Path, exclude: Iterable[Path]) -> _Git:
    tracked = _git(tree, "ls-files", "-z")
    if tracked is None:
        return _Git()
    # An untracked run store may hold a hundred thousand files: git is told not to enter it.
    inside = [path for path in exclude if tree in path.parents]
    patterns = [f"--exclude=/{_pattern(path.relative_to(tree))}/" for path in inside]
    others = _git(tree, "ls-files", "-z", "--others", "--exclude-standard", *patterns)
    commit = _git(tree, "rev-parse", "--verify", "--quiet", "HEAD") or ""
    diff = _git(tree, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--", ".")
    untracked = tuple(filter(_visible, _names(others or "")))
    return _Git(_names(tracked), untracked, commit.strip(), diff or "")


def _git(tree: Path, *arguments: str) -> str | None:
    """git's answer; None without git, outside of a repository, or before the first commit."""
    redirections = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set inside of git hooks
    environment = {k: v for k, v in os.environ.items() if k not in redirections}
    command = ["git", "--no-optional-locks", "-C", str(tree), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return os.fsdecode(done.stdout)


def _names(listing: str) -> tuple[str, ...]:
    return tuple(sorted(set(filter(None, listing.split("\0")))))


def _pattern(path: Path) -> str:
    """A path as a gitignore pattern that matches it literally."""
    return "".join(f"\\{char}" if char in "\\*?[ " else char for char in path.as_posix())


def _visible(name: str) -> bool:
    return not any(part.startswith(".") for part in PurePosixPath(name).parts)


def _walk(tree: Path, exclude: Iterable[Path]) -> Iterable[str]:
    """The files of a tree without git; of an installed package only its own two folders."""
    left_out = {tree / "data", *exclude}
    is_project = (tree / "setup.cfg").exists()
    roots = [tree] if is_project else [tree / "launch", tree / "lrscale"]
    for root in roots:
        for folder, folders, names in os.walk(root):
            here = Path(folder)
            folders[:] = [f for f in folders if here / f not in left_out and _is_code(here / f)]
            for name in filter(_visible, names):
                yield (here / name).relative_to(tree).as_posix()


def _is_code(folder: Path) -> bool:
    """False for caches, build products, virtual environments and run stores."""
    name = folder.name
    if name.startswith(".") or name.endswith(".egg-info"):
        return False
    if name in ("__pycache__", "build", "dist", "wandb", "node_modules"):
        return False
    return not any((folder / marker).exists() for marker in ("pyvenv.cfg", "store.json"))


def _check_size(tree: Path, paths: Mapping[str, Path]) -> None:
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    total = sum(sizes.values())
    if total <= MAX_BYTES and len(sizes) <= MAX_FILES:
        return
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:5]
    listing = "\n".join(f"  {sizes[name] / 1e6:8.1f} MB  {name}" for name in largest)
    raise UserError(
        f"{tree}: {len(sizes):,} files of {total / 1e6:.1f} MB to freeze, more than "
        f"{MAX_FILES:,} files or {MAX_BYTES / 1e6:.0f} MB; the largest:\n{listing}\n"
        "list what is not code in .gitignore, or move it out of the tree"
    )


# --- digests and provenance


def _decides_results(name: str) -> bool:
    ours = name.endswith(".py") and name.startswith(RESULT_CODE)
    return ours and not name.startswith(NOT_RESULT_CODE)


def digest_of(files: Mapping[str, bytes], executable: frozenset[str] = frozenset()) -> str:
    """20 hexadecimal digits over every file's name, content and whether it may be executed."""
    digest = hashlib.sha256()
    for name in sorted(files):
        head = f"{name}\0{int(name in executable)}\0{len(files[name])}\0"
        digest.update(os.fsencode(head))
        digest.update(files[name])
    return digest.hexdigest()[:20]


def _shortened(diff: str) -> str:
    text = os.fsencode(diff).decode(errors="replace")
    if len(text) <= MAX_DIFF:
        return text
    return f"{text[:MAX_DIFF]}\n… shortened: {len(text):,} characters in all\n"


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
        "host": socket.gethostname(),
        "user": user_name(),
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
    }


def _packages() -> dict[str, str]:
    """Versions by name, from the names of the installed ``NAME-VERSION.dist-info`` folders.

    importlib.metadata would parse every package's metadata for it: 110 ms instead of 2.
    """
    found: dict[str, str] = {}
    for entry in filter(os.path.isdir, sys.path):
        for path in Path(entry).glob("*.dist-info"):
            name, _, version = path.stem.partition("-")
            found.setdefault(name, version)
    return dict(sorted(found.items()))


def user_name() -> str:
    """The user's login name; the numeric id where there is none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
