"""The order of examples and every seed are functions of counters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrscale.errors import UserError
from lrscale.train.order import Order, derive, nth


def lengths_of(examples: int) -> torch.Tensor:
    """From 1 to 97, with many equal ones."""
    return torch.arange(examples) * 31 % 97 + 1


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, int]:
    world, accumulation = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    batch_size = world * accumulation * draw(st.integers(1, 4))
    examples = batch_size * draw(st.integers(1, 6)) + draw(st.integers(0, batch_size - 1))
    return {
        "examples": examples,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "seed": draw(st.integers(0, 2**40)),
        "world": world,
        "lengths": lengths_of(examples) if draw(st.booleans()) else None,
    }


def batches_of_all_ranks(shape: dict[str, int], epoch: int, first: int = 0) -> list[Any]:
    """Per rank, its micro-batches as lists."""
    return [
        [micro.tolist() for micro in Order(rank=rank, **shape).batches(epoch, first)]
        for rank in range(shape["world"])
    ]


@given(shapes(), st.integers(0, 1000))
def test_an_epoch_takes_no_example_twice_and_drops_less_than_a_batch(shape, epoch):
    ranks = batches_of_all_ranks(shape, epoch)
    taken = [index for rank in ranks for micro in rank for index in micro]
    assert len(taken) == len(set(taken))
    assert set(taken) <= set(range(shape["examples"]))
    assert len(taken) == shape["examples"] // shape["batch_size"] * shape["batch_size"]


@given(shapes(), st.integers(0, 1000))
def test_micro_batches_are_of_one_size(shape, epoch):
    ranks = batches_of_all_ranks(shape, epoch)
    sizes = {len(micro) for rank in ranks for micro in rank}
    assert sizes == {shape["batch_size"] // (shape["world"] * shape["accumulation"])}


@given(shapes(), st.integers(0, 1000), st.data())
def test_a_resumed_epoch_goes_on_where_it_was(shape, epoch, data):
    order = Order(rank=0, **shape)
    first = data.draw(st.integers(0, order.steps_per_epoch))
    whole = batches_of_all_ranks(shape, epoch)
    rest = batches_of_all_ranks(shape, epoch, first)
    assert rest == [rank[first * shape["accumulation"] :] for rank in whole]


@given(shapes(), st.integers(0, 1000))
def test_a_global_batch_is_the_same_however_it_is_shared_out(shape, epoch):
    alone = Order(rank=0, **shape | {"world": 1, "accumulation": 1})
    expected = [set(batch.tolist()) for batch in alone.batches(epoch, 0)]
    ranks = batches_of_all_ranks(shape, epoch)
    accumulation = shape["accumulation"]
    for step, batch in enumerate(expected):
        mine = slice(step * accumulation, (step + 1) * accumulation)
        assert {i for rank in ranks for micro in rank[mine] for i in micro} == batch


def test_every_epoch_and_seed_has_an_order_of_its_own():
    def order(seed: int, epoch: int) -> list[int]:
        shape = {"examples": 50, "batch_size": 50, "accumulation": 1, "world": 1, "rank": 0}
        return next(Order(seed=seed, **shape).batches(epoch, 0)).tolist()

    orders = [order(seed, epoch) for seed in range(5) for epoch in range(5)]
    assert len({tuple(o) for o in orders}) == 25
    assert order(3, 4) == orders[19]


@given(shapes(), st.integers(0, 1000))
def test_lengths_change_who_is_batched_with_whom_and_nothing_else(shape, epoch):
    """The same examples are taken, and dropped, as without lengths."""
    taken = [
        {
            index
            for rank in batches_of_all_ranks(shape | {"lengths": lengths}, epoch)
            for micro in rank
            for index in micro
        }
        for lengths in (None, lengths_of(shape["examples"]))
    ]
    assert taken[0] == taken[1]


def test_batches_are_of_like_length_in_random_order():
    lengths = lengths_of(6400)
    order = Order(6400, 64, accumulation=1, seed=0, rank=0, world=1, lengths=lengths)
    batches = list(order.batches(0, 0))
    padded = sum(64 * int(lengths[batch].max()) for batch in batches)
    assert padded < 1.05 * int(lengths.sum())
    longest = [int(lengths[batch].max()) for batch in batches]
    assert longest != sorted(longest)
    first, second = (order.batches(epoch, 0) for epoch in (1, 2))
    assert {tuple(sorted(b.tolist())) for b in first}.isdisjoint(
        tuple(sorted(b.tolist())) for b in second
    )


def test_pools_are_sorted_apart(monkeypatch):
    """So that an example meets others in every epoch, not always its neighbours in length."""
    monkeypatch.setattr("lrscale.train.order.POOL", 2)
    shape = {"examples": 80, "batch_size": 10, "accumulation": 1, "world": 1, "rank": 0}
    plain = Order(seed=0, **shape)
    sorted_ = Order(seed=0, **shape, lengths=lengths_of(80))
    pools = list(zip(*[iter(plain.batches(3, 0))] * 2, strict=True))
    for batch in sorted_.batches(3, 0):
        (pool,) = [p for p in pools if set(batch.tolist()) <= set(torch.cat(p).tolist())]
        by_length = sorted(torch.cat(pool).tolist(), key=lengths_of(80).tolist().__getitem__)
        edges = {lengths_of(80)[i].item() for i in by_length[9:11]}
        found = lengths_of(80)[batch]
        assert found.max() <= max(edges) or found.min() >= min(edges)


@given(
    examples=st.integers(0, 200),
    batch_size=st.integers(1, 30),
    world=st.integers(1, 5),
    sort=st.booleans(),
)
def test_evaluation_sees_every_example_once(examples, batch_size, world, sort):
    shape = {"batch_size": world, "accumulation": 1, "seed": 0, "world": world, "examples": world}
    lengths = lengths_of(examples) if sort else None
    ranks = [
        Order(rank=rank, **shape).shard(examples, batch_size, lengths) for rank in range(world)
    ]
    assert len({len(rank) for rank in ranks}) == 1
    assert all(len(chunk) <= batch_size for rank in ranks for chunk in rank)
    seen = torch.cat([torch.empty(0, dtype=torch.int64), *(c for rank in ranks for c in rank)])
    assert sorted(seen.tolist()) == list(range(examples))


@pytest.mark.parametrize(
    ("batch_size", "message"),
    [
        (33, r"33 cannot be shared out equally over 2 ranks × 2 .* multiple of 4"),
        (400, "400 is more than the 100 training examples"),
    ],
)
def test_batches_that_cannot_be(batch_size, message):
    with pytest.raises(UserError, match=message):
        Order(100, batch_size, accumulation=2, seed=0, rank=0, world=2)


def test_derived_seeds_are_apart():
    """Also in their low 32 bits, all that torch's CPU generator looks at."""
    seeds = [
        derive(seed, purpose, step) & 0xFFFFFFFF
        for seed in range(20)
        for purpose in range(3)
        for step in range(20)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= derive(seed, 1, 2) < 2**64 for seed in (0, 1, 2**63, 2**64 - 1))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**31), st.integers(1, 2**31))
def test_no_two_steps_have_the_same_seed(seed, step, later):
    one, other = nth(seed, step), nth(seed, step + later)
    assert (one ^ other) & 0xFFFFFFFF
    assert 0 <= one < 2**64


def test_derived_seeds_stay_the_same():
    """Another value would be another order and initialisation under the same run id."""
    assert derive(0, 0) == 0xE220A8397B1DCDAF  # SplitMix64's first output from state 0
    assert derive(7, 1, 42) == derive(derive(7, 1), 42)
    assert nth(5, 3) == (5 + 3 * 0x9E3779B97F4A7C15) % 2**64
