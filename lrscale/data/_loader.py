"""Images in files: decoded and augmented by worker processes. Imports torch: only for use where a
source is opened."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lrscale.control import ignore_signals
from lrscale.data._decode import Damaged, read_image, torchcodec_decoder
from lrscale.data.draws import draws
from lrscale.data.image_folder import Files
from lrscale.data.source import Split
from lrscale.errors import UserError

# Of ImageNet's training pixels, channel by channel, white being 1; as torchvision has them.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MOST_REPLACEMENTS = 100  # damaged files in a row: then something else is wrong


@dataclass(frozen=True)
class Part:
    """The examples of a split: some of a folder's files.

    Attributes:
        folder: of the files' names.
        chosen: places in ``files``, increasing, (n,).
    """

    folder: Path
    files: Files
    chosen: NDArray[np.int64]


class Examples(NamedTuple):
    """What a worker is asked for: the examples of a batch. ``key`` as ``Source.batches`` has it."""

    split: Split
    indices: NDArray[np.int64]
    key: tuple[int, int] | None


class Batch(NamedTuple):
    """What it answers: pixels (batch, 3, height, width), bytes in ``channels_last`` format;
    labels (batch,), int64; a message for each damaged file; and whether an example is missing for
    that reason."""

    pixels: Tensor
    labels: Tensor
    damaged: list[str]
    incomplete: bool


class FileImages:
    """Images of ``resolution``² pixels from files, over worker processes. A ``Source``.

    Training images go through torchvision's ``RandomResizedCrop`` and ``RandomHorizontalFlip``,
    which draw from a generator seeded by (seed, epoch, index); evaluation resizes the shorter
    side to 8/7 of the resolution and takes the centre. Bytes travel to the device, which
    normalises them.

    Args:
        workers: processes; 0 decodes in this one.
        skip: a damaged file is replaced by the next intact one of the split, in the order of
            names, with the augmentation of its own index; else it ends the run.

    Attributes:
        waited: seconds that training has waited for batches.
        damaged: a message for each file that could not be decoded.
    """

    def __init__(
        self,
        title: str,
        parts: Mapping[Split, Part],
        classes: int,
        device: torch.device,
        resolution: int,
        workers: int,
        skip: bool,
    ) -> None:
        torchcodec_decoder()  # in this process first, so that its absence is said once
        self.title, self.classes = title, classes
        self.input_shape: tuple[int, ...] = (3, resolution, resolution)
        self.waited = 0.0
        self.damaged: set[str] = set()
        self._parts, self._device = parts, device
        self._order = _Order()
        self._loader: DataLoader[Batch] = DataLoader(
            _Files(parts, resolution, skip),
            sampler=self._order,
            batch_size=None,  # an element of the order is a whole batch
            num_workers=workers,
            # Forked, workers share the listing and the imports; none of them touches a GPU.
            multiprocessing_context="fork" if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=_begin_worker,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # it draws a seed for workers, which nothing here uses
        )
        statistics = torch.tensor([MEAN, DEVIATION], device=device) * 255
        self._mean, self._deviation = statistics.view(2, 3, 1, 1)

    def size(self, split: Split) -> int:
        return len(self._parts[split].chosen)

    def batches(
        self, split: Split, indices: Iterable[Tensor], key: tuple[int, int] | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        self._order.batches = (Examples(split, chosen.numpy(), key) for chosen in indices)
        started = time.perf_counter()
        for batch in self._loader:
            if key is not None:
                self.waited += time.perf_counter() - started
            if batch.damaged:
                self._report(batch)
            pixels = batch.pixels.to(self._device, non_blocking=True).float()
            inputs = pixels.sub_(self._mean).div_(self._deviation)
            yield inputs, batch.labels.to(self._device, non_blocking=True)
            started = time.perf_counter()

    def _report(self, batch: Batch) -> None:
        """Raises UserError where nothing took the place of a damaged file."""
        if batch.incomplete:
            raise UserError(
                f"damaged image: {batch.damaged[-1]}\n  mend or remove it, or have the next one "
                "take its place: data.on_damage=skip"
            )
        for message in sorted(set(batch.damaged) - self.damaged):
            warnings.warn(f"damaged image, replaced by the next one: {message}", stacklevel=3)
            self.damaged.add(message)


class _Order:
    """Iterates over what was set last, so that worker processes outlive an epoch."""

    batches: Iterator[Examples] = iter(())

    def __iter__(self) -> Iterator[Examples]:
        return self.batches


class _Files(Dataset[Batch]):
    """Runs in the workers: decodes and augments."""

    def __init__(self, parts: Mapping[Split, Part], resolution: int, skip: bool) -> None:
        self._parts, self._resolution, self._skip = parts, resolution, skip
        self._augment = v2.Compose([v2.RandomResizedCrop(resolution), v2.RandomHorizontalFlip()])
        self._centre = v2.Compose([v2.Resize(resolution * 8 // 7), v2.CenterCrop(resolution)])

    def __getitem__(self, wanted: Examples) -> Batch:
        split, indices, key = wanted
        side, damaged = self._resolution, list[str]()
        pixels = torch.zeros(len(indices), side, side, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
        labels = torch.zeros(len(indices), dtype=torch.int64)
        seeds = None if key is None else draws(*key, indices)
        incomplete = False
        for place, index in enumerate(indices):
            image, labels[place] = self._image(self._parts[split], int(index), damaged)
            if image is None:
                incomplete = True
            else:
                seed = None if seeds is None else int(seeds[place])
                pixels[place] = self._transformed(image, seed)
        return Batch(pixels, labels, damaged, incomplete)

    def _image(self, part: Part, index: int, damaged: list[str]) -> tuple[Tensor | None, int]:
        """The image at ``index``, or that which takes its place, and its label.

        Adds to ``damaged``. None for no image: where damage is not to be skipped, or no end of it
        is found.
        """
        for step in range(MOST_REPLACEMENTS if self._skip else 1):
            place = part.chosen[(index + step) % len(part.chosen)]
            path = os.path.join(os.fsencode(part.folder), part.files.names[place])
            try:
                return read_image(path), int(part.files.labels[place])
            except Damaged as error:
                damaged.append(str(error))
        return None, 0

    def _transformed(self, image: Tensor, seed: int | None) -> Tensor:
        """(3, resolution, resolution) bytes: the centre for None."""
        if seed is None:
            centre: Tensor = self._centre(image)
            return centre
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.default_generator.manual_seed(seed)
            augmented: Tensor = self._augment(image)
            return augmented


def _begin_worker(_: int) -> None:
    """Slurm signals every process of a step, but only ranks may act."""
    ignore_signals()


def default_workers(asked: int | None) -> int:
    """Worker processes: as many as asked for, or one less than this rank's cores, for training
    has one itself; never more than its cores, and by default at least one."""
    cores = len(os.sched_getaffinity(0))
    if "SLURM_CPUS_PER_TASK" in os.environ:
        cores = min(cores, int(os.environ["SLURM_CPUS_PER_TASK"]))
    else:
        cores = max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return max(1, cores - 1) if asked is None else min(asked, cores)
