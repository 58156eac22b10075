"""The command line's last word: ``optimizer.lr=0.1``, ``seeds=1``, ``resources.time=01:00:00``.

The rules of ``--quick`` are edits of the same kind, made before it (``launch.quick``).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch.keys import leaves, outwards
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
_NESTED = ("grid", "random", "resources", "compare")


@dataclass(frozen=True)
class Edit:
    """One ``KEY=VALUE``.

    Attributes:
        place: who says so, for errors: ``command line``, or ``file: quick.RULE``.
        key: of the sweep, or of its runs.
    """

    place: str
    key: str
    value: Any


@dataclass
class Pins:
    """Run keys that edits fix: for every arm under ``""``, or for one arm.

    Attributes:
        by_arm: dotted key → value.
        places: dotted key → who said so last.
    """

    by_arm: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, arm: str, edit: Edit, key: str) -> None:
        """``key``: of the run, which is only a part of the edit's."""
        check_run_key(key, edit.place)
        pinned = self.by_arm.setdefault(arm, {})
        pinned.pop(key, None)  # of two edits the later counts, also against blocks between
        pinned[key] = edit.value
        self.places.setdefault(arm, {})[key] = edit.place

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

    def place(self, arm: str, key: str) -> str:
        """Who fixed ``key``, which is fixed."""
        said = self.places.get("", {}) | (self.places.get(arm, {}) if arm else {})
        return next(said[block] for block in outwards(key) if block in said)


def arguments(overrides: Sequence[str]) -> list[Edit]:
    """The command line's ``KEY=VALUE``; values are YAML. Raises UserError for anything else."""
    edits = []
    for argument in overrides:
        key, equals, written = argument.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"{COMMAND_LINE}: '{argument}': expected KEY=VALUE: optimizer.lr=0.1")
        value = parse_yaml(written, f"{COMMAND_LINE}: {key}") if written.strip() else None
        edits.append(Edit(COMMAND_LINE, key, value))
    return edits


def override(text: Text, edits: Sequence[Edit]) -> tuple[Text, Pins]:
    """The sweep as edited, and the run keys that the edits fix.

    A key that starts with a name of the sweep's top level edits it (``parallel=8``,
    ``grid.optimizer.lr=[0.1, 1]``, ``arms.adam.seeds=1``) and holds for arms that have their
    own, too; every other key, also written ``run.KEY``, is the run's.

    Raises:
        UserError: an unknown arm, or a key that cannot be given here.
    """
    pins = Pins()
    for edit in edits:
        head, _, rest = edit.key.partition(".")
        if head == "arms":
            text = _override_arm(text, rest, edit, pins)
        elif head in TOP_LEVEL and head != "run":
            text = _lay(text, _sections(head, rest, edit), edit.place)
        else:
            _pin(pins, edit, text)
    return text, pins


def _pin(pins: Pins, edit: Edit, text: Text) -> None:
    key = edit.key
    if key == "run":
        raise UserError(f"{edit.place}: run: give its keys one by one: optimizer.lr=0.1")
    if not key.startswith("run.") and "." not in key and key not in text.values.get("run", {}):
        near = difflib.get_close_matches(key, TOP_LEVEL, n=1, cutoff=0.8)
        if near and key != "seed":
            raise UserError(
                f"{edit.place}: {key}: did you mean '{near[0]}'? (a key of the run: run.{key})"
            )
    pins.add("", edit, key.removeprefix("run."))


def _override_arm(text: Text, rest: str, edit: Edit, pins: Pins) -> Text:
    """``arms.NAME.KEY=value``; a name may hold dots, the longest that fits is meant."""
    arms = text.values.get("arms") or {}
    fitting = [name for name in arms if rest.startswith(f"{name}.")]
    if not fitting:
        hint = did_you_mean(rest.partition(".")[0], arms) if arms else "the sweep has no arms"
        raise UserError(f"{edit.place}: arms.{rest}: expected arms.NAME.KEY=VALUE; {hint}")
    name = max(fitting, key=len)
    key = rest[len(name) + 1 :]
    head, _, inner = key.partition(".")
    if head not in ARM_KEYS:
        if head in TOP_LEVEL:
            raise UserError(f"{edit.place}: arms.{rest}: not a key of an arm")
        pins.add(name, edit, key)
        return text
    sections = {"arms": {name: _sections(head, inner, edit)}}
    return lay(text, Text.of(checked(sections, edit.place), edit.place))


def _sections(head: str, rest: str, edit: Edit) -> dict[str, Any]:
    """What ``HEAD.REST=value`` says, in the shape of a sweep file."""
    value = edit.value
    if head in ("include", "plugins", "quick"):
        raise UserError(f"{edit.place}: {head}: can only be given in a file")
    if not rest:
        return {head: value}
    if head not in _NESTED:
        raise UserError(f"{edit.place}: {head}.{rest}: {head} is given whole: {head}=VALUE")
    if head == "random":
        first, _, key = rest.partition(".")
        if first == "space" and key:
            return {"random": {"space": {key: value}}}
        if first not in RANDOM_KEYS or key:
            hint = did_you_mean(first, RANDOM_KEYS)
            raise UserError(f"{edit.place}: random.{rest}: unknown key: {hint}")
    return {head: {rest: value}}


def _lay(text: Text, sections: dict[str, Any], place: str) -> Text:
    """``sections`` laid upon the sweep, and upon what its arms have of their own."""
    sections = checked(sections, place)
    edited = lay(text, Text.of(sections, place))
    if edited.values.get("arms"):
        arms = {name: _edit_arm(arm, sections) for name, arm in edited.values["arms"].items()}
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
