"""Folders of images: listed once, recognised by names and sizes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from image_folders import settle, write_images

from lrscale.data import image_folder
from lrscale.data.image_folder import listing
from lrscale.errors import UserError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image_folder._listing.cache_clear()
    return write_images(tmp_path / "images")


def test_lists_what_torchvision_lists(root: Path) -> None:
    from torchvision.datasets import ImageFolder

    (root / "train" / "n00000001" / "notes.txt").write_text("no image")
    found = listing(root)
    for folder, files in (("train", found.train), ("val", found.val)):
        reference = ImageFolder(root / folder)
        assert list(found.classes) == reference.classes
        paths = [str(root / folder / name.decode()) for name in files.names.tolist()]
        assert list(zip(paths, files.labels.tolist(), strict=True)) == reference.samples
        assert files.sizes.tolist() == [os.path.getsize(path) for path in paths]
    assert found.fingerprint.startswith("36+12x3-")


def test_other_names_or_sizes_are_other_data(root: Path) -> None:
    seen = {listing(root).fingerprint}
    first = root / "train" / "n00000000" / "n00000000_0.JPEG"
    first.write_bytes(first.read_bytes() + b"\0")
    os.utime(first.parent)  # content overwritten in place: the person's to say
    seen.add(listing(root).fingerprint)
    first.rename(first.with_name("other.JPEG"))
    seen.add(listing(root).fingerprint)
    first.with_name("other.JPEG").unlink()
    seen.add(listing(root).fingerprint)
    (root / "val" / "n00000002" / "n00000002_3.JPEG").unlink()
    seen.add(listing(root).fingerprint)
    assert len(seen) == 5


def test_the_place_makes_no_difference(root: Path, tmp_path: Path) -> None:
    assert listing(root).fingerprint == listing(write_images(tmp_path / "copy")).fingerprint


def scans(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders scanned from here on, as if by a new process each time."""
    scanned: list[Path] = []
    scan = image_folder._scan

    def watched(root: Path):  # type: ignore[no-untyped-def]
        scanned.append(root)
        return scan(root)

    monkeypatch.setattr(image_folder, "_scan", watched)
    monkeypatch.setattr(image_folder, "_listing", image_folder._listing.__wrapped__)
    return scanned


def test_listed_once_until_a_folder_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = scans(monkeypatch)
    before = listing(root)
    again = listing(root)
    assert scanned == [root]
    assert again.fingerprint == before.fingerprint
    np.testing.assert_array_equal(again.train.names, before.train.names)
    (root / "val" / "n00000001" / "n00000001_0.JPEG").unlink()
    assert listing(root).fingerprint != before.fingerprint
    assert len(scanned) == 2
    listing(root)
    assert len(scanned) == 3  # changed a moment ago: it may change again
    settle(root / "val" / "n00000001")
    listing(root)
    listing(root)
    assert len(scanned) == 4


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 truncated"])
def test_a_damaged_or_unwritable_cache_costs_time_only(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    scanned = scans(monkeypatch)
    before = listing(root)
    (kept,) = (tmp_path / "cache" / "lrscale" / "listings").iterdir()
    kept.write_bytes(content)
    assert listing(root).fingerprint == before.fingerprint
    assert len(scanned) == 2
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert listing(root).fingerprint == before.fingerprint


def test_a_class_without_images_is_named(root: Path) -> None:
    for folder in ("n00000003", "n00000004"):
        (root / "train" / folder).mkdir()
    with pytest.raises(UserError, match="no images in n00000003, n00000004; fill or remove"):
        listing(root)


def test_a_class_that_training_does_not_have_is_named(root: Path) -> None:
    (root / "val" / "n00000001").rename(root / "val" / "n00000009")
    with pytest.raises(UserError, match=r"n00000009 have no counterpart.*out of range"):
        listing(root)


def test_images_outside_of_class_folders(root: Path) -> None:
    picture = root / "val" / "n00000001" / "n00000001_0.JPEG"
    picture.rename(root / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UserError, match=r"outside of class folders \(ILSVRC2012_val_00000001"):
        listing(root)


def test_no_such_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected train/CLASS.*data\.root="):
        listing(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="no class folders"):
        listing(tmp_path)
