"""``--quick``: a sweep shrunk by rules that it names itself, to see all of it on two cores. Pure.

The section ``quick`` of a sweep file maps the name of a rule to what the rule changes, keys as on
the command line. Every run is marked, so that no quick result can pass for one of the whole sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch.overrides import Edit
from launch.sweep_file import Text
from lrscale.errors import UserError

SUFFIX = "_quick"  # of the sweep's name: its results stand beside those of the whole sweep


def shrink(text: Text, path: str, name: str) -> list[Edit]:
    """What the rules of a sweep change, in the order in which they are written.

    Args:
        path: the sweep file.
        name: the sweep's, to which ``_quick`` is added.

    Raises:
        UserError: a sweep without rules.
    """
    rules = text.values.get("quick")
    if not rules:
        raise UserError(
            f"{path}: quick: it has no rules for --quick: write them as "
            "quick: {fewer_epochs: {epochs: 2}}, see docs/sweeps.md"
        )
    edits = [Edit(path, "name", name + SUFFIX)]
    for rule, changes in rules.items():
        place = f"{text.files[f'quick.{rule}']}: quick.{rule}"
        edits += [Edit(place, key, value) for key, value in (changes or {}).items()]
    return edits


def mark() -> Edit:
    """To be made after all others, so that none takes it off."""
    return Edit("--quick", "run.quick", True)


def described(rules: Mapping[str, Any]) -> list[str]:
    """One line for each rule: its name, and what it changes."""
    return [
        f"{rule}: " + ", ".join(f"{key}={_written(value)}" for key, value in changes.items())
        for rule, changes in rules.items()
        if changes
    ]


def _written(value: Any) -> str:
    """A value as in a sweep file, without quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return "null" if value is None else str(value).lower() if value in (True, False) else str(value)
