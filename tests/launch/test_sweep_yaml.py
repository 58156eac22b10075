"""YAML as sweep files use it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.sweep_yaml import MAX_DEPTH, parse_yaml
from lrscale.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1_000", -1000),
        ("010", 10),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("''", ""),
        ("'1'", "1"),
        ("02:00:00", "02:00:00"),
        ("12:00:00", "12:00:00"),
        ("2026-11-01", "2026-11-01"),
        ("0x10", "0x10"),
        ("1_", "1_"),
        ("${mul:0.1,${b}}", "${mul:0.1,${b}}"),
        ("{1: a, no: b, 1.0: c}", {"1": "a", "no": "b", "1.0": "c"}),
        ("{a: &x {b: 1}, c: *x}", {"a": {"b": 1}, "c": {"b": 1}}),
        ("{a: &x {b: 1, c: 2}, d: {<<: *x, c: 3}}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("", None),
    ],
)
def test_values(text: str, value: Any) -> None:
    parsed = parse_yaml(text, "f")
    assert parsed == value
    assert type(parsed) is type(value)


def test_nan() -> None:
    assert math.isnan(parse_yaml(".nan", "f"))


@given(st.floats(allow_nan=False))
def test_every_float_comes_back(x: float) -> None:
    text = repr(x).replace("inf", ".inf")
    assert parse_yaml(text, "f") == x


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: [1\n", "f.yaml:3: "),
        ("a: 1\na: 2", "f.yaml:2: the key 'a' is given twice"),
        ("b:\n  {x: 1, x: 2}", "f.yaml:2: the key 'x'"),
        ("? [1]\n: 2", "a key must be text"),
        ("a: &x [*x]", "*x contains itself"),
        ("a: *x\n", "f.yaml:1: found undefined alias"),
        ("a: !!python/object:os.system x\n", "f.yaml:1: could not determine a constructor"),
        ("a: !!timestamp 2026-01-01", "could not determine a constructor"),
        ("a: !!int x", "not a valid int: x"),
        ("a: !!bool x", "not a valid bool"),
        ("a: " + "9" * 5000, "not a valid int: 999"),
        ("a: !!map [1]", "expected a block of keys"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: \x00", "f.yaml: not a text file in YAML"),
        ("a: \ud800", "f.yaml: not a text file in YAML"),
        (r'notes: "\e]0;title\a"', r"the control character '\x1b'"),
        ('b: 1\n"\\x9b2J": 1', r"f.yaml:2: the control character '\x9b'"),
        ("\tb: 1\n", "f.yaml:1: "),
        ("a: {lr: ${mul:2,3}}", "quote an interpolation"),
        ("[" * (MAX_DEPTH + 1), "nested blocks"),
        ("[" * 900_000, "nest"),
        ("- " * 400_000 + "1", "nested blocks"),
        ("[" + "1," * 250_000 + "]", "more than 200,000 values"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse_yaml(text, "f.yaml")
    assert says in str(error.value)
    assert str(error.value).startswith("f.yaml")


@pytest.mark.timeout(30)  # 2⁴⁰ values would take for ever
@pytest.mark.parametrize("doubled", ["[*{0}, *{0}]", "{{<<: [*{0}, *{0}], b: *{0}}}"])
def test_a_billion_laughs_are_refused(doubled: str) -> None:
    first = "l0: &l0 {a: 1}"
    lines = [first, *(f"l{i}: &l{i} " + doubled.format(f"l{i - 1}") for i in range(1, 40))]
    with pytest.raises(UserError, match="aliases written out"):
        parse_yaml("\n".join(lines), "f.yaml")
