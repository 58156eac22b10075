"""Dotted keys: ``optimizer.lr`` for the ``lr`` in the block ``optimizer``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lrscale.config import merge
from lrscale.errors import UserError


def check_key(key: str, at: str) -> None:
    """Refuse what is not a dotted key."""
    if not all(key.split(".")):
        raise UserError(f"{at}: '{key}' is not a key: write names with dots between, optimizer.lr")


def get(root: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key. Raises KeyError."""
    value: Any = root
    for part in key.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(key)
        value = value[part]
    return value


def put(root: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """``root`` with another value at a dotted key that it has; ``root`` itself stays as it is."""
    name, _, inner = key.partition(".")
    return {**root, name: put(root[name], inner, value) if inner else value}


def leaves(root: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key → value of everything that is not a block; empty blocks count as values."""
    found: dict[str, Any] = {}
    for key, value in root.items():
        if isinstance(value, Mapping) and value:
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def nest(values: Mapping[str, Any], at: str) -> dict[str, Any]:
    """Dotted keys unfolded into blocks: ``optimizer.lr: 1`` becomes ``optimizer: {lr: 1}``.

    Shallow keys are laid first and a block's ``name`` before its other keys, so that the order
    in which they are written makes no difference.
    """
    nested: dict[str, Any] = {}
    for key in sorted(values, key=precedence):
        check_key(key, at)
        value = values[key]
        if isinstance(value, Mapping):
            value = nest(value, f"{at}.{key}")
        nested = merge(nested, at_key(key, value))
    return nested


def outwards(key: str) -> Iterator[str]:
    """``a.b.c``, ``a.b``, ``a``."""
    while key:
        yield key
        key = key.rpartition(".")[0]


def at_key(key: str, value: Any) -> dict[str, Any]:
    """``{optimizer: {lr: value}}`` for ``optimizer.lr``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def precedence(key: str) -> tuple[int, bool]:
    """Sorts keys so that each can be laid upon those before it: blocks, names, the rest."""
    parts = key.split(".")
    return len(parts), parts[-1] != "name"
