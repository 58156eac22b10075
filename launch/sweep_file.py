"""A sweep file with all that it includes, as one plain mapping. The only I/O of the language."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.keys import check_key, leaves, nest
from launch.sweep_yaml import parse_yaml, read_file
from launch.values import shown
from lrscale.config import merge
from lrscale.errors import UserError, did_you_mean

MAX_FILES = 100

ARM_KEYS = ("grid", "zip", "random", "exclude", "seeds", "resources")
"""What an arm can have of its own; its other keys are overrides of the run."""
TOP_LEVEL: tuple[str, ...] = (
    *("name", "notes", "include", "plugins", "run", "arms"),
    *ARM_KEYS,
    *("parallel", "runs_per_task", "minutes_per_run", "per_gpu", "max_retries", "quick", "compare"),
)
RANDOM_KEYS = ("trials", "sampler", "seed", "space")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
NAME_RULE = "up to 100 letters, digits, '.', '_', '+' and '-', the first a letter or digit"
_BLOCKS = ("run", "arms", "grid", "random", "resources", "quick", "compare")
_LISTS_OF_BLOCKS = ("zip", "exclude")


@dataclass(frozen=True)
class Text:
    """What one or several sweep files say, and which of them said it.

    Attributes:
        values: the mapping, in the shape of a sweep file.
        files: dotted key of ``values`` (blocks as well as what is in them) → file.
    """

    values: dict[str, Any]
    files: dict[str, str]

    @classmethod
    def of(cls, values: dict[str, Any], file: str) -> Text:
        """Values that one file gives."""
        paths = set(leaves(values))
        for path in list(paths):
            while "." in path:
                path = path.rpartition(".")[0]
                paths.add(path)
        return cls(values, dict.fromkeys(paths, file))


def load(path: str) -> Text:
    """Read a sweep file and what it includes, the including file laid upon the included ones.

    Raises:
        UserError: a file that cannot be read or is not a sweep, or an inclusion in a circle.
    """
    return _load(path, (), [])


def _load(path: str, chain: tuple[str, ...], read: list[str]) -> Text:
    """``chain``: the files that led here, outermost first; ``read``: all files so far."""
    if any(os.path.realpath(path) == os.path.realpath(above) for above in chain):
        raise UserError(f"include: files that include each other: {' → '.join((*chain, path))}")
    read.append(path)
    if len(read) > MAX_FILES:
        raise UserError(f"{chain[0]}: include: more than {MAX_FILES} files")
    values = checked(parse_yaml(_read(path, chain), path), path)
    text = Text({}, {})
    for included in _included(values.pop("include", None), path):
        text = lay(text, _load(included, (*chain, path), read))
    files = {}
    if values.get("plugins") is not None:
        values["plugins"] = _plugins(values["plugins"], path)
        files = {f"plugins.{plugin}": path for plugin in values["plugins"]}
    own = Text.of(values, path)
    return lay(text, Text(own.values, own.files | files))


def _read(path: str, chain: tuple[str, ...]) -> str:
    by = f" (included by {chain[-1]})" if chain else ""
    file = Path(path)
    try:
        if not file.exists():
            others = [p.name for p in file.parent.glob("*.y*ml")]
            near = difflib.get_close_matches(file.name, others, n=1)
            hint = f": did you mean '{file.with_name(near[0])}'?" if near else ""
            raise UserError(f"{path}: no such file{by}{hint}")
        return read_file(file, by)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise UserError(f"{path}: cannot be read{by}: {error}") from None


def _included(include: Any, path: str) -> list[str]:
    names = _names(include, f"{path}: include")
    return [_beside(path, name, "include") for name in names]


def _plugins(plugins: Any, path: str) -> list[str]:
    """Files of plugins, as paths from here; what does not end in .py names an entry point."""
    names = _names(plugins, f"{path}: plugins")
    return [_beside(path, name, "plugins") if name.endswith(".py") else name for name in names]


def _names(value: Any, at: str) -> list[str]:
    names = [] if value is None else value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str) or not name:
            raise UserError(f"{at}: expected a file or a list of files, got {shown(name)}")
    return names


def _beside(path: str, name: str, key: str) -> str:
    """A file named in the sweep file ``path``, relative to it."""
    if os.path.isabs(name):
        raise UserError(f"{path}: {key}: {name}: write it relative to this file")
    return os.path.normpath(os.path.join(os.path.dirname(path), name))


# Shape ---------------------------------------------------------------------------------------


def checked(values: Any, file: str) -> dict[str, Any]:
    """The mapping of a sweep file, its sections of the right shape, its blocks nested.

    Raises:
        UserError: unknown keys (all of them), or a section that is not what it should be.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{file}: expected a mapping with keys such as run and grid")
    unknown = [key for key in values if key not in TOP_LEVEL]
    if unknown:
        lines = [f"{file}: {key}: unknown key: {did_you_mean(key, TOP_LEVEL)}" for key in unknown]
        raise UserError("\n".join([*lines, "(what a run is made of goes under run:)"]))
    sections = _checked_sections(values, f"{file}: ")
    if sections.get("arms"):
        arms = sections["arms"].items()
        sections["arms"] = {name: _checked_arm(name, arm or {}, file) for name, arm in arms}
    return sections


def _checked_arm(name: str, arm: Any, file: str) -> dict[str, Any]:
    at = f"{file}: arms.{name}"
    if not NAME.fullmatch(name):
        raise UserError(f"{at}: a name is made of {NAME_RULE}")
    if not isinstance(arm, Mapping):
        raise UserError(f"{at}: expected a mapping of overrides, which may be empty: {{}}")
    for key in arm:
        if key in TOP_LEVEL and key not in ARM_KEYS:
            run_hint = "overrides stand directly under the arm's name"
            hint = run_hint if key == "run" else "it holds for the whole sweep"
            raise UserError(f"{at}.{key}: not a key of an arm: {hint}")
    run = nest({key: value for key, value in arm.items() if key not in ARM_KEYS}, at)
    _check_keys(run, at)
    own = {key: value for key, value in arm.items() if key in ARM_KEYS}
    return run | _checked_sections(own, f"{at}.")


def _checked_sections(sections: Mapping[str, Any], at: str) -> dict[str, Any]:
    result = dict(sections)
    for key, value in sections.items():
        if value is None:
            continue
        if key in _BLOCKS and not isinstance(value, Mapping):
            raise UserError(f"{at}{key}: expected a mapping, got {shown(value)}")
        if key in _LISTS_OF_BLOCKS and not (
            isinstance(value, list) and all(isinstance(v, Mapping) and v for v in value)
        ):
            raise UserError(f"{at}{key}: expected a list of mappings: [{{key: …}}, …]")
        if key in ("run", "resources"):
            result[key] = nest(value, f"{at}{key}")
            if key == "run":
                _check_keys(result[key], f"{at}run")
        elif key == "random":
            _check_random(value, f"{at}random")
        elif key == "grid":
            _check_keys(value, f"{at}grid")
        elif key == "quick":
            _check_rules(value, f"{at}quick")
        elif key == "zip":
            for group in value:
                _check_keys(group, f"{at}zip")
    return result


def _check_random(random: Mapping[str, Any], at: str) -> None:
    for key in random:
        if key not in RANDOM_KEYS:
            raise UserError(f"{at}.{key}: unknown key: {did_you_mean(key, RANDOM_KEYS)}")
    space = random.get("space")
    if space is not None and not isinstance(space, Mapping):
        raise UserError(f"{at}.space: expected a mapping, got {shown(space)}")
    _check_keys(space or {}, f"{at}.space")


def _check_rules(rules: Mapping[str, Any], at: str) -> None:
    """Of ``--quick``; what they change is checked when they are applied."""
    for rule, changes in rules.items():
        if not NAME.fullmatch(rule):
            raise UserError(f"{at}.{rule}: a name is made of {NAME_RULE}")
        if changes is not None and not isinstance(changes, Mapping):
            raise UserError(f"{at}.{rule}: expected a mapping {{KEY: VALUE}}, got {shown(changes)}")


def _check_keys(keys: Mapping[str, Any], at: str) -> None:
    for key in keys:
        check_run_key(key, at)


def check_run_key(key: str, at: str) -> None:
    """Refuse what is not a dotted key of a run, or is its seed."""
    check_key(key, at)
    if key == "seed":
        raise UserError(f"{at}: seed: replicates are not a hyperparameter: use seeds: 3 or a list")


# Layers --------------------------------------------------------------------------------------


def lay(below: Text, above: Text) -> Text:
    """``above`` laid upon ``below``; see ``lay_sections``."""
    return Text(lay_sections(below.values, above.values), below.files | above.files)


def lay_sections(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two sweeps, or two arms of the same name, into one.

    The run, arms and resources merge; plugins join; grid and random's entries replace those of
    the same key; zip, exclude, seeds and plain values are replaced whole; an empty section removes
    what was there. A key that ``above`` varies in one section is no longer varied in another.
    """
    merged = dict(below)
    for section in ("grid", "zip", "random"):
        moved = {k for s, keys in varied(above).items() if s != section for k in keys}
        merged = without(merged, section, moved)
    for key, value in above.items():
        lower = merged.get(key)
        if value is None and key in (*_BLOCKS, *_LISTS_OF_BLOCKS):
            merged.pop(key, None)
            if key == "random":  # an arm that switches the sweep's random section off says so
                merged[key] = None
        elif key == "arms":
            arms = dict(lower or {})
            arms |= {name: lay_sections(arms.get(name, {}), arm) for name, arm in value.items()}
            merged[key] = arms
        elif key == "plugins":
            merged[key] = list(dict.fromkeys([*(lower or []), *(value or [])]))
        elif key == "grid":
            merged[key] = {**(lower or {}), **value}
        elif key == "random":
            space = {**((lower or {}).get("space") or {}), **(value.get("space") or {})}
            merged[key] = {**(lower or {}), **value, "space": space}
        else:
            merged = merge(merged, {key: value})
    return merged


def varied(sections: Mapping[str, Any]) -> dict[str, list[str]]:
    """The keys that grid, zip and random vary, repeated where zip's groups repeat them."""
    return {
        "grid": list(sections.get("grid") or {}),
        "zip": [key for group in sections.get("zip") or [] for key in group],
        "random": list((sections.get("random") or {}).get("space") or {}),
    }


def without(sections: Mapping[str, Any], section: str, keys: set[str]) -> dict[str, Any]:
    """The sections with ``keys`` taken out of one of grid, zip and random."""
    result = dict(sections)
    value = sections.get(section)
    if not value or not keys:
        return result
    if section == "zip":
        groups = [{k: v for k, v in group.items() if k not in keys} for group in value]
        left: Any = [group for group in groups if group]
    elif section == "grid":
        left = {k: v for k, v in value.items() if k not in keys}
    else:
        space = {k: v for k, v in (value.get("space") or {}).items() if k not in keys}
        left = {**value, "space": space} if space else None  # null: an arm's own, emptied
    result[section] = left
    return result
