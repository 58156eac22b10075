"""Small images on the device: the crops and mirror images are torchvision's, and repeatable."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chisquare
from torchvision.transforms import v2

from lrscale.data.draws import draws
from lrscale.data.images import AugmentedImages, crops

CPU = torch.device("cpu")
MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
SIDE = 32


def images(count: int, side: int = SIDE) -> NDArray[np.uint8]:
    """No two pixels of an image are alike, so that a crop tells where it comes from."""
    pixels = np.arange(1, 1 + side * side)
    one = np.stack([pixels % 251, pixels // 251, np.full(side * side, 7)], axis=1)
    return np.stack([one.reshape(side, side, 3)] * count).astype(np.uint8)


def source(pictures: NDArray[np.uint8], augment: bool) -> AugmentedImages:
    labels = (np.arange(len(pictures)) % 10).astype(np.uint8)
    splits: Mapping[str, object] = dict.fromkeys(("train", "val", "test"), (pictures, labels))
    return AugmentedImages("some", splits, 10, CPU, MEAN, DEVIATION, augment)  # type: ignore[arg-type]


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """By torchvision: (…, 3, height, width) of bytes."""
    return v2.Normalize(MEAN, DEVIATION)(pixels.float() / 255)


def one_batch(of: AugmentedImages, indices: list[int], key: tuple[int, int] | None) -> torch.Tensor:
    ((inputs, targets),) = of.batches("train", [torch.tensor(indices)], key)
    assert targets.tolist() == [i % 10 for i in indices]
    return inputs


@pytest.mark.parametrize("augment", [False, True])
def test_evaluation_sees_the_image_itself(augment: bool) -> None:
    pictures = np.random.default_rng(0).integers(256, size=(5, 12, 10, 3), dtype=np.uint8)
    whole = source(pictures, augment)
    assert whole.input_shape == (3, 12, 10)
    expected = normalised(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    torch.testing.assert_close(one_batch(whole, [0, 1, 2, 3, 4], None), expected)
    if not augment:
        torch.testing.assert_close(one_batch(whole, [4, 0], (0, 0)), expected[[4, 0]])


def every_crop() -> torch.Tensor:
    """The 162 images that RandomCrop(32, padding=4) and RandomHorizontalFlip can make of one, by
    torchvision's own functions: (down, right, mirrored, 3, 32, 32)."""
    picture = torch.from_numpy(images(1)[0]).permute(2, 0, 1)
    padded = v2.functional.pad(picture, [4, 4, 4, 4])
    return torch.stack(
        [
            torch.stack(
                [
                    torch.stack([crop, v2.functional.horizontal_flip(crop)])
                    for right in range(9)
                    for crop in [v2.functional.crop(padded, down, right, SIDE, SIDE)]
                ]
            )
            for down in range(9)
        ]
    )


def test_the_set_of_augmented_images_is_torchvisions() -> None:
    possible = normalised(every_crop().flatten(0, 2))
    epochs = [one_batch(source(images(200), True), list(range(200)), (0, e)) for e in range(20)]
    seen = torch.cat(epochs)
    which = torch.cdist(seen.flatten(1), possible.flatten(1)).min(dim=1)
    assert which.values.max() < 0.05  # each is one of them (cdist rounds)
    assert which.indices.unique().numel() == 162  # and all occur


def test_the_distribution_is_uniform_over_crops_and_flips() -> None:
    count = 162_000
    down, right, mirrored = crops((3, 5), count)
    cells = np.bincount((down * 9 + right) * 2 + mirrored, minlength=162)
    assert chisquare(cells).pvalue > 1e-3
    following = crops((3, 6), count)
    pairs = np.bincount(down * 9 + following[0], minlength=81)  # from one epoch to the next
    assert chisquare(pairs).pvalue > 1e-3
    neighbours = np.bincount(right[:-1] * 9 + right[1:], minlength=81)  # and example to example
    assert chisquare(neighbours).pvalue > 1e-3


def test_torchvision_draws_from_the_same_set_evenly() -> None:
    """The reference itself: crops of its RandomCrop and flips, counted."""
    torch.manual_seed(0)
    transform = v2.Compose([v2.RandomCrop(SIDE, padding=4), v2.RandomHorizontalFlip()])
    picture = torch.from_numpy(images(1)[0]).permute(2, 0, 1)
    known = {bytes(crop.numpy()): i for i, crop in enumerate(every_crop().flatten(0, 2))}
    counts = np.bincount([known[bytes(transform(picture).numpy())] for _ in range(3240)])
    assert len(counts) == 162
    assert chisquare(counts).pvalue > 1e-3


def test_augmentation_is_a_function_of_seed_epoch_and_index() -> None:
    pictures = images(64)
    whole = one_batch(source(pictures, True), list(range(64)), (7, 3))
    again = source(pictures, True)
    for part in ([63, 5], [5], list(range(10, 30))):  # in other batches, another order
        assert torch.equal(one_batch(again, part, (7, 3)), whole[part])
    for other in ((8, 3), (7, 4)):
        changed = one_batch(again, list(range(64)), other)
        assert (changed != whole).flatten(1).any(dim=1).float().mean() > 0.9


def test_batches_are_channels_last_and_do_not_alias() -> None:
    held = source(images(8), True)
    inputs = one_batch(held, [0, 1], None)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    expected = inputs.clone()
    inputs.zero_()
    assert torch.equal(one_batch(held, [0, 1], None), expected)


def test_draws_are_well_mixed() -> None:
    """Neighbouring seeds, epochs and indices have nothing in common."""
    keys = [(s, e, i) for s in range(8) for e in range(8) for i in range(64)]
    values = np.array([draws(s, e, np.array([i]))[0] for s, e, i in keys])
    assert len(set(values.tolist())) == len(keys)
    bits = (values[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.05
    assert len({draws(s, 0, np.array([0]))[0] for s in (0, 1, 2**31, 2**63)}) == 4
