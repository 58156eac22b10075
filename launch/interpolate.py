"""Values derived from others: ``lr: ${mul:0.1,${div:${batch_size},256}}``.

OmegaConf parses and evaluates; what it evaluates with is ours: the run's keys and the functions
of ``arithmetic``, handed to its visitor. Its table of resolvers is not used, since the table is
the whole process's, has ``oc.env`` in it, and a user's own code may keep another ``mul`` there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from omegaconf.errors import GrammarParseError
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser as Grammar
from omegaconf.grammar_parser import parse
from omegaconf.grammar_visitor import GrammarVisitor

from launch.arithmetic import FUNCTIONS, compute
from launch.keys import get, leaves, put
from launch.values import Number, tidy
from lrscale.errors import did_you_mean

MAX_TEXT = 10_000
"""Characters of one value: text that repeats text that repeats text soon fills the memory."""

_NAME = r"[^.\s\\\[\]${}'\"]+"
_KEY = re.compile(rf"{_NAME}(\.{_NAME})*")  # not OmegaConf's other forms: .a, a[b], ${a}.b


class InterpolationError(Exception):
    """An expression that has no value; ``key`` is the run's key that it stands at."""

    def __init__(self, message: str, key: str = "") -> None:
        self.message = message
        self.key = key
        super().__init__(f"{key}: {message}" if key else message)


def derived(block: Mapping[str, Any]) -> list[str]:
    """Dotted keys of the values that ``${`` occurs in; a list counts as one value."""
    return [key for key, value in leaves(block).items() if _has_interpolation(value)]


def _has_interpolation(value: Any) -> bool:
    if isinstance(value, str):
        return "${" in value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_interpolation, inner))


def resolve(block: dict[str, Any], keys: Iterable[str], run: Mapping[str, Any]) -> dict[str, Any]:
    """``block`` with the interpolations at ``keys`` evaluated; what has none is shared with it.

    Numbers that functions compute are rounded to 12 significant digits, which makes them
    readable (0.3, not 0.30000000000000004) and the same whatever the machine's libm.

    Args:
        block: a run's nested configuration, or its resources.
        keys: dotted; those that the block does not have are passed over.
        run: the run's nested configuration, not yet resolved, where ``${key}`` is looked up.

    Raises:
        InterpolationError: bad notation, an unknown key or function, a cycle, no finite result.
    """
    resolver = _Resolver(run)
    for key in keys:
        try:
            value = get(block, key)
        except KeyError:
            continue
        block = put(block, key, resolver.walk(value, key))
    return block


class _Resolver:
    """Evaluates the expressions of one run, after the keys that they refer to."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        self.run = run
        self.known: dict[str, Any] = {}
        self.active: list[str] = []

    def walk(self, value: Any, key: str) -> Any:
        if isinstance(value, str):
            return self.evaluate(value, key) if "${" in value else value
        if isinstance(value, dict):
            return {k: self.walk(v, f"{key}.{k}") for k, v in value.items()}
        if isinstance(value, list):
            return [self.walk(v, key) for v in value]
        return value

    def evaluate(self, text: str, key: str) -> Any:
        try:
            _, keys = _parse(_bounded(text))
            values = tuple(_bounded(self.lookup(k)) for k in keys)
            return _bounded(_evaluate(text, values, tuple(map(repr, values))))
        except InterpolationError as error:
            raise InterpolationError(error.message, error.key or key) from None
        except RecursionError:
            raise InterpolationError("too many interpolations of interpolations", key) from None

    def lookup(self, key: str) -> Any:
        if key in self.known:
            return self.known[key]
        if key in self.active:
            circle = " → ".join([*self.active[self.active.index(key) :], key])
            raise InterpolationError(f"an interpolation that leads back to itself: {circle}")
        try:
            value = get(self.run, key)
        except KeyError:
            known = [k for k, v in leaves(self.run).items() if not isinstance(v, list)]
            raise InterpolationError(
                f"${{{key}}} is not among the keys of this run: {did_you_mean(key, known)} "
                f"(a workload's own defaults do not count: write {key} into the sweep)"
            ) from None
        if isinstance(value, (Mapping, list)):
            raise InterpolationError(f"${{{key}}} is a block or a list; name a single value")
        self.active.append(key)
        self.known[key] = self.walk(value, key)
        self.active.pop()
        return self.known[key]


# Expressions --------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _parse(text: str) -> tuple[Any, tuple[str, ...]]:
    """OmegaConf's tree of a text and the keys in it; parsed once, as it takes half a millisecond.

    Refuses what the notation could do beyond reading keys and calling our functions.
    """
    try:
        tree = parse(text)
    except GrammarParseError as error:
        problem = f"expected ${{key}} or ${{function:value,value}} ({str(error)[:100]})"
        raise _refusal(text, problem) from None
    keys: dict[str, None] = {}
    _check(tree, text, keys)
    return tree, tuple(keys)


def _check(node: Any, text: str, keys: dict[str, None]) -> None:
    for child in getattr(node, "children", None) or ():
        _check(child, text, keys)
    spelled = node.getText()
    node.getText = lambda: spelled  # ANTLR would put it together anew in every evaluation
    if isinstance(node, Grammar.InterpolationNodeContext):
        key = spelled[2:-1].strip()
        if not _KEY.fullmatch(key):
            raise _refusal(text, "keys are written from the run's root: ${optimizer.lr}")
        keys[key] = None
    elif isinstance(node, Grammar.ResolverNameContext):
        if spelled not in FUNCTIONS:
            known = f"{did_you_mean(spelled, FUNCTIONS)}; none reads the environment or files"
            raise _refusal(text, f"unknown function '{spelled}': {known}")
    elif isinstance(node, Grammar.SequenceContext):
        commas = len(node.COMMA())
        if commas != len(node.element()) - 1:  # OmegaConf would take what is missing for ""
            raise _refusal(text, "a value is missing before or after a comma")


@lru_cache(maxsize=4096)
def _evaluate(text: str, values: tuple[Any, ...], spelled: tuple[str, ...]) -> Any:
    """``values`` are those of the text's keys; ``spelled`` tells 1, 1.0 and True apart."""
    tree, keys = _parse(text)
    try:
        return _Evaluation(dict(zip(keys, values, strict=True))).visit(tree)
    except ValueError as error:
        raise _refusal(text, str(error)) from None


class _Evaluation(GrammarVisitor):
    """OmegaConf's evaluation of one text, with our values for keys and our functions."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(self.key, self.call, memo=None)
        self.values = values
        self.depth = 0

    def visitInterpolation(self, ctx: Grammar.InterpolationContext) -> Any:
        self.depth += 1
        value = super().visitInterpolation(ctx)
        self.depth -= 1
        return value

    def key(self, key: Any, memo: set[int] | None) -> Any:
        return self.values[getattr(key, "raw", key)]  # OmegaConf 2.3 gives the text itself

    def call(self, name: str, args: tuple[Any, ...], args_str: tuple[str, ...]) -> Number:
        for value, written in zip(args, args_str, strict=True):
            if isinstance(value, str) and value == written:
                raise ValueError(f"'{written}' is not a number; a key is written ${{key}}")
        result = compute(name, args)
        return tidy(result) if self.depth == 1 else result  # rounded once, at the outermost


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise InterpolationError(f"a text of more than {MAX_TEXT:,} characters")
    return value


def _refusal(text: str, problem: str) -> InterpolationError:
    return InterpolationError(f"{text[:200]}: {problem}")
