"""Patches of photographs: honest splits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lrscale.data import photo_patches
from lrscale.data.arrays import three_way
from lrscale.data.photo_patches import PhotoPatches, patches
from lrscale.errors import UserError

CPU = torch.device("cpu")


def test_sizes_and_name() -> None:
    dataset = PhotoPatches()
    assert dataset.title.endswith("not CIFAR")
    source = dataset.open(CPU)
    assert source.input_shape == (3, 32, 32)
    assert [source.size(split) for split in ("train", "val", "test")] == [3510, 450, 900]
    for split, each in (("train", 351), ("val", 45), ("test", 90)):
        _, targets = next(source.batches(split, [torch.arange(source.size(split))], None))
        assert targets.bincount().tolist() == [each] * 10


def test_standardised_over_the_training_split() -> None:
    source = PhotoPatches(augment=False).open(CPU)
    inputs, _ = next(source.batches("train", [torch.arange(3510)], (0, 0)))
    assert inputs.mean(dim=(0, 2, 3)).abs().max() < 0.001
    assert (inputs.std(dim=(0, 2, 3)) - 1).abs().max() < 0.001


def test_splits_share_no_pixel_of_any_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the place of each pixel written in it."""

    def places(package: str, file: str) -> np.ndarray:
        which = photo_patches.PHOTOGRAPHS.index((package, file))
        down, right = np.mgrid[0:300, 0:451]
        return np.stack([np.full_like(down, which), down, right], axis=2)

    monkeypatch.setattr(photo_patches, "_photograph", places)
    splits = three_way(
        photo_patches._regions.__wrapped__(), photo_patches.VALIDATION, photo_patches.TEST
    )
    pixels = {}
    for split, regions in splits.items():
        cut, labels = patches(*regions)
        assert (cut[:, 0, 0, 0] == labels).all()
        assert cut.shape[1:] == (32, 32, 3)
        assert (np.diff(cut[..., 2], axis=2) == 1).all()  # each patch is one piece
        assert (np.diff(cut[..., 1], axis=1) == 1).all()
        pixels[split] = np.zeros((10, 300, 451), dtype=bool)
        pixels[split][tuple(np.moveaxis(cut, 3, 0))] = True
    for one, other in itertools.combinations(pixels.values(), 2):
        assert not (one & other).any()
    assert pixels["train"].sum() == 390 * 48 * 48


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"pip install 'lrscale\[demo\]'"):
        photo_patches._photograph("no_such_package_anywhere", "x.png")
    with pytest.raises(UserError, match=r"x\.png: cannot be read"):
        photo_patches._photograph("lrscale", "x.png")
