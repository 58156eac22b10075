"""CIFAR-10 in files of its published format, written by the tests."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lrscale.config import decode, identity
from lrscale.data.cifar10 import CIFAR10, FOLDER, TEST, TRAIN, read_batch, titled
from lrscale.errors import UserError

CPU = torch.device("cpu")
EACH = 40  # images of a training file


def batch(path: Path, count: int, seed: int, labels: list[int] | None = None) -> None:
    pixels = np.random.default_rng(seed).integers(256, size=(count, 3072), dtype=np.uint8)
    content = {
        "batch_label": "one of them",
        "labels": labels or [i % 10 for i in range(count)],
        "data": pixels,
        "filenames": [f"{i}.png" for i in range(count)],
    }
    path.write_bytes(pickle.dumps(content, protocol=2))


def write(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for seed, name in enumerate(TRAIN):
        batch(folder / name, EACH, seed)
    batch(folder / TEST, 30, 9)
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path / FOLDER)
    return tmp_path


def dataset(root: Path, **more: Any) -> CIFAR10:
    return CIFAR10(root=str(root), **{"validation": 50, "augment": False, **more})


@pytest.mark.parametrize("inside", [False, True])
def test_splits_sizes_and_title(root: Path, inside: bool) -> None:
    found = dataset(root / FOLDER if inside else root)
    assert found.title == "CIFAR-10, incomplete (200 training images, 30 test images)"
    assert found.locate().startswith("200+30-")
    source = found.open(CPU)
    assert [source.size(split) for split in ("train", "val", "test")] == [150, 50, 30]
    assert source.input_shape == (3, 32, 32)
    _, targets = next(source.batches("val", [torch.arange(50)], None))
    assert targets.bincount().tolist() == [5] * 10


def test_the_published_sizes_have_the_published_name() -> None:
    assert titled("50000+10000-ab") == "CIFAR-10 (50,000 + 10,000 images)"
    assert CIFAR10(fingerprint="50000+10000-ab").title == "CIFAR-10 (50,000 + 10,000 images)"


def test_reads_the_pixels_that_torchvision_reads(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10 as Reference
    from torchvision.transforms import v2

    monkeypatch.setattr(Reference, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *a: True)
    meta = {"label_names": list("abcdefghij")}
    (root / FOLDER / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    reference = Reference(root, train=False)
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ]
    )
    inputs, targets = next(dataset(root).open(CPU).batches("test", [torch.arange(30)], None))
    expected = torch.stack([transform(image) for image, _ in reference])
    torch.testing.assert_close(inputs, expected, rtol=0, atol=1e-5)
    assert targets.tolist() == reference.targets


def test_training_images_are_augmented_where_asked_to(root: Path) -> None:
    whole = [torch.arange(150)]
    plain, augmented = dataset(root).open(CPU), dataset(root, augment=True).open(CPU)
    (one, _), (other, _) = (next(s.batches("train", whole, (0, 0))) for s in (plain, augmented))
    assert not torch.equal(one, other)
    for split in ("train", "val", "test"):  # evaluation sees the same in both
        (one, _), (other, _) = (
            next(s.batches(split, [torch.arange(30)], None)) for s in (plain, augmented)
        )
        assert torch.equal(one, other)


def test_augmentation_is_part_of_the_identity_and_the_place_is_not(root: Path) -> None:
    def identified(**data: Any) -> str:
        return identity(decode({"workload": "cifar10_resnet20", "data": data}))

    assert identified() != identified(augment=False)
    assert identified() == identified(root=str(root), download=True, on_damage="skip")


def test_a_file_of_python_2_and_numpy_1_is_read(root: Path) -> None:
    """As the published ones are: strings of bytes, and numpy.core for numpy._core."""
    path = root / FOLDER / TEST
    expected = read_batch(path)
    content = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in content
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_batch(path)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


class Payload:
    def __reduce__(self) -> Any:
        return os.system, ("touch payload-was-run",)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "missing":
        path.unlink()
    elif how == "other":
        path.write_bytes(pickle.dumps([1, 2, 3]))
    elif how == "code":
        path.write_bytes(pickle.dumps({"data": Payload(), "labels": []}))
    elif how == "labels":
        batch(path, EACH, 0, labels=[10] * EACH)
    elif how == "shape":
        batch(path, EACH, 0, labels=[1] * (EACH - 1))


DAMAGE = ["truncated", "empty", "missing", "other", "code", "labels", "shape"]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_named_and_stops(root: Path, how: str) -> None:
    path = root / FOLDER / "data_batch_3"
    damage(path, how)
    with pytest.raises(UserError, match=r"data\.on_damage=skip") as caught:
        dataset(root).locate()
    assert str(path) in str(caught.value)
    assert "data_batch_2" not in str(caught.value)
    assert not Path("payload-was-run").exists()
    if how == "labels":
        assert "labels from 10 to 10 are not 0 to 9" in str(caught.value)


@pytest.mark.parametrize("how", DAMAGE)
def test_or_is_left_out_where_that_was_asked_for(root: Path, how: str) -> None:
    before = dataset(root).locate()
    damage(root / FOLDER / "data_batch_3", how)
    skipping = dataset(root, on_damage="skip")
    with pytest.warns(UserWarning, match=r"1 of 5 files left out:\n.*data_batch_3"):
        source = skipping.open(CPU)
    assert source.size("train") == 4 * EACH - 50
    assert source.title == "CIFAR-10, incomplete (160 training images, 30 test images)"
    (message,) = source.damaged  # type: ignore[attr-defined]
    assert message.startswith(str(root / FOLDER / "data_batch_3"))
    with pytest.warns(UserWarning, match="left out"):
        assert skipping.locate() not in (before, "")


def test_the_test_images_are_never_left_out(root: Path) -> None:
    damage(root / FOLDER / TEST, "truncated")
    with pytest.raises(UserError, match=TEST):
        dataset(root, on_damage="skip").locate()


def test_other_data_than_was_submitted_is_refused(root: Path) -> None:
    submitted = dataset(root, fingerprint=dataset(root).locate())
    batch(root / FOLDER / TRAIN[0], EACH, seed=77)
    with pytest.raises(UserError, match="submitted with data of fingerprint"):
        submitted.open(CPU)


def test_not_found_says_where_it_looked_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        CIFAR10(root=str(tmp_path)).locate()
    for part in (str(tmp_path / FOLDER), "data.root=", "data.download=true"):
        assert part in str(caught.value)


def test_validation_must_leave_something(root: Path) -> None:
    with pytest.raises(UserError, match=r"data\.validation: 5,000 of 200"):
        CIFAR10(root=str(root)).locate()
