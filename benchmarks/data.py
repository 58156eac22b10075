"""Augmented CIFAR-10 batches from memory, beside torchvision's transforms in a DataLoader.

    python benchmarks/data.py [--json] [--repeats 5] [--images 10000]

Both crop after padding by four pixels, mirror and normalise the same images of 32 × 32, in
batches of 128, on the CPU. The DataLoader has as many workers as the machine has cores (they
outlive an epoch, so that their start is not counted); ours has one thread, in the process that
trains. Repeats are interleaved and the median of the ratios of neighbours counts. Beside it, for
images in files: how many JPEGs a core decodes, crops and resizes, by torchcodec and by PIL.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from operator import truediv
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import v2

from benchmarks._common import Result, parser, report
from lrscale.data import _decode
from lrscale.data.cifar10 import DEVIATION, MEAN
from lrscale.data.images import AugmentedImages

TARGET = 10
BATCH = 128


class Transformed(Dataset[tuple[Tensor, int]]):
    """As a training script in torchvision's style has it: an image at a time."""

    def __init__(self, images: np.ndarray[Any, Any]) -> None:
        self.images = images
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, DEVIATION),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), index % 10


def ours(images: np.ndarray[Any, Any]) -> Callable[[], float]:
    """Images per second of a pass over all."""
    labels = (np.arange(len(images)) % 10).astype(np.uint8)
    splits: Any = {"train": (images, labels)}
    device = torch.device("cpu")
    source = AugmentedImages("benchmark", splits, 10, device, MEAN, DEVIATION, augment=True)

    def epoch() -> float:
        start = time.perf_counter()
        order = torch.randperm(len(images))[: len(images) // BATCH * BATCH].view(-1, BATCH)
        for _ in source.batches("train", iter(order), (0, 0)):
            pass
        return order.numel() / (time.perf_counter() - start)

    return epoch


def theirs(images: np.ndarray[Any, Any], workers: int) -> Callable[[], float]:
    loader = DataLoader(
        Transformed(images),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
    )

    def epoch() -> float:
        start = time.perf_counter()
        seen = sum(len(inputs) for inputs, _ in loader)
        return seen / (time.perf_counter() - start)

    return epoch


def by_processor_time(images: np.ndarray[Any, Any], epoch: Callable[[], float]) -> float:
    """The ratio if the cores had nothing else to do: images per second of processor time, ours of
    one core, against torchvision's transforms on all cores, without anything that a DataLoader
    adds."""
    dataset, few = Transformed(images), min(2_000, len(images))
    start = time.process_time()
    for index in range(few):
        dataset[index]
    theirs = few / (time.process_time() - start) * len(os.sched_getaffinity(0))
    start = time.process_time()
    epoch()
    return len(images) // BATCH * BATCH / (time.process_time() - start) / theirs


def decoded_per_second() -> dict[str, float]:
    """JPEGs of 500 × 375, the usual size in ImageNet, to crops of 224 × 224, on one core."""
    smooth = np.random.default_rng(0).integers(256, size=(38, 50, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(smooth).resize((500, 375), Image.Resampling.BICUBIC).save(file, format="JPEG")
    crop = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip()])
    rates = {}
    for name, decode in (("torchcodec", _decode._decode), ("PIL", _decode._decode_by_pil)):
        took = []
        for _ in range(60):
            start = time.process_time()
            crop(decode(file.getvalue()))
            took.append(time.process_time() - start)
        rates[f"{name}: JPEGs to 224 × 224, a second and core"] = 1 / statistics.median(took)
    return rates


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--repeats", type=int, default=5, help="of each")
    arguments.add_argument("--images", type=int, default=10_000)
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    shape = (chosen.images, 32, 32, 3)
    images = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    workers = len(os.sched_getaffinity(0))
    epochs = {"lrscale": ours(images), "torchvision": theirs(images, workers)}
    rates: dict[str, list[float]] = {name: [] for name in epochs}
    for repeat in range(-1, chosen.repeats):
        for name, epoch in epochs.items():
            rate = epoch()
            if repeat >= 0:  # the first round warms up
                rates[name].append(rate)
    ratio = statistics.median(map(truediv, rates["lrscale"], rates["torchvision"]))
    details: dict[str, Any] = {
        "lrscale, one thread, images/s": statistics.median(rates["lrscale"]),
        f"torchvision, {workers} workers, images/s": statistics.median(rates["torchvision"]),
        "ratio by processor time": by_processor_time(images, epochs["lrscale"]),
        **decoded_per_second(),
    }
    report(
        [Result("augmented images / torchvision", ratio, TARGET, "×", details, True)], chosen.json
    )


if __name__ == "__main__":
    main()
