"""The plugins of a sweep: found, read, imported and held to the contract, before anything else.

A sweep names Python files, relative to itself, or entry points of the group ``lrscale.plugins``
that installed packages offer. A file in a package (a folder with ``__init__.py``) stands for the
whole of that package, any other for itself alone.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from launch.snapshot import digest_of
from launch.sweep import Sweep
from lrscale.contract import breaches, place_of_class
from lrscale.errors import UserError, did_you_mean
from lrscale.plugins import Plugin, load, place_of
from lrscale.registry import Registry

GROUP = "lrscale.plugins"
MAX_FILES = 500
MAX_BYTES = 5_000_000


@dataclass(frozen=True)
class _Place:
    """Where a plugin lies.

    Attributes:
        folder: what the names of its files are relative to.
        name: of the file, or of the package's folder.
        module: dotted name of what the sweep asks for; empty for a file by itself.
    """

    folder: Path
    name: str
    module: str


def load_plugins(sweep: Sweep) -> list[Plugin]:
    """Read, import and check what a sweep names; its components are registered afterwards.

    Raises:
        UserError: every plugin that is not there, cannot be imported or has a component that does
            not keep the contract, with file and line.
    """
    named = {name: _where(sweep, name) for name in sweep.text.get("plugins") or []}
    plugins = read_plugins(named)
    return import_plugins(plugins, sweep.where("plugins"))


def read_plugins(named: Mapping[str, str]) -> list[Plugin]:
    """The plugins of some names, in memory; those of one package are one.

    Args:
        named: file or entry point → what its mistakes are said to be in.

    Raises:
        UserError: every one that cannot be had.
    """
    places = _all(lambda name: _place(name, named[name]), named)
    modules: dict[tuple[Path, str], list[str]] = {}
    for place in places:
        modules.setdefault((place.folder, place.name), []).append(place.module)
    tops = [name for _, name in modules if not name.endswith(".py")]
    for name in tops:
        if tops.count(name) > 1:
            raise UserError(f"{next(iter(named.values()))}: two packages are called {name}")
    return _all(lambda place: _read(place[0], place[1], modules[place]), modules)


def import_plugins(plugins: Sequence[Plugin], where: str) -> list[Plugin]:
    """The same, imported and checked.

    Raises:
        UserError: every mistake; ``where`` begins each.
    """
    registered = _all(lambda plugin: _import(plugin, where), plugins)
    problems = [
        f"{where}: {problem}"
        for entries in registered
        for registry, name in entries
        for problem in _breaches(registry, name)
    ]
    if problems:
        raise UserError("\n".join(problems))
    return list(plugins)


def _import(plugin: Plugin, where: str) -> list[tuple[Registry, str]]:
    try:
        return load(plugin)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _breaches(registry: Registry, name: str) -> Iterator[str]:
    place = place_of_class(registry.get(name))
    try:
        found = breaches(registry, name)
    except Exception as error:
        at = place_of(error)
        if at is None:
            raise
        found, place = [f"{type(error).__name__}: {error}"], at
    yield from (f"{place}: {registry.kind} '{name}': {breach}" for breach in found)


def _where(sweep: Sweep, name: str) -> str:
    return f"{sweep.key_files.get(f'plugins.{name}', sweep.path)}: plugins: {name}"


def _all(of: Callable[[Any], Any], things: Iterable[Any]) -> list[Any]:
    """``of`` each; raises UserError with all that they raise."""
    made, problems = [], []
    for thing in things:
        try:
            made.append(of(thing))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return made


# Where they are ---------------------------------------------------------------------------------


def _place(name: str, at: str) -> _Place:
    return _place_of_file(Path(name), at) if name.endswith(".py") else _place_of_entry(name, at)


def _place_of_file(path: Path, at: str) -> _Place:
    if path.exists() and not path.is_file():
        raise UserError(f"{at}: not a file")
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], n=1)
        hint = f": did you mean '{path.with_name(near[0])}'?" if near else ""
        raise UserError(f"{at}: no such file{hint}")
    path = path.absolute()
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if folder == path.parent:
        return _Place(folder, path.name, "")
    _check_name(parts, folder, at)
    return _Place(folder, parts[0], ".".join(parts))


def _check_name(parts: Sequence[str], folder: Path, at: str) -> None:
    """A package must have a name that Python can import, and that nobody else has."""
    for part in parts:
        if not part.isidentifier():
            raise UserError(f"{at}: '{part}' is no name of a Python module: use letters, digits, _")
    spec = importlib.util.find_spec(parts[0])
    if spec is not None and Path(spec.origin or "").parent != folder / parts[0]:
        other = f"a Python module ({spec.origin or 'installed'})"
        raise UserError(f"{at}: {parts[0]} is the name of {other}: rename the folder {parts[0]}/")


def _place_of_entry(name: str, at: str) -> _Place:
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        hint = did_you_mean(name, points) if points else "no installed package has any"
        raise UserError(
            f"{at}: neither a file, which ends in .py, nor an entry point of {GROUP}: {hint}"
        )
    module = points[name].module
    top = module.partition(".")[0]
    spec = importlib.util.find_spec(top)  # imports nothing
    if spec is None or spec.origin is None:
        raise UserError(f"{at}: its module {module} is not installed as Python files")
    path = Path(spec.origin)
    if path.name == "__init__.py":
        return _Place(path.parent.parent, top, module)
    return _Place(path.parent, path.name, "")


# What they hold ---------------------------------------------------------------------------------


def _read(folder: Path, name: str, modules: Sequence[str]) -> Plugin:
    paths = [folder / name] if name.endswith(".py") else sorted(_python_files(folder / name))
    size = sum(path.stat().st_size for path in paths)
    if len(paths) > MAX_FILES or size > MAX_BYTES:
        raise UserError(
            f"plugin {folder / name}: {len(paths):,} Python files of {size / 1e6:.1f} MB; at most "
            f"{MAX_FILES} files of {MAX_BYTES / 1e6:.0f} MB are frozen: use a smaller package"
        )
    try:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    except OSError as error:
        raise UserError(f"plugin {folder / name}: cannot be read: {error}") from None
    digest = digest_of(files)
    if name.endswith(".py"):
        modules = [f"{name.removesuffix('.py')}_{digest}"]  # shadows no other module
    return Plugin(name, tuple(dict.fromkeys(modules)), digest, folder, files)


def _python_files(package: Path) -> Iterator[Path]:
    """Those of a package; hidden folders, caches and linked folders are not entered."""
    for folder, folders, names in os.walk(package):
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        paths = (Path(folder) / name for name in names if name.endswith(".py"))
        yield from (path for path in paths if path.is_file() and not path.name.startswith("."))
