"""Images in files: decoded, augmented by counters, in any number of processes."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from image_folders import settle, write_images
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from lrscale.config import decode, identity
from lrscale.data import _decode, _loader
from lrscale.data._decode import Damaged, read_image
from lrscale.data.draws import draws
from lrscale.data.imagenet import ImageNet, titled
from lrscale.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def dataset(root: Path, **more: Any) -> ImageNet:
    return ImageNet(root=str(root), **{"validation": 6, "resolution": 16, "workers": 0, **more})


def one_batch(source: Any, split: str, indices: list[int], key: Any = None) -> Any:
    ((inputs, targets),) = source.batches(split, [torch.tensor(indices)], key)
    return inputs, targets


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    return v2.Normalize(_loader.MEAN, _loader.DEVIATION)(pixels.float() / 255)


# The dataset ------------------------------------------------------------------------------------


def test_splits_and_title(intact: Path) -> None:
    found = dataset(intact)
    assert found.title == "image folder (36 + 12 images, 3 classes), not ImageNet"
    source = found.open(CPU)
    assert (source.input_shape, source.classes) == ((3, 16, 16), 3)
    assert [source.size(split) for split in ("train", "val", "test")] == [30, 6, 12]
    for split, each in (("train", 10), ("val", 2), ("test", 4)):
        _, targets = one_batch(source, split, list(range(source.size(split))))
        assert targets.bincount().tolist() == [each] * 3


def test_imagenet_itself() -> None:
    assert titled("1281167+50000x1000-ab") == "ImageNet (1,281,167 + 50,000 images)"
    assert ImageNet()._held_out(1_281_167) == 25_000


def test_places_and_processes_are_no_part_of_the_identity(intact: Path) -> None:
    def identified(**data: Any) -> str:
        return identity(decode({"workload": "imagenet_resnet18", "data": data}))

    elsewhere = {"root": str(intact), "stage": "$TMPDIR", "workers": 3, "on_damage": "skip"}
    assert identified(**elsewhere) == identified()
    assert identified(resolution=64) != identified()


def test_validation_must_leave_something(intact: Path) -> None:
    with pytest.raises(UserError, match=r"data\.validation: 36 of 36"):
        dataset(intact, validation=36).locate()


# Decoding ---------------------------------------------------------------------------------------


def encoded(mode: str, kind: str, **how: Any) -> bytes:
    pixels = np.random.default_rng(1).integers(256, size=(31, 45, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format=kind, **how)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    return encoded("RGB", "JPEG", exif=exif)


IMAGES = {
    "jpeg": encoded("RGB", "JPEG"),
    "no subsampling": encoded("RGB", "JPEG", subsampling=0),
    "progressive": encoded("RGB", "JPEG", progressive=True),
    "grey": encoded("L", "JPEG"),
    "cmyk": encoded("CMYK", "JPEG"),
    "turned": turned(),
    "png": encoded("RGB", "PNG"),
    "palette": encoded("P", "PNG"),
    "webp": encoded("RGB", "WEBP"),
    "gif": encoded("P", "GIF"),
    "bmp, which torchcodec does not know": encoded("RGB", "BMP"),
}


@pytest.fixture
def without_torchcodec(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    _decode.torchcodec_decoder.cache_clear()
    yield
    _decode.torchcodec_decoder.cache_clear()


@pytest.mark.parametrize("content", IMAGES.values(), ids=IMAGES)
def test_pil_gives_the_same_pixels(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    if content[:2] != b"BM":
        pytest.importorskip("torchcodec")
    pixels = read_image(str(path))
    assert pixels.shape == ((3, 45, 31) if content is IMAGES["turned"] else (3, 31, 45))
    assert torch.equal(pixels, _decode._decode_by_pil(content))


def test_without_torchcodec_pil_decodes_and_that_is_said_once(
    intact: Path, without_torchcodec: None
) -> None:
    with pytest.warns(UserWarning, match="torchcodec cannot be loaded") as caught:
        source = dataset(intact).open(CPU)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, _ = one_batch(source, "test", list(range(12)))
        dataset(intact).open(CPU)
    _decode.torchcodec_decoder.cache_clear()
    expected, _ = one_batch(dataset(intact).open(CPU), "test", list(range(12)))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("pil", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>not found</html>",
        IMAGES["jpeg"][:300],
        IMAGES["jpeg"][:-20],
        IMAGES["png"][:99],
    ],
)
def test_what_cannot_be_decoded_is_named(
    tmp_path: Path, content: bytes, pil: bool, request: pytest.FixtureRequest
) -> None:
    if pil:
        request.getfixturevalue("without_torchcodec")
    path = tmp_path / "n1_1.JPEG"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Damaged, match=r"n1_1\.JPEG: ") as caught:
            read_image(os.fsencode(path))
    assert " at 0x" not in str(caught.value)  # the same in every process: a file counts once
    with pytest.raises(Damaged, match="No such file"):
        read_image("/nowhere/n2.JPEG")


# Batches ----------------------------------------------------------------------------------------


def test_evaluation_is_torchvisions_resize_and_centre_crop(intact: Path) -> None:
    reference = ImageFolder(intact / "val")
    transform = v2.Compose([v2.PILToTensor(), v2.Resize(18), v2.CenterCrop(16)])
    expected = torch.stack([transform(image) for image, _ in reference])
    inputs, targets = one_batch(dataset(intact).open(CPU), "test", list(range(12)))
    torch.testing.assert_close(inputs, normalised(expected), rtol=0, atol=1e-5)
    assert targets.tolist() == reference.targets
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_training_is_torchvisions_crop_and_flip_seeded_by_counters(intact: Path) -> None:
    source = dataset(intact).open(CPU)
    part = source._parts["train"]  # type: ignore[attr-defined]
    transform = v2.Compose([v2.RandomResizedCrop(16), v2.RandomHorizontalFlip()])
    indices = [29, 3, 3, 17]
    inputs, targets = one_batch(source, "train", indices, (5, 2))
    for index, found, label in zip(indices, inputs, targets, strict=True):
        image = read_image(os.path.join(part.folder, part.files.names[part.chosen[index]].decode()))
        torch.manual_seed(int(draws(5, 2, np.array([index]))[0]))
        torch.testing.assert_close(found, normalised(transform(image)), rtol=0, atol=1e-5)
        assert label == part.files.labels[part.chosen[index]]


@pytest.fixture(scope="module")
def in_workers(intact: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(_loader, "default_workers", lambda asked: 2)
        return dataset(intact).open(CPU)


def test_any_number_of_workers_gives_the_same(intact: Path, in_workers: Any) -> None:
    alone = dataset(intact).open(CPU)
    for split, key in (("train", (0, 0)), ("val", None), ("train", (0, 1)), ("test", None)):
        indices = torch.randperm(alone.size(split)).split(4)  # type: ignore[arg-type]
        ours, theirs = (list(s.batches(split, indices, key)) for s in (alone, in_workers))
        assert len(ours) == len(theirs) == len(indices)
        for (one, labels), (other, others) in zip(ours, theirs, strict=True):
            assert torch.equal(one, other)
            assert torch.equal(labels, others)


def test_augmentation_is_a_function_of_seed_epoch_and_index(in_workers: Any) -> None:
    whole, _ = one_batch(in_workers, "train", list(range(30)), (7, 3))
    part, _ = one_batch(in_workers, "train", [20, 4], (7, 3))
    assert torch.equal(part, whole[[20, 4]])
    for other in ((8, 3), (7, 4)):
        changed, _ = one_batch(in_workers, "train", list(range(30)), other)
        assert (changed != whole).flatten(1).any(dim=1).all()


def test_an_order_that_is_given_up_leaves_nothing_behind(in_workers: Any) -> None:
    orders = [
        [torch.tensor([i]) for i in range(12)],
        [torch.tensor([i]) for i in range(11, -1, -1)],
    ]
    abandoned = in_workers.batches("test", orders[0], None)
    next(abandoned)
    labels = [targets.item() for _, targets in in_workers.batches("test", orders[1], None)]
    assert labels == [2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_leave_the_global_generator_alone(
    intact: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout draws from it: a draw for starting workers would come at a resume too."""
    monkeypatch.setattr(_loader, "default_workers", lambda asked: workers)
    before = torch.get_rng_state()
    one_batch(dataset(intact).open(CPU), "train", [0, 1], (0, 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_waiting_is_counted_in_training_only(intact: Path) -> None:
    source = dataset(intact).open(CPU)
    one_batch(source, "test", [0])
    assert source.waited == 0  # type: ignore[attr-defined]
    one_batch(source, "train", [0], (0, 0))
    assert 0 < source.waited < 10  # type: ignore[attr-defined]


def test_workers_ignore_what_slurm_sends_to_all(in_workers: Any) -> None:
    batches = in_workers.batches("train", [torch.tensor([i]) for i in range(12)], (0, 0))
    next(batches)
    this = psutil.Process()
    workers = [child for child in this.children() if child.cmdline() == this.cmdline()]  # forked
    assert len(workers) == 2
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        for worker in workers:
            worker.send_signal(number)
    assert len(list(batches)) == 11


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        (None, {}, 7),
        (None, {"SLURM_CPUS_PER_TASK": "4"}, 3),
        (None, {"SLURM_CPUS_PER_TASK": "1"}, 1),
        (None, {"SLURM_CPUS_PER_TASK": "64"}, 7),
        (None, {"LOCAL_WORLD_SIZE": "4"}, 1),
        (3, {}, 3),
        (0, {}, 0),
        (100, {}, 8),
        (100, {"SLURM_CPUS_PER_TASK": "4", "LOCAL_WORLD_SIZE": "2"}, 4),
    ],
)
def test_workers_stay_within_the_cores(
    asked: int | None,
    environment: dict[str, str],
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _loader.default_workers(asked) == expected


# Damage -----------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    root = write_images(tmp_path / "damaged")
    for number in (1, 2):  # two in a row
        path = root / "val" / "n00000001" / f"n00000001_{number}.JPEG"
        path.write_bytes(path.read_bytes()[:200])
        settle(path.parent)
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_stops_and_names_the_file(
    damaged: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_loader, "default_workers", lambda asked: workers)
    source = dataset(damaged).open(CPU)
    one_batch(source, "test", [0, 1, 4])
    with pytest.raises(UserError, match=r"n00000001_1\.JPEG.*\n.*data\.on_damage=skip") as caught:
        one_batch(source, "test", [3, 5])
    assert "Traceback" not in str(caught.value)


def test_or_the_next_intact_one_takes_its_place(damaged: Path) -> None:
    source = dataset(damaged, on_damage="skip").open(CPU)
    with pytest.warns(UserWarning, match=r"replaced by the next one: .*n00000001_1"):
        inputs, targets = one_batch(source, "test", [5, 7])
    assert torch.equal(inputs[0], inputs[1])
    assert targets.tolist() == [1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_batch(source, "test", [5])  # said once
    assert {m.partition(": ")[0][-16:] for m in source.damaged} == {  # type: ignore[attr-defined]
        "n00000001_1.JPEG",
        "n00000001_2.JPEG",
    }


def test_a_split_that_is_all_damaged_ends_the_run(damaged: Path) -> None:
    for path in (damaged / "val").rglob("*.JPEG"):
        path.write_bytes(b"")
        settle(path.parent)
    with pytest.raises(UserError, match="damaged image"):
        one_batch(dataset(damaged, on_damage="skip").open(CPU), "test", [0])
