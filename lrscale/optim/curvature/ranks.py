"""The few collective operations of second-order optimizers; nothing with one rank."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, distributed


def count() -> int:
    """The number of ranks."""
    return distributed.get_world_size() if _several() else 1


def mine() -> int:
    """This process's rank."""
    return distributed.get_rank() if _several() else 0


def sum_over(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over ranks, the same bit for bit on all. Collective."""
    if _several():
        _wait([distributed.all_reduce(tensor, async_op=True) for tensor in tensors])


def spread(tensors: Sequence[Tensor], owners: Sequence[int]) -> None:
    """Give each tensor of its owner's to all ranks. Collective."""
    if _several():
        _wait(
            [
                distributed.broadcast(tensor, src=owner, async_op=True)
                for tensor, owner in zip(tensors, owners, strict=True)
            ]
        )


def share_out(costs: Sequence[float], ranks: int) -> list[int]:
    """Which rank does which piece of work, so that all are done at about the same time.

    Longest first, each to the rank with the least to do (Graham 1969: at most 4/3 of the best).
    """
    loads = [0.0] * ranks
    owners = [0] * len(costs)
    for piece in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        owners[piece] = min(range(ranks), key=lambda rank: loads[rank])
        loads[owners[piece]] += costs[piece]
    return owners


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _wait(works: Sequence[distributed.Work | None]) -> None:
    for work in works:
        if work is not None:
            work.wait()
