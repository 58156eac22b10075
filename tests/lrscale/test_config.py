"""What a run's identity hangs on, and what a person reads when a configuration is wrong."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscale.config import added, decode, encode, identity, merge, unhashed
from lrscale.errors import ConfigError

positive = st.floats(1e-6, 1e3)
fraction = st.floats(0, 0.99)

optimizer_blocks = st.one_of(
    st.fixed_dictionaries(
        {"name": st.just("sgd"), "lr": positive},
        optional={"momentum": fraction, "weight_decay": positive},
    ),
    st.fixed_dictionaries(
        {"name": st.sampled_from(["adam", "adamw", "radam"])},
        optional={"lr": positive, "beta1": fraction, "beta2": fraction, "eps": positive},
    ),
)
schedule_blocks = st.one_of(
    st.fixed_dictionaries({"name": st.just("constant")}),
    st.fixed_dictionaries(
        {"name": st.just("cosine")}, optional={"final": fraction, "warmup": fraction}
    ),
    st.fixed_dictionaries(
        {"name": st.just("multi_step")},
        optional={"milestones": st.sets(fraction, max_size=3).map(sorted)},
    ),
)
configurations = st.fixed_dictionaries(
    {"workload": st.sampled_from(["digits_mlp", "mnist_mlp", "mnist_cnn"])},
    optional={
        "epochs": st.integers(1, 100),
        "batch_size": st.integers(1, 512),
        "seed": st.integers(0, 2**40),
        "optimizer": optimizer_blocks,
        "schedule": schedule_blocks,
        "model": st.fixed_dictionaries(
            {"name": st.just("mlp")}, optional={"width": st.integers(1, 64)}
        ),
        "precision": st.sampled_from(["no", "bf16"]),
        "grad_clip": st.none() | positive,
    },
)


def deep_map(value: Any, leaf: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: deep_map(inner, leaf) for key, inner in value.items()}
    if isinstance(value, list):
        return [deep_map(inner, leaf) for inner in value]
    return leaf(value)


def shuffled(value: Any, order: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    items = [(key, shuffled(inner, order)) for key, inner in value.items()]
    order.shuffle(items)
    return dict(items)


# Identity ---------------------------------------------------------------------------------------


@given(configurations)
def test_encoding_is_complete(raw: dict[str, Any]) -> None:
    config = decode(raw)
    again = decode(encode(config))
    assert again == config
    assert identity(again) == identity(config)
    assert encode(again) == encode(config)


@given(configurations, st.data())
def test_a_default_written_out_makes_no_difference(raw: dict[str, Any], data: Any) -> None:
    complete = encode(decode(raw))
    some = data.draw(st.sets(st.sampled_from(sorted(complete))))
    spelled_out = merge(raw, {key: complete[key] for key in some})
    assert identity(decode(spelled_out)) == identity(decode(raw))


@given(configurations)
def test_numbers_as_text_make_no_difference(raw: dict[str, Any]) -> None:
    def text(value: Any) -> Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return str(value) if number else value

    assert identity(decode(deep_map(raw, text))) == identity(decode(raw))


@given(configurations, st.randoms(use_true_random=False))
def test_the_order_of_keys_makes_no_difference(raw: dict[str, Any], order: Any) -> None:
    assert identity(decode(shuffled(raw, order))) == identity(decode(raw))


@given(configurations, configurations)
def test_different_configurations_have_different_ids(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    same = encode(decode(one)) == encode(decode(other))
    assert (identity(decode(one)) == identity(decode(other))) == same


def test_every_hashed_field_counts() -> None:
    base = decode({"workload": "digits_mlp"})
    changes: dict[str, Any] = {
        "epochs": 11,
        "batch_size": 33,
        "optimizer": {"lr": 0.2},
        "schedule": {"warmup": 0.1},
        "model": {"width": 33},
        "data": {"fingerprint": "x"},
        "seed": 1,
        "accumulation": 2,
        "grad_clip": 1.0,
        "precision": "bf16",
        "deterministic": True,
        "eval_every": 2,
        "eval_batch_size": 10,
    }
    ids = {identity(decode({"workload": "digits_mlp", **{k: v}})) for k, v in changes.items()}
    assert len(ids | {identity(base)}) == len(changes) + 1


@pytest.mark.parametrize(
    "where", [{"device": "cpu"}, {"checkpoint_minutes": 1}, {"track": "wandb"}]
)
def test_where_and_how_a_run_is_carried_out_is_left_out(where: dict[str, Any]) -> None:
    plain = decode({"workload": "digits_mlp"})
    assert identity(decode({"workload": "digits_mlp", **where})) == identity(plain)


def test_the_same_id_in_every_process() -> None:
    code = (
        "from lrscale.config import decode, identity\n"
        "print(identity(decode({'workload': 'mnist_mlp', 'optimizer': {'lr': 0.3}})))"
    )
    here = identity(decode({"workload": "mnist_mlp", "optimizer": {"lr": 0.3}}))
    for hash_seed in ("0", "1"):
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == here


def test_the_id_is_the_hash_of_canonical_json() -> None:
    """Written out, so that a change of the algorithm, which would orphan every result, is seen."""

    @dataclass(frozen=True)
    class Config:
        widths: tuple[int, ...] = (3, 2)
        lr: float = 0.1
        name: str = "é"
        clip: float | None = None

    text = '{"clip":null,"lr":0.1,"name":"\\u00e9","widths":[3,2]}'
    assert identity(Config()) == hashlib.sha256(text.encode()).hexdigest()[:20]


def test_zero_has_no_sign() -> None:
    zero, minus = (
        decode({"workload": "mnist_mlp", "optimizer": {"lr": 0.1, "momentum": m}})
        for m in (0.0, -0.0)
    )
    assert identity(zero) == identity(minus)


def test_blocks_known_from_other_runs_change_nothing() -> None:
    known: dict[Any, Any] = {}
    for momentum in (0.0, -0.0, 0, "0", 0.9, 0.0):
        raw = {"workload": "mnist_mlp", "optimizer": {"lr": 1, "momentum": momentum}}
        assert encode(decode(raw, known)) == encode(decode(raw))
    for _ in range(2):
        with pytest.raises(ConfigError, match="momentum: should be less than 1"):
            decode({"workload": "mnist_mlp", "optimizer": {"lr": 1, "momentum": True}}, known)


# Versions ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Before:
    lr: float = 0.1


@dataclass(frozen=True)
class EditedDefault:
    lr: float = 0.2


@dataclass(frozen=True)
class WithAdded:
    """A later version: ``clip`` was always off before, and is on unless told otherwise now."""

    lr: float = 0.1
    clip: float | None = added(1.0, as_before=None)


@dataclass(frozen=True)
class WithUnhashed:
    lr: float = 0.1
    folder: str = unhashed("here")


def test_an_edited_default_is_another_run() -> None:
    assert identity(EditedDefault()) != identity(Before())
    assert identity(EditedDefault(lr=0.1)) == identity(Before())


def test_an_added_field_counts_only_where_it_departs_from_before() -> None:
    assert identity(WithAdded(clip=None)) == identity(Before())
    assert identity(WithAdded()) != identity(Before())
    assert identity(WithAdded()) != identity(WithAdded(clip=2.0))


def test_an_unhashed_field_never_counts() -> None:
    assert identity(WithUnhashed(folder="there")) == identity(WithUnhashed()) == identity(Before())


# Merging ----------------------------------------------------------------------------------------


def test_another_name_replaces_a_block() -> None:
    config = decode({"workload": "mnist_cnn", "optimizer": {"name": "adam"}})
    assert encode(config)["optimizer"] == {
        "name": "adam",
        "lr": 1e-3,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
    }


@pytest.mark.parametrize("block", [{"lr": 0.5}, {"name": "sgd", "lr": 0.5}])
def test_the_same_name_or_none_merges(block: dict[str, Any]) -> None:
    optimizer = decode({"workload": "mnist_cnn", "optimizer": block}).optimizer
    assert (optimizer.lr, optimizer.momentum) == (0.5, 0.9)


@given(configurations, configurations)
def test_merging_changes_neither_side(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = (deep_map(base, lambda leaf: leaf), deep_map(over, lambda leaf: leaf))
    merged = merge(base, over)
    assert (base, over) == before
    assert merge(merged, over) == merged


# What a person reads ----------------------------------------------------------------------------


def problems_of(raw: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        decode(raw)
    return {problem.key: str(problem) for problem in caught.value.problems}


def test_all_problems_at_once_with_the_nearest_names() -> None:
    problems = problems_of(
        {
            "workload": "mnist_mlp",
            "epoch": 3,
            "batch_size": "many",
            "optimizer": {"name": "sgd", "lr": -1, "momentun": 0.9},
            "schedule": {"name": "cosin"},
            "model": {"name": "mlp", "dropout": 1.5},
            "precision": "fp8",
        }
    )
    assert set(problems) == {
        "epoch",
        "batch_size",
        "optimizer.lr",
        "optimizer.momentun",
        "schedule.name",
        "model.dropout",
        "precision",
    }
    assert "did you mean 'epochs'?" in problems["epoch"]
    assert "did you mean 'momentum'?" in problems["optimizer.momentun"]
    assert "did you mean 'cosine'?" in problems["schedule.name"]
    assert "-1" in problems["optimizer.lr"]
    assert "'many'" in problems["batch_size"]


@pytest.mark.parametrize(
    ("raw", "key", "says"),
    [
        ({}, "workload", "missing"),
        ({"workload": "mnist_mpl"}, "workload", "did you mean 'mnist_mlp'?"),
        ({"workload": "digits_mlp", "optimizer": {"name": "zz"}}, "optimizer.name", "known: ada"),
        ({"workload": "digits_mlp", "optimizer": "adam"}, "optimizer", "write {name: …}"),
        ({"workload": "mnist_mlp", "optimizer": {"lr": None}}, "optimizer.lr", "number"),
        ({"workload": "mnist_mlp", "optimizer": {"lr": True}}, "optimizer.lr", "number"),
        ({"workload": "mnist_mlp", "optimizer": {"lr": math.nan}}, "optimizer.lr", "nan"),
        ({"workload": "mnist_mlp", "optimizer": {"lr": math.inf}}, "optimizer.lr", "finite"),
        ({"workload": "mnist_mlp", "epochs": 0}, "epochs", "greater than 0"),
        ({"workload": "mnist_mlp", "epochs": 1.5}, "epochs", "1.5"),
        ({"workload": "mnist_mlp", "optimizer": {"nesterov": True}}, "optimizer", "momentum"),
        ({"workload": "mnist_mlp", "schedule": {"warmup": 2.5}}, "schedule.warmup", "whole"),
        (
            {"workload": "mnist_mlp", "schedule": {"name": "step", "every": 30}},
            "schedule",
            "fraction",
        ),
    ],
)
def test_each_problem_names_its_key_and_what_is_wrong(
    raw: dict[str, Any], key: str, says: str
) -> None:
    problems = problems_of(raw)
    assert set(problems) == {key}
    assert says in problems[key]
