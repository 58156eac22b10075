"""Errors for the person who made them, apart from faults of the program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class UserError(Exception):
    """Something the user can put right: printed without a traceback, exit code 2.

    The message says what is wrong, where, and what would be right. Anything else that a
    command raises is a fault of the program and keeps its traceback.
    """


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration.

    Attributes:
        key: dotted key, such as ``optimizer.lr``.
        message: what is wrong with it, in one sentence.
        hint: what would be right; empty when nothing can be suggested.
    """

    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(UserError):
    """All the problems of one configuration at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'momentum'?``, or the list of known names when none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
