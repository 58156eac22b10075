"""Which examples make up a step, and every random seed: functions of counters, with no past.

A resumed run needs nothing but its step to draw what an uninterrupted run would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lrscale.errors import UserError

# Global batches of examples that are sorted by length together: enough to leave hardly any
# padding, and few enough that who meets whom in a batch stays a matter of chance.
POOL = 50

# What a seed is for: keeps the streams of one run apart.
INITIALISATION, ORDER, STEP, LABELS = range(4)

_MASK = 2**64 - 1
_GOLDEN = (
    0x9E3779B97F4A7C15  # odd: its multiples repeat after 2^64, and their low halves after 2^32
)


def derive(seed: int, *counters: int) -> int:
    """A 64-bit seed, well mixed: SplitMix64 (Steele, Lea and Flood 2014) over the counters."""
    for counter in counters:
        seed = (seed + (counter + 1) * _GOLDEN) & _MASK
        seed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        seed = ((seed ^ (seed >> 27)) * 0x94D049BB133111EB) & _MASK
        seed ^= seed >> 31
    return seed


def nth(seed: int, n: int) -> int:
    """The n-th of a stream of seeds that all differ, in their low 32 bits as well (all that
    torch's CPU generator looks at); a quarter of the time of ``derive``, for use at each step."""
    return (seed + n * _GOLDEN) & _MASK


class Order:
    """The order of the training examples, shared out over ranks and micro-batches.

    Every epoch is a permutation of its own, cut into global batches; what is left over at its
    end is dropped. Rank r of w takes the places r, r + w, … of each batch, in ``accumulation``
    micro-batches of equal size, so that the mean of the ranks' means is the batch's mean.

    Examples of different lengths are padded to the longest of their micro-batch. So that little
    is padded, the permutation is sorted by length within pools of ``POOL`` batches, and the
    batches are then shuffled: still a function of the seed and the epoch.

    Args:
        lengths: of each example, where they differ: (examples,), on the CPU.

    Attributes:
        steps_per_epoch: optimizer steps, whatever the number of ranks.

    Raises:
        UserError: a batch that cannot be shared out equally, or is larger than the data.
    """

    def __init__(
        self,
        examples: int,
        batch_size: int,
        accumulation: int,
        seed: int,
        rank: int,
        world: int,
        lengths: Tensor | None = None,
    ) -> None:
        if batch_size % (world * accumulation):
            raise UserError(
                f"batch_size: {batch_size} cannot be shared out equally over {world} ranks × "
                f"{accumulation} accumulated micro-batches; choose a multiple of "
                f"{world * accumulation}"
            )
        if batch_size > examples:
            raise UserError(
                f"batch_size: {batch_size} is more than the {examples} training examples"
            )
        self.steps_per_epoch = examples // batch_size
        self._examples, self._batch_size = examples, batch_size
        self._micro_batch = batch_size // (world * accumulation)
        self._seed = seed
        self._rank, self._world = rank, world
        self._lengths = lengths

    def batches(self, epoch: int, first: int) -> Iterator[Tensor]:
        """This rank's micro-batches of an epoch, from its step ``first`` on: int64 indices."""
        generator = torch.Generator().manual_seed(derive(self._seed, ORDER, epoch))
        permutation = torch.randperm(self._examples, generator=generator)
        taken = permutation[: self._examples - self._examples % self._batch_size]
        steps = taken.view(self.steps_per_epoch, -1)
        if self._lengths is not None:
            steps = self._alike(taken, self._lengths)
            steps = steps[torch.randperm(self.steps_per_epoch, generator=generator)]
        shares = steps[first:, self._rank :: self._world]
        return iter(shares.reshape(-1, self._micro_batch))

    def _alike(self, taken: Tensor, lengths: Tensor) -> Tensor:
        """Batches of examples of like length: (steps, batch)."""
        pools = torch.arange(len(taken)) // (POOL * self._batch_size)
        by_length = lengths[taken].argsort(stable=True)
        return taken[by_length][pools[by_length].argsort(stable=True)].view(-1, self._batch_size)

    def shard(self, examples: int, batch_size: int, lengths: Tensor | None = None) -> list[Tensor]:
        """This rank's part of a whole split, each example on one rank, for evaluation.

        The list is of the same length on every rank; a last tensor may be shorter or empty.
        Examples go by their ``lengths`` where these are given, else by their place.
        """
        stride = batch_size * self._world
        order = torch.arange(examples) if lengths is None else lengths.argsort(stable=True)
        return [
            order[start + self._rank : min(start + stride, examples) : self._world]
            for start in range(0, examples, stride)
        ]
