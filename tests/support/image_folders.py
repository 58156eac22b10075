"""Small folders of images in ImageNet's layout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(
    root: Path, classes: int = 3, train: int = 12, val: int = 4, side: int = 40
) -> Path:
    """``train`` and ``val`` images of each class, JPEG, of several shapes; a class is a colour
    with noise on it. The folders look as if they had not changed for a minute."""
    draw = np.random.default_rng(0)
    colours = draw.integers(40, 216, size=(classes, 3))
    for folder, count in (("train", train), ("val", val)):
        for number in range(classes):
            place = root / folder / f"n{number:08d}"
            place.mkdir(parents=True)
            for i in range(count):
                noise = draw.normal(0, 20, size=(side + i % 3, side + 5 * (i % 2), 3))
                pixels = np.clip(colours[number] + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"n{number:08d}_{i}.JPEG", quality=90)
            settle(place)
    return root


def settle(folder: Path) -> None:
    """As if nothing had changed in it for a minute."""
    changed = folder.stat().st_mtime - 60
    os.utime(folder, (changed, changed))
