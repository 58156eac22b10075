from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.claims import LiveArray
from launch.layout import Item, Layout, apportion, estimate, layout
from launch.resources import Resources

CPU = Resources(gpus_per_node=0, cpus_per_task=2, time="01:00:00")
GPU = Resources(gpus_per_node=1, cpus_per_gpu=8, time="02:00:00")
TWO_NODES = Resources(nodes=2, gpus_per_node=4, time="02:00:00")

minutes = st.one_of(st.none(), st.floats(0.001, 100))
items = st.lists(
    st.tuples(st.sampled_from([CPU, GPU, TWO_NODES]), st.sampled_from("ab"), minutes)
).map(lambda rows: [Item(f"run{i}", *row) for i, row in enumerate(rows)])
seeds = st.integers(0, 2**32)
per_task = st.one_of(st.just("auto"), st.integers(1, 7))


def runs_of(plan: Layout) -> list[str]:
    return [run for array in plan.arrays for element in array.elements for run in element]


@given(items, per_task, st.integers(1, 3), st.none() | st.integers(1, 9), st.integers(1, 6))
def test_every_run_is_laid_out_once_and_no_array_is_too_long(
    todo: list[Item],
    runs_per_task: int | Literal["auto"],
    per_gpu: int,
    parallel: int | None,
    max_array_size: int,
) -> None:
    plan = layout(todo, runs_per_task, per_gpu, parallel, max_array_size)
    assert sorted(runs_of(plan)) == sorted(item.run for item in todo)
    by_run = {item.run: item for item in todo}
    for array in plan.arrays:
        assert 1 <= len(array.elements) <= max_array_size
        assert 1 <= array.throttle <= len(array.elements)
        for element in array.elements:
            shapes = {(by_run[run].resources, by_run[run].snapshot) for run in element}
            assert shapes == {(array.resources, array.snapshot)}
    assert plan == layout(todo, runs_per_task, per_gpu, parallel, max_array_size)


@given(items, per_task, st.integers(0, 9), st.none() | st.integers(1, 5))
def test_max_submit_takes_the_first_runs_and_leaves_the_rest(
    todo: list[Item], runs_per_task: int | Literal["auto"], max_submit: int, parallel: int | None
) -> None:
    plan = layout(todo, runs_per_task, 1, parallel, 4, max_submit)
    assert sum(len(array.elements) for array in plan.arrays) <= max_submit
    assert sorted([*runs_of(plan), *plan.left_over]) == sorted(item.run for item in todo)
    if plan.left_over and runs_per_task == 1:
        order = [item.run for item in todo]
        assert max(map(order.index, runs_of(plan)), default=-1) < order.index(plan.left_over[0])


def most_at_once(plan: Layout, live: Sequence[LiveArray], dice: random.Random) -> int:
    """Plays a scheduler that starts and ends elements in random order."""
    ids = [array.job_id for array in live]
    waiting_live = {i: ids.index("L0") for i, array in enumerate(live) if array.chained}
    width = [array.width for array in live] + [array.throttle for array in plan.arrays]
    left = [array.width for array in live] + [len(array.elements) for array in plan.arrays]
    after = [{waiting_live[i]} if i in waiting_live else set() for i in range(len(live))]
    for array in plan.arrays:
        waits = {ids.index(job) for job in plan.wait_for} if array.after is None else set()
        after.append(waits if array.after is None else {len(live) + array.after})
    running = [0] * len(width)
    most = 0
    while any(left) or any(running):
        ready = [
            i
            for i, total in enumerate(left)
            if total and running[i] < width[i] and all(left[j] == running[j] == 0 for j in after[i])
        ]
        busy = [i for i, count in enumerate(running) if count]
        if ready and (not busy or dice.random() < 0.8):
            chosen = dice.choice(ready)
            running[chosen] += 1
            left[chosen] -= 1
        else:
            running[dice.choice(busy)] -= 1
        most = max(most, sum(running))
    return most


@given(items, st.integers(1, 9), st.integers(1, 6), seeds)
def test_parallel_holds_over_all_arrays(
    todo: list[Item], parallel: int, max_array_size: int, seed: int
) -> None:
    plan = layout(todo, 1, 1, parallel, max_array_size)
    assert most_at_once(plan, [], random.Random(seed)) <= parallel
    heads = [array for array in plan.arrays if array.after is None]
    assert sum(array.throttle for array in heads) == min(
        parallel, sum(len(array.elements) for array in heads)
    )


@given(
    items,
    st.lists(st.integers(1, 4), max_size=4),
    st.booleans(),
    st.integers(1, 9),
    seeds,
)
def test_parallel_holds_beside_arrays_that_are_live(
    todo: list[Item], widths: list[int], chain: bool, parallel: int, seed: int
) -> None:
    live = [LiveArray("s", f"L{i}", width, False) for i, width in enumerate(widths)]
    if chain and live:  # it will take over the place of the first
        live.append(LiveArray("s", f"L{len(live)}", live[0].width, True))
    plan = layout(todo, 1, 1, parallel, 3, live=live)
    alone = sum(array.width for array in live if not array.chained)
    assert most_at_once(plan, live, random.Random(seed)) <= max(parallel, alone)
    assert sorted(runs_of(plan)) == sorted(item.run for item in todo)


def test_nothing_is_laid_out_behind_an_array_that_cannot_be_waited_for() -> None:
    todo = [Item("a", CPU), Item("b", CPU)]
    plan = layout(todo, parallel=2, live=[LiveArray("s", None, 2, False)])
    assert plan == Layout((), (), ("a", "b"))


def test_parallel_is_shared_out_by_size() -> None:
    todo = [Item(f"g{i}", GPU) for i in range(30)] + [Item(f"c{i}", CPU) for i in range(10)]
    assert [array.throttle for array in layout(todo, parallel=8).arrays] == [6, 2]


def test_more_arrays_than_parallel_queue_up_in_lanes() -> None:
    plan = layout([Item(f"r{i}", CPU) for i in range(10)], 1, parallel=2, max_array_size=2)
    assert [array.after for array in plan.arrays] == [None, None, 0, 1, 2]
    assert {array.throttle for array in plan.arrays} == {1}


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 100))
def test_apportion_gives_all_there_is_and_nobody_more_than_it_can_use(
    sizes: list[int], more: int
) -> None:
    total = len(sizes) + more
    seats = apportion(sizes, total)
    assert sum(seats) == min(total, sum(sizes))
    assert all(1 <= seat <= size for seat, size in zip(seats, sizes, strict=True))
    for one, its in zip(sizes, seats, strict=True):
        for other, others in zip(sizes, seats, strict=True):
            assert one <= other or its >= others  # never fewer than a smaller array


def lengths(todo: list[Item], **limits: int) -> list[int]:
    plan = layout(todo, "auto", **limits)  # type: ignore[arg-type]
    return [len(element) for array in plan.arrays for element in array.elements]


def test_auto_leaves_runs_of_unknown_length_alone() -> None:
    assert lengths([Item(f"r{i}", CPU) for i in range(5)]) == [1] * 5


def test_auto_fills_a_quarter_of_an_hour() -> None:
    assert lengths([Item(f"r{i}", CPU, "", 5.0) for i in range(7)]) == [3, 3, 1]


def test_auto_fills_half_of_a_short_time_limit_at_most() -> None:
    short = Resources(gpus_per_node=0, time="00:10:00")
    assert lengths([Item(f"r{i}", short, "", 2.0) for i in range(6)]) == [2, 2, 2]


def test_auto_keeps_as_many_elements_as_may_run_at_once() -> None:
    assert lengths([Item(f"r{i}", CPU, "", 0.1) for i in range(8)], parallel=4) == [2] * 4


def test_runs_that_share_a_gpu_come_together() -> None:
    todo = [Item(f"r{i}", GPU) for i in range(5)]
    assert lengths(todo, per_gpu=2) == [2, 2, 1]


@given(items, st.integers(1, 4))
def test_auto_never_exceeds_half_of_the_time_limit_where_the_minutes_are_known(
    todo: list[Item], parallel: int
) -> None:
    by_run = {item.run: item for item in todo}
    plan = layout(todo, "auto", 1, parallel)
    for array in plan.arrays:
        for element in array.elements:
            if len(element) > 1:
                known = [by_run[run].minutes for run in element]
                assert None not in known
                assert sum(filter(None, known)) <= array.resources.minutes / 2


def test_runs_of_several_ranks_are_never_packed() -> None:
    todo = [Item(f"r{i}", TWO_NODES, "", 0.1) for i in range(3)]
    assert lengths(todo, per_gpu=2) == [1, 1, 1]
    assert [len(array.elements) for array in layout(todo, runs_per_task=3).arrays] == [3]


def test_the_worst_case_is_the_time_limit_of_every_element() -> None:
    todo = [Item(f"r{i}", TWO_NODES, "", 30.0) for i in range(3)]
    plan = layout(todo, runs_per_task=1)
    cost = estimate(plan.arrays, {"r0": 30.0, "r1": 30.0, "r2": None})
    assert cost.gpu_hours == 3 * 2 * 8
    assert cost.expected_gpu_hours == 8
    assert (cost.known, cost.runs) == (2, 3)
    assert cost.core_hours == 3 * 2 * 2 * 4 * 8


def test_runs_that_share_a_gpu_share_its_hours() -> None:
    todo = [Item(f"r{i}", GPU, "", 30.0) for i in range(4)]
    plan = layout(todo, runs_per_task=4, per_gpu=2)
    cost = estimate(plan.arrays, {item.run: item.minutes for item in todo}, per_gpu=2)
    assert cost.expected_gpu_hours == pytest.approx(1.0)
