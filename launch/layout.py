"""How runs that are to be queued are laid out in arrays, and what that may cost. Pure.

Runs are packed into array elements, and elements into arrays, within the scheduler's limits and
the sweep's ``parallel``.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from launch.claims import LiveArray
from launch.resources import Resources

# Short runs share an element until they fill this much of an hour: then the start-up of a job,
# some 10 s, is a hundredth of it, and the last element of a sweep is not waited for long.
PACK_MINUTES = 15.0


@dataclass(frozen=True)
class Item:
    """A run to hand over.

    Attributes:
        run: its id.
        resources, snapshot: runs that differ in them never share an element or an array.
        minutes: how long it probably takes; None while nothing is known.
    """

    run: str
    resources: Resources
    snapshot: str = ""
    minutes: float | None = None


@dataclass(frozen=True)
class Array:
    """One array to be queued.

    Attributes:
        elements: run ids of each element, in order.
        throttle: elements at once.
        after: index in the layout of the array that must have ended before; None for none.
    """

    resources: Resources
    snapshot: str
    elements: tuple[tuple[str, ...], ...]
    throttle: int
    after: int | None = None


@dataclass(frozen=True)
class Layout:
    """Arrays in the order of submission.

    Attributes:
        wait_for: job ids of live arrays that must have ended before any of these may start.
        left_over: runs that the scheduler's limit on jobs leaves out: the same command, given
            later, submits them.
    """

    arrays: tuple[Array, ...]
    wait_for: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Element:
    resources: Resources
    snapshot: str
    runs: tuple[str, ...]


def layout(
    items: Sequence[Item],
    runs_per_task: int | Literal["auto"] = "auto",
    per_gpu: int = 1,
    parallel: int | None = None,
    max_array_size: int = 1001,
    max_submit: int | None = None,
    live: Sequence[LiveArray] = (),
) -> Layout:
    """Arrays that hold every run once, as far as ``max_submit`` allows.

    ``parallel`` bounds the elements that run at once over all the arrays, and over those of the
    sweep that are live already. A throttle belongs to one array and is fixed when it is queued,
    so the bound is divided:

    - what live arrays can still use is taken off first; where nothing is left, the new arrays
      wait until the live ones have ended (``wait_for``) and then have the whole of it;
    - the rest is shared out in proportion to the arrays' sizes, each having at least one;
    - when there are more arrays than that, they queue up in so many lanes, one array after the
      other (``after``), one element at a time in each.

    Args:
        items: the runs, in order.
        runs_per_task: runs that share an element one after the other; ``auto``: see ``pack``.
        per_gpu: runs of an element that run at the same time.
        parallel: None for no bound.
        max_array_size: elements of an array at most (Slurm's MaxArraySize).
        max_submit: elements at most; None for no bound.
        live: the sweep's arrays that are queued or running.
    """
    elements = pack(items, runs_per_task, per_gpu, parallel)
    taken = elements if max_submit is None else elements[: max(0, max_submit)]
    left_over = tuple(run for element in elements[len(taken) :] for run in element.runs)
    chunks = list(_chunks(taken, max_array_size))
    if parallel is None:
        arrays = [_array(chunk, len(chunk)) for chunk in chunks]
        return Layout(tuple(arrays), (), left_over)
    # An array that waits for another live one takes over its place.
    free = parallel - sum(array.width for array in live if not array.chained)
    if free >= 1:
        return Layout(tuple(_throttled(chunks, free)), (), left_over)
    wait_for = tuple(array.job_id for array in live if array.job_id is not None)
    if len(wait_for) < len(live):  # one that nobody can wait for, having no id yet
        return Layout((), (), tuple(item.run for item in items))
    return Layout(tuple(_throttled(chunks, parallel)), wait_for, left_over)


def pack(
    items: Sequence[Item],
    runs_per_task: int | Literal["auto"],
    per_gpu: int,
    parallel: int | None,
) -> list[_Element]:
    """Runs of one shape into elements, keeping their order.

    ``auto`` packs runs whose minutes are known, until they fill a quarter of an hour or half of
    the time limit, and never into fewer elements than may run at once. Every element has at
    least ``per_gpu`` runs where there are as many. A run of several ranks has an element of its
    own: packed runs are forked, and the ranks of a fork would not find each other.
    """
    most = len(items) if parallel is None else math.ceil(len(items) / parallel)
    elements = []
    for (resources, snapshot), group in _by_shape(items).items():
        if resources.world_size > 1:
            packed = [[item] for item in group]
        elif runs_per_task == "auto":
            budget = min(PACK_MINUTES, resources.minutes / 2)
            packed = list(_pack_by_time(group, budget, per_gpu, max(per_gpu, most)))
        else:
            size = max(runs_per_task, per_gpu)
            packed = [group[i : i + size] for i in range(0, len(group), size)]
        elements += [_Element(resources, snapshot, tuple(i.run for i in e)) for e in packed]
    position = {item.run: place for place, item in enumerate(items)}
    return sorted(elements, key=lambda element: position[element.runs[0]])


def _by_shape(items: Sequence[Item]) -> dict[tuple[Resources, str], list[Item]]:
    shapes: dict[tuple[Resources, str], list[Item]] = {}
    for item in items:
        shapes.setdefault((item.resources, item.snapshot), []).append(item)
    return shapes


def _pack_by_time(
    items: Sequence[Item], budget: float, least: int, most: int
) -> Iterator[list[Item]]:
    """Consecutive items of ``budget`` minutes in all, from ``least`` to ``most`` of them."""
    element: list[Item] = []
    used = 0.0
    for item in items:
        minutes = math.inf if item.minutes is None else item.minutes
        fits = used + minutes <= budget and len(element) < most
        if element and not fits and len(element) >= least:
            yield element
            element, used = [], 0.0
        element.append(item)
        used += minutes
    if element:
        yield element


def _chunks(elements: Sequence[_Element], size: int) -> Iterator[list[_Element]]:
    """Elements of one shape, in arrays of nearly equal size that is at most ``size``."""
    shapes: dict[tuple[Resources, str], list[_Element]] = {}
    for element in elements:
        shapes.setdefault((element.resources, element.snapshot), []).append(element)
    for group in shapes.values():
        count = math.ceil(len(group) / size)
        bounds = [len(group) * i // count for i in range(count + 1)]
        yield from (group[a:b] for a, b in itertools.pairwise(bounds))


def _array(chunk: Sequence[_Element], throttle: int, after: int | None = None) -> Array:
    runs = tuple(element.runs for element in chunk)
    return Array(chunk[0].resources, chunk[0].snapshot, runs, throttle, after)


def _throttled(chunks: Sequence[Sequence[_Element]], parallel: int) -> list[Array]:
    if len(chunks) <= parallel:
        shares = apportion([len(chunk) for chunk in chunks], parallel)
        return [_array(chunk, share) for chunk, share in zip(chunks, shares, strict=True)]
    arrays: list[Array] = []
    lanes: list[tuple[int, int, int | None]] = [(0, lane, None) for lane in range(parallel)]
    for index, chunk in enumerate(chunks):  # each to the lane that has the least to do
        load, lane, last = heapq.heappop(lanes)
        arrays.append(_array(chunk, 1, last))
        heapq.heappush(lanes, (load + len(chunk), lane, index))
    return arrays


def apportion(sizes: Sequence[int], total: int) -> list[int]:
    """``total`` shared out in proportion to ``sizes``: each at least 1, none above its size.

    By D'Hondt's rule: the next seat goes where size / (seats + 1) is greatest.
    Needs ``len(sizes) <= total``.
    """
    seats = [1] * len(sizes)
    queue = [(-size / 2, index) for index, size in enumerate(sizes) if size > 1]
    heapq.heapify(queue)
    for _ in range(total - len(sizes)):
        if not queue:
            break
        _, index = heapq.heappop(queue)
        seats[index] += 1
        if seats[index] < sizes[index]:
            heapq.heappush(queue, (-sizes[index] / (seats[index] + 1), index))
    return seats


# --- cost


@dataclass(frozen=True)
class Estimate:
    """What a layout may cost, in hours of GPUs and of cores.

    Attributes:
        gpu_hours, core_hours: at most, in one pass: every element takes its whole time limit.
        expected_gpu_hours, expected_core_hours: of those runs whose minutes are known.
        runs, known: how many runs there are, and of how many the minutes are known.
    """

    gpu_hours: float
    core_hours: float
    expected_gpu_hours: float
    expected_core_hours: float
    runs: int
    known: int


def estimate(
    arrays: Iterable[Array], minutes: Mapping[str, float | None], per_gpu: int = 1
) -> Estimate:
    """The cost of arrays whose runs take so many ``minutes`` each, ``per_gpu`` at a time."""
    gpu_hours = core_hours = expected_gpu_hours = expected_core_hours = 0.0
    runs = known = 0
    for array in arrays:
        limit = array.resources.minutes * len(array.elements)
        gpu_hours += array.resources.gpu_hours(limit)
        core_hours += array.resources.core_hours(limit)
        ids = [run for element in array.elements for run in element]
        measured = [taken for run in ids if (taken := minutes.get(run)) is not None]
        expected = sum(measured) / per_gpu
        expected_gpu_hours += array.resources.gpu_hours(expected)
        expected_core_hours += array.resources.core_hours(expected)
        runs += len(ids)
        known += len(measured)
    return Estimate(gpu_hours, core_hours, expected_gpu_hours, expected_core_hours, runs, known)
