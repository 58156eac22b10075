"""Derived values against Python's arithmetic, and against what must not be possible."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from launch.arithmetic import FUNCTIONS, compute
from launch.interpolate import InterpolationError, derived, resolve
from launch.sweep import expand, read
from lrscale.errors import UserError

CONFIG: dict[str, Any] = {
    "batch_size": 128,
    "optimizer": {"name": "sgd", "lr": 0.1},
    "text": "abc",
    "flag": True,
    "nothing": None,
    "list": [1, 2],
    "double": "${mul:2,${batch_size}}",
    "literal": "\\${oc.env:HOME}",
    "unknown": "???",
}


def value_of(text: str, **keys: Any) -> Any:
    config = CONFIG | keys
    return resolve({"value": text}, ["value"], config)["value"]


def resolved(config: dict[str, Any]) -> dict[str, Any]:
    return resolve(config, derived(config), config)


# Values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${batch_size}", 128),
        ("${ optimizer.lr }", 0.1),
        ("${text}", "abc"),
        ("${flag}", True),
        ("${nothing}", None),
        ("${double}", 256),
        ("${unknown}", "???"),
        ("b${batch_size}-${text}", "b128-abc"),
        ("lr${mul:0.1,3}", "lr0.3"),
        ("\\${batch_size} ${text}", "${batch_size} abc"),
        ("\\\\${batch_size}", "\\128"),
        ("${literal}", "${oc.env:HOME}"),
        ("costs $3 {x} \\ }", "costs $3 {x} \\ }"),
        ("${mul:0.1,${div:${batch_size},256}}", 0.05),
        ("${ mul : 0.1 , ${ div : ${batch_size} , 256 } }", 0.05),
        ("${add:1,2,3}", 6),
        ("${add:0.1,0.2}", 0.3),
        ("${add:1e-3,1_000,+1,-.5}", 1000.501),
        ("${sub:1,0.9}", 0.1),
        ("${mul:3,${div:1,3}}", 1.0),
        ("${pow:2,10}", 1024),
        ("${pow:2,-1}", 0.5),
        ("${pow:10,100}", 1e100),
        ("${sqrt:2}", 1.41421356237),
        ("${exp:1}", 2.71828182846),
        ("${log:10}", 2.30258509299),
        ("${min:3,1,2}", 1),
        ("${max:3,${batch_size}}", 128),
        ("${round:2.5}", 2),
        ("${round:3.7}", 4),
        ("${int:${mul:3,${div:1,3}}}", 1),
        ("${int:-2.7}", -2),
        ("${add:1," * 60 + "1" + "}" * 60, 61),
    ],
)
def test_values(text: str, value: Any) -> None:
    result = value_of(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("values", [(1, 1.0, True), (0.0, -0.0), ("1", 1), (None, "None")])
def test_equal_values_of_other_types_are_not_mixed_up(values: tuple[Any, ...]) -> None:
    assert [repr(value_of("${x}", x=value)) for value in values] == list(map(repr, values))


def test_only_what_has_an_interpolation_is_made_anew() -> None:
    config = {"a": {"b": ["${c}", {"d": "${c}"}], "same": {"e": 1}}, "c": 2, "other": {"f": 1}}
    result = resolved(config)
    assert result == {"a": {"b": [2, {"d": 2}], "same": {"e": 1}}, "c": 2, "other": {"f": 1}}
    assert result["other"] is config["other"]
    assert config["a"]["b"][0] == "${c}"


NUMBERS = st.one_of(st.integers(-1000, 1000), st.floats(-1000, 1000).map(lambda x: round(x, 3)))
ORACLES: dict[str, tuple[Callable[..., Any], int]] = {
    "add": (lambda a, b: a + b, 2),
    "sub": (lambda a, b: a - b, 2),
    "mul": (lambda a, b: a * b, 2),
    "div": (lambda a, b: a / b, 2),
    "max": (max, 2),
    "min": (min, 2),
    "sqrt": (math.sqrt, 1),
    "exp": (math.exp, 1),
    "log": (math.log, 1),
    "round": (round, 1),
}
Tree = Any  # a number, a key, or (function, trees)
TREES = st.recursive(
    NUMBERS | st.sampled_from(["x", "block.y"]),
    lambda inner: st.sampled_from(sorted(ORACLES)).flatmap(
        lambda name: st.tuples(st.just(name), st.tuples(*[inner] * ORACLES[name][1]))
    ),
    max_leaves=8,
)


def written(tree: Tree) -> str:
    if isinstance(tree, tuple):
        return f"${{{tree[0]}:{','.join(map(written, tree[1]))}}}"
    return f"${{{tree}}}" if isinstance(tree, str) else repr(tree)


def in_python(tree: Tree, keys: dict[str, float]) -> Any:
    if isinstance(tree, tuple):
        return ORACLES[tree[0]][0](*(in_python(inner, keys) for inner in tree[1]))
    return keys[tree] if isinstance(tree, str) else tree


@given(TREES.filter(lambda tree: isinstance(tree, tuple)), NUMBERS, NUMBERS)
@example(("mul", (0.1, ("div", ("x", 256)))), 128, 0)
def test_agrees_with_python(tree: Tree, x: float, y: float) -> None:
    config = {"x": x, "block": {"y": y}, "value": written(tree)}
    try:
        expected = in_python(tree, {"x": x, "block.y": y})
        assert math.isfinite(expected)
    except (ArithmeticError, ValueError, AssertionError):
        with pytest.raises(InterpolationError, match="not a finite number"):
            resolved(config)
    else:
        result = resolved(config)["value"]
        assert type(result) is type(expected)
        assert result == (expected if isinstance(expected, int) else float(f"{expected:.12g}"))


def resolver(name: str) -> Callable[..., Any]:
    return lambda *values: compute(name, values)


@pytest.fixture
def _registered() -> Iterator[None]:
    """Our functions in OmegaConf's own table, where a user would put them."""
    for name in FUNCTIONS:
        OmegaConf.register_new_resolver(name, resolver(name))
    yield
    for name in FUNCTIONS:
        OmegaConf.clear_resolver(name)


@pytest.mark.filterwarnings("ignore:register_new_resolver")
@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize(
    "text",
    [
        "${mul:0.5,${div:${batch_size},256}}",
        "${ add : 1 , ${ optimizer.lr } }",
        "${pow:2,${max:3,4}} of ${text}: ${flag}, ${nothing}, ${optimizer.lr}",
        "\\${text} \\\\${text} \\\\\\${text} $ {} \\ ${text}",
        "${mul:1,2}}",
        "${add:1_000,-1e-1}",
    ],
)
def test_a_configuration_of_omegaconf_has_the_same_value(text: str) -> None:
    assert value_of(text) == OmegaConf.create(CONFIG | {"value": text})["value"]


# Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("${mull:1,2}", "unknown function 'mull': did you mean 'mul'?"),
        ("${batchsize}", "did you mean 'batch_size'?"),
        ("${.batch_size}", "from the run's root"),
        ("${optimizer[lr]}", "from the run's root"),
        ("${optimizer.${text}}", "from the run's root"),
        ("${${text}}", "from the run's root"),
        ("${}", "expected ${key} or ${function:value,value}"),
        ("${optimizer}", "is a block or a list"),
        ("${list}", "is a block or a list"),
        ("${batch_size.x}", "not among the keys"),
        ("${", "expected ${key}"),
        ("${batch_size", "expected ${key}"),
        ("${mul:1,2", "expected ${key}"),
        ("${mul:(1),2}", "expected ${key}"),
        ("${mul:1 2,3}", "'1 2' is not a number"),
        ("${mul:batch_size,2}", "'batch_size' is not a number; a key is written ${key}"),
        ("${mul:'1',2}", "needs numbers, not '1'"),
        ("${mul:[1],2}", "needs numbers, not [1]"),
        ("${mul:-${batch_size},2}", "needs numbers, not '-128'"),
        ("${mul:,2}", "a value is missing"),
        ("${mul:1,,2}", "a value is missing"),
        ("${mul:1,}", "a value is missing"),
        ("${mul:}", "'mul' takes 2 or more values, not 0"),
        ("${mul:2}", "'mul' takes 2 or more values, not 1"),
        ("${sub:1,2,3}", "'sub' takes 2 values, not 3"),
        ("${mul:${text},2}", "needs numbers, not 'abc'"),
        ("${mul:${flag},2}", "needs numbers, not True"),
        ("${add:${nothing},1}", "needs numbers, not nothing"),
        ("${div:1,0}", "${div:1,0}: div(1, 0) is not a finite number"),
        ("${sqrt:-1}", "is not a finite number"),
        ("${log:0}", "is not a finite number"),
        ("${exp:1000}", "is not a finite number"),
        ("${pow:9,${pow:9,9}}", "is not a finite number"),
        ("${mul:inf,0}", "is not a finite number"),
        ("${int:nan}", "is not a finite number"),
        ("${add:" + "9" * 400 + ",1}", "is not a finite number"),
        ("${add:" + "9" * 5000 + ",1}", "value: ${add:999"),
        ("${add:1," * 1000 + "1" + "}" * 1000, "interpolations of interpolations"),
        ("${text}" + "x" * 10_000, "10,000 characters"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_refused(text: str, says: str) -> None:
    with pytest.raises(InterpolationError) as error:
        value_of(text)
    assert says in str(error.value)


SECRET = "4711-secret"


@pytest.fixture
def _secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the environment, in a file of the working directory, behind a resolver of a user's own."""
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text(SECRET)
    OmegaConf.register_new_resolver("mine", lambda *_: os.environ["SECRET"])
    yield
    OmegaConf.clear_resolver("mine")


@pytest.mark.filterwarnings("ignore:register_new_resolver")
@pytest.mark.usefixtures("_secret")
@pytest.mark.parametrize(
    "text",
    [
        *("${oc.env:SECRET}", "${env:SECRET}", "${mine:}", "${mine:x}", "${file:secret}"),
        *("${oc.env:NONE,${oc.env:SECRET}}", "${oc.decode:'${oc.env:SECRET}'}"),
        *("${oc.create:{a:1}}", "${oc.select:text}", "${oc.deprecated:text}"),
        *("${oc.dict.keys:optimizer}", "${oc.dict.values:optimizer}"),
        *("${eval:1+1}", "${exec:1}", "${python:1}", "${open:secret}", "${__import__:os}"),
        *("${${function}:SECRET}", "${oc.${text}:SECRET}", "${${oc.env:SECRET}}"),
        *("a ${oc.env:SECRET}", "${add:1,${oc.env:SECRET}}", "${add:'${oc.env:SECRET}',1}"),
        *('${add:"${oc.env:SECRET}",1}', "${add:[${oc.env:SECRET}],1}"),
        *("${add:{a:${oc.env:SECRET}},1}", "${add:\\${oc.env:SECRET},1}"),
        *("\\\\${oc.env:SECRET}", "${ oc.env : SECRET }", "${key}"),
    ],
)
def test_nothing_but_keys_and_our_functions(text: str) -> None:
    for attempt in (text, f"{text}{text}", f"${{add:1,{text}}}"):
        with pytest.raises(InterpolationError) as error:
            value_of(attempt, function="oc.env", key="${oc.env:SECRET}")
        assert "unknown function" in str(error.value) or "from the run's root" in str(error.value)
        assert SECRET not in str(error.value)


PIECES = ["${", "}", "{", "[", "]", ":", ",", "'", '"', "\\", "$", " ", ".", "oc.env", "SECRET"]
PIECES += ["mine", "text", "literal", "mul", "add", "1", "0.5", "batch_size", "${oc.env:SECRET}"]
PIECES += ["${batch_size}", "${mul:", "${add:1,", "\\${", "???", "null", "true", "\n", "é"]


@pytest.mark.filterwarnings("ignore:register_new_resolver", "error:In the sequence")
@pytest.mark.usefixtures("_secret")
def test_whatever_is_written_has_a_harmless_value_or_an_error() -> None:
    @given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
    def attempt(text: str) -> None:
        try:
            result = value_of(text)
        except InterpolationError as error:
            result = str(error)
        assert SECRET not in str(result)

    attempt()


@pytest.mark.filterwarnings("ignore:register_new_resolver")
def test_a_mul_of_the_users_own_stays_theirs_and_ours_ours() -> None:
    OmegaConf.register_new_resolver("mul", lambda a, b: f"{a} times {b}")
    try:
        assert value_of("${mul:2,3}") == 6
        assert OmegaConf.create({"x": "${mul:2,3}"})["x"] == "2 times 3"
    finally:
        OmegaConf.clear_resolver("mul")
    assert not any(map(OmegaConf.has_resolver, FUNCTIONS))


def test_cycles_and_growth_end() -> None:
    config: dict[str, Any] = {"a": "${b}", "b": "${add:${c},1}", "c": "${a}"}
    with pytest.raises(InterpolationError, match=r"b → c → a → b"):
        resolved(config)
    with pytest.raises(InterpolationError, match=r"a → a"):
        resolved({"a": "${a}"})
    config = {f"k{i}": f"${{k{i + 1}}}${{k{i + 1}}}" for i in range(60)} | {"k60": "ha"}
    with pytest.raises(InterpolationError, match="10,000 characters"):
        resolved(config)
    config = {f"k{i}": f"${{k{i + 1}}}" for i in range(5000)} | {"k5000": 1}
    with pytest.raises(InterpolationError, match="too many interpolations"):
        resolved(config)


# In sweeps -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        ("run: {a: {b: '${c}'}, c: '${div:1,0}'}", "s.yaml: run.c: ${div:1,0}: div(1, 0) is not"),
        ("run: {a: '${oc.env:HOME}'}", "s.yaml: run.a: ${oc.env:HOME}: unknown function"),
        ("run: {a: 1}\ngrid: {b: ['${c}']}", "s.yaml: grid.b: ${c} is not among the keys"),
        ("arms: {x: {a: '${add:1}'}}", "s.yaml: arms.x.a: ${add:1}: 'add' takes 2 or more"),
        ("resources: {nodes: '${b}'}", "s.yaml: resources.nodes: ${b} is not among"),
        ("arms: {x: {resources: {mem: '${'}}}", "s.yaml: arms.x.resources.mem: ${: expected"),
    ],
)
def test_errors_name_file_and_key(sweep: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(sweep)
    with pytest.raises(UserError) as error:
        expand(read(path))
    assert says in str(error.value)


def test_a_literal_stays_one_when_resources_refer_to_it(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("run: {a: '\\${b}'}\nresources: {comment: '${a}'}")
    (run,) = expand(read(path))
    assert run.config["a"] == run.resources["comment"] == "${b}"
