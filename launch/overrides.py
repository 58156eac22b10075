"""The command line's last word: ``optimizer.lr=0.1``, ``seeds=1``, ``resources.time=01:00:00``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch.keys import leaves
from launch.sweep_file import (
    ARM_KEYS,
    RANDOM_KEYS,
    TOP_LEVEL,
    Text,
    check_run_key,
    checked,
    lay,
    lay_sections,
    varied,
    without,
)
from launch.sweep_yaml import parse_yaml
from lrscale.errors import UserError, did_you_mean

COMMAND_LINE = "command line"
_NESTED = ("grid", "random", "resources")


@dataclass
class Pins:
    """Run keys that the command line fixes: for every arm under ``""``, or for one arm."""

    by_arm: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, arm: str, key: str, value: Any) -> None:
        check_run_key(key, COMMAND_LINE)
        pinned = self.by_arm.setdefault(arm, {})
        pinned.pop(key, None)  # of two arguments the later counts, also against blocks between
        pinned[key] = value

    def given(self, arm: str) -> dict[str, Any]:
        """What was written for an arm: dotted key → value."""
        return self.by_arm.get("", {}) | (self.by_arm.get(arm, {}) if arm else {})

    def values(self, arm: str) -> dict[str, Any]:
        """The same with blocks taken apart: dotted key → value that is not a block."""
        return leaves(self.given(arm))

    def fixes(self, arm: str, key: str) -> bool:
        """Whether ``key`` can no longer vary: it or a block around it is given."""
        values = self.values(arm)
        above = (key[:i] for i, letter in enumerate(key) if letter == ".")
        return key in self.given(arm) or key in values or any(block in values for block in above)


def override(text: Text, overrides: Sequence[str]) -> tuple[Text, Pins]:
    """The sweep as edited by ``KEY=VALUE`` arguments, and the run keys that they fix.

    A key that starts with a name of the sweep's top level edits it (``parallel=8``,
    ``grid.optimizer.lr=[0.1, 1]``, ``arms.adam.seeds=1``) and holds for arms that have their
    own, too; every other key, also written ``run.KEY``, is the run's. Values are YAML.

    Raises:
        UserError: not ``KEY=VALUE``, an unknown arm, or a key that cannot be given here.
    """
    pins = Pins()
    for argument in overrides:
        key, equals, written = argument.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"{COMMAND_LINE}: '{argument}': expected KEY=VALUE: optimizer.lr=0.1")
        value = parse_yaml(written, f"{COMMAND_LINE}: {key}") if written.strip() else None
        head, _, rest = key.partition(".")
        if head == "arms":
            text = _override_arm(text, rest, value, pins)
        elif head in TOP_LEVEL and head != "run":
            text = _edit(text, _edit_of(head, rest, value))
        else:
            _pin(pins, key, value, text)
    return text, pins


def _pin(pins: Pins, key: str, value: Any, text: Text) -> None:
    if key == "run":
        raise UserError(f"{COMMAND_LINE}: run: give its keys one by one: optimizer.lr=0.1")
    if not key.startswith("run.") and "." not in key and key not in text.values.get("run", {}):
        near = difflib.get_close_matches(key, TOP_LEVEL, n=1, cutoff=0.8)
        if near and key != "seed":
            raise UserError(
                f"{COMMAND_LINE}: {key}: did you mean '{near[0]}'? (a key of the run: run.{key})"
            )
    pins.add("", key.removeprefix("run."), value)


def _override_arm(text: Text, rest: str, value: Any, pins: Pins) -> Text:
    """``arms.NAME.KEY=value``; a name may hold dots, the longest that fits is meant."""
    arms = text.values.get("arms") or {}
    fitting = [name for name in arms if rest.startswith(f"{name}.")]
    if not fitting:
        hint = did_you_mean(rest.partition(".")[0], arms) if arms else "the sweep has no arms"
        raise UserError(f"{COMMAND_LINE}: arms.{rest}: expected arms.NAME.KEY=VALUE; {hint}")
    name = max(fitting, key=len)
    key = rest[len(name) + 1 :]
    head, _, inner = key.partition(".")
    if head not in ARM_KEYS:
        if head in TOP_LEVEL:
            raise UserError(f"{COMMAND_LINE}: arms.{rest}: not a key of an arm")
        pins.add(name, key, value)
        return text
    edit = _edit_of(head, inner, value)
    return lay(text, Text.of(checked({"arms": {name: edit}}, COMMAND_LINE), COMMAND_LINE))


def _edit_of(head: str, rest: str, value: Any) -> dict[str, Any]:
    """What ``HEAD.REST=value`` says, in the shape of a sweep file."""
    if head == "include":
        raise UserError(f"{COMMAND_LINE}: include: can only be given in a file")
    if not rest:
        return {head: value}
    if head not in _NESTED:
        raise UserError(f"{COMMAND_LINE}: {head}.{rest}: {head} is given whole: {head}=VALUE")
    if head == "random":
        first, _, key = rest.partition(".")
        if first == "space" and key:
            return {"random": {"space": {key: value}}}
        if first not in RANDOM_KEYS or key:
            hint = did_you_mean(first, RANDOM_KEYS)
            raise UserError(f"{COMMAND_LINE}: random.{rest}: unknown key: {hint}")
    return {head: {rest: value}}


def _edit(text: Text, edit: dict[str, Any]) -> Text:
    """``edit`` laid upon the sweep, and upon what its arms have of their own."""
    edit = checked(edit, COMMAND_LINE)
    edited = lay(text, Text.of(edit, COMMAND_LINE))
    if edited.values.get("arms"):
        arms = {name: _edit_arm(arm, edit) for name, arm in edited.values["arms"].items()}
        return Text(edited.values | {"arms": arms}, edited.files)
    return edited


def _edit_arm(arm: Mapping[str, Any], edit: Mapping[str, Any]) -> dict[str, Any]:
    """An arm of which nothing contradicts the edit."""
    keys = {key for section in varied(edit).values() for key in section}
    for section in ("grid", "zip", *(() if "random" in edit else ("random",))):
        arm = without(arm, section, keys)
    result = dict(arm)
    for key, value in edit.items():
        if key not in result:
            continue
        if key in ("random", "resources") and value is not None and result[key] is not None:
            result = lay_sections(result, {key: value})
        elif key in ("seeds", "exclude") or value is None:
            del result[key]
    return result
