"""Components of a user's own, from Python files outside of this project.

A plugin is one file, or the package (a folder with ``__init__.py``) that a file lies in. It is
imported from what was read of it and from nothing else, at submission and in every job: what is
checked, what the snapshot keeps and what runs' identities tell apart are the same bytes. Its
modules register components by the decorators of ``lrscale.registry``, as ours do.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from lrscale.errors import UserError
from lrscale.registry import REGISTRIES, Registry

Registered = list[tuple[Registry, str]]


@dataclass(frozen=True)
class Plugin:
    """Python files of a user's own, in memory.

    Attributes:
        name: of the file or the package: ``optimizers.py``, ``my_lab``.
        modules: what is imported of it, by dotted name.
        digest: 20 hexadecimal digits over every file's name and content.
        folder: what the names of ``files`` are relative to.
        files: content by name: one file, or all of a package.
    """

    name: str
    modules: tuple[str, ...]
    digest: str
    folder: Path = field(compare=False)
    files: Mapping[str, bytes] = field(repr=False, compare=False)

    @property
    def top(self) -> str:
        """The first part of its modules' names."""
        return self.modules[0].partition(".")[0]

    def record(self) -> dict[str, Any]:
        """What the record of a run keeps of it, as JSON: enough to find it in the snapshot."""
        return {"name": self.name, "modules": list(self.modules), "digest": self.digest}

    @cached_property
    def _module_files(self) -> dict[str, str]:
        if self.name.endswith(".py"):
            return {self.top: self.name}
        stems = {name: name.removesuffix(".py").replace("/", ".") for name in self.files}
        return {stem.removesuffix(".__init__"): name for name, stem in stems.items()}


_loaded: dict[str, Plugin] = {}  # by the first part of their modules' names


class _Loader(SourceLoader):
    """A module of which the source is known. No bytecode is read or written."""

    def __init__(self, path: Path, source: bytes) -> None:
        self.path, self.source = path, source

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: Any) -> bytes:
        return self.source


class _Finder(MetaPathFinder):
    """Finds modules of plugins in what was read of these, and not on the disk."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        plugin = _loaded.get(fullname.partition(".")[0])
        file = plugin._module_files.get(fullname) if plugin is not None else None
        if plugin is None or file is None:
            return None
        location = plugin.folder / file
        loader = _Loader(location, plugin.files[file])
        is_package = location.name == "__init__.py"
        spec = ModuleSpec(fullname, loader, origin=str(location), is_package=is_package)
        spec.has_location = True
        return spec


_FINDER = _Finder()


def load(plugin: Plugin) -> Registered:
    """Import a plugin; what it has registered, empty when it was loaded before.

    What it prints goes to stderr.

    Raises:
        UserError: it cannot be imported, takes a name that is taken, or registers nothing or a
            class that it does not define; with file and line. Another version of it is loaded.
    """
    known = _loaded.setdefault(plugin.top, plugin)
    path = plugin.folder / plugin.name
    if known.digest != plugin.digest:
        raise UserError(f"{path}: another version of it is loaded: {known.folder / known.name}")
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    before = _registered()  # all of ours, so that a name of theirs is seen to be taken
    try:
        with contextlib.redirect_stdout(sys.stderr):
            for module in plugin.modules:
                importlib.import_module(module)
    except (Exception, SystemExit) as error:
        place = place_of(error) or path
        raise UserError(f"{place}: {_what(error)}{_hint(error, plugin)}") from error
    new = [entry for entry in _registered() if entry not in before]
    if not new and known is plugin:
        raise UserError(f"{path}: it registers no component (see lrscale.registry)")
    for registry, name in new:
        component = registry.get(name)
        if plugin_of(component) is not plugin:
            raise UserError(
                f"{path}: {registry.kind} '{name}': {component.__module__}."
                f"{component.__qualname__} is not defined in the plugin: make a class of its own"
            )
    return new


def load_frozen(record: Mapping[str, Any], snapshot: Path) -> None:
    """Import the plugins that a run's record names, as they were when it was submitted.

    Args:
        record: what the run's ``config.json`` holds.
        snapshot: the folder of the run's code.

    Raises:
        UserError: as ``load``, or when the frozen files are gone.
    """
    for kept in record.get("plugins", ()):
        folder = snapshot / frozen_folder(kept["digest"])
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")
        }
        if not files:
            raise UserError(f"plugin {kept['name']}: its frozen files are gone: {folder}")
        load(Plugin(kept["name"], tuple(kept["modules"]), kept["digest"], folder, files))


def frozen_folder(digest: str) -> str:
    """Where a snapshot has a plugin, relative to the snapshot."""
    return f"plugins/{digest}"


def any_loaded() -> bool:
    """Whether this process has loaded a plugin."""
    return bool(_loaded)


def plugin_of(component: type[Any]) -> Plugin | None:
    """The plugin that defines a class; None for one of ours."""
    return _loaded.get(component.__module__.partition(".")[0])


def place_of(error: BaseException) -> str | None:
    """``file:line`` where a plugin's code raised an error; None where none was at it."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        frames = [(error.filename, error.lineno)]
    else:
        frames = [(f.filename, f.lineno or 0) for f in traceback.extract_tb(error.__traceback__)]
    ours = {str(p.folder / name) for p in _loaded.values() for name in p.files}
    return next((f"{file}:{line}" for file, line in reversed(frames) if file in ours), None)


def _registered() -> Registered:
    return [(registry, name) for registry in REGISTRIES for name in registry.names()]


def _what(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}".rstrip(": ")


def _hint(error: BaseException, plugin: Plugin) -> str:
    """For an import of a file that lies beside a plugin of one file."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if not missing or not (plugin.folder / f"{missing}.py").is_file():
        return ""
    package = plugin.folder.name
    return (
        f" ({plugin.name} is frozen by itself: put an __init__.py into {package}/ to freeze that "
        f"folder whole, and import {package}.{missing})"
    )
