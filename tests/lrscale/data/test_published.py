"""MNIST and Fashion-MNIST as files in their published format, written by the tests."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from lrscale.config import decode
from lrscale.data.fashion_mnist import FashionMNIST
from lrscale.data.idx import FILES, read, titled
from lrscale.data.mnist import MNIST
from lrscale.errors import UserError

CPU = torch.device("cpu")


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write(folder: Path, train: int = 60, test: int = 20, zipped: bool = False) -> None:
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0).integers
    for (images, labels), n in zip((FILES[:2], FILES[2:]), (train, test), strict=True):
        contents = {images: draw(256, size=(n, 28, 28)), labels: np.arange(n) % 10}
        for name, array in contents.items():
            data = idx_bytes(array)
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("place", ["MNIST/raw", ""])
@pytest.mark.parametrize("zipped", [False, True])
def test_reads_where_torchvision_puts_it_and_elsewhere(
    tmp_path: Path, place: str, zipped: bool
) -> None:
    write(tmp_path / "data" / place, zipped=zipped)
    dataset = MNIST(root=str(tmp_path / "data"), validation=20)
    assert dataset.title == "MNIST (first 60 training images, first 20 test images)"
    source = dataset.open(CPU)
    assert [source.size(split) for split in ("train", "val", "test")] == [40, 20, 20]
    _, targets = next(source.batches("val", [torch.arange(20)], None))
    assert targets.bincount().tolist() == [2] * 10


def test_the_same_content_has_the_same_fingerprint(tmp_path: Path) -> None:
    for name, zipped in (("plain", False), ("zipped", True)):
        write(tmp_path / name, zipped=zipped)
    write(tmp_path / "other", test=19)
    found = [
        MNIST(root=str(tmp_path / name), validation=20).locate()
        for name in ("plain", "zipped", "other")
    ]
    assert found[0] == found[1] != found[2]
    assert found[0].startswith("60+20-")


def test_reads_the_pixels_that_torchvision_reads(tmp_path: Path) -> None:
    from torchvision.datasets import MNIST as Reference

    write(tmp_path / "MNIST" / "raw")
    reference = Reference(tmp_path, train=False)
    source = MNIST(root=str(tmp_path), validation=20, pixels="unit").open(CPU)
    inputs, targets = next(source.batches("test", [torch.arange(20)], None))
    assert torch.equal((inputs[:, 0] * 255).round().to(torch.uint8), reference.data)
    assert torch.equal(targets, reference.targets)


def test_standard_and_unit_pixels(tmp_path: Path) -> None:
    write(tmp_path / "raw")
    root = str(tmp_path / "raw")
    whole = [torch.arange(20)]
    unit, _ = next(
        MNIST(root=root, validation=20, pixels="unit").open(CPU).batches("test", whole, None)
    )
    standard, _ = next(MNIST(root=root, validation=20).open(CPU).batches("test", whole, None))
    assert (unit.min().item(), unit.max().item()) == (0, 1)
    torch.testing.assert_close(standard, (unit - 0.1307) / 0.3081)


def test_a_file_that_changes_in_place_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "raw")
    dataset = MNIST(root=str(tmp_path / "raw"), validation=20)
    before = dataset.locate()
    path = tmp_path / "raw" / FILES[0]
    data = bytearray(path.read_bytes())
    data[100] ^= 255
    path.write_bytes(bytes(data))
    os.utime(path, ns=(1, 1))
    assert dataset.locate() != before


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-1], "damaged: its header says 60 × 28 × 28"),
        (lambda data: b"<html>" + data, "not an idx file"),
        (lambda data: b"", "not an idx file"),
        (lambda data: data[:10], "not an idx file"),
    ],
)
def test_damaged_files_are_named(
    tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    write(tmp_path / "raw")
    path = tmp_path / "raw" / FILES[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=says) as caught:
        MNIST(root=str(tmp_path / "raw"), validation=20).locate()
    assert str(path) in str(caught.value)


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    write(tmp_path / "raw", zipped=True)
    path = tmp_path / "raw" / f"{FILES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read"):
        read(path)


def test_labels_out_of_range_and_of_another_length(tmp_path: Path) -> None:
    write(tmp_path / "raw")
    labels = tmp_path / "raw" / FILES[1]
    for wrong in (np.full(60, 10), np.zeros(59)):
        labels.write_bytes(idx_bytes(wrong))
        with pytest.raises(UserError, match="one label from 0 to 9 each"):
            MNIST(root=str(tmp_path / "raw"), validation=20).locate()


def test_validation_must_leave_something(tmp_path: Path) -> None:
    write(tmp_path / "raw")
    with pytest.raises(UserError, match=r"data\.validation: 5,000 of 60"):
        MNIST(root=str(tmp_path / "raw")).locate()


@pytest.mark.parametrize("dataset", [MNIST(variant="full"), MNIST(root="/nowhere")])
def test_not_found_says_where_it_looked_and_how_to_get_it(dataset: MNIST) -> None:
    with pytest.raises(UserError) as caught:
        dataset.locate()
    message = str(caught.value)
    assert "MNIST/raw" in message
    assert "data.root=" in message
    assert "data.download=true" in message


def test_fashion_is_looked_for_in_its_root_only_where_one_is_given(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Fashion-MNIST not found") as caught:
        FashionMNIST(root=str(tmp_path)).locate()
    assert "/usr/share" not in str(caught.value)
    write(tmp_path / "FashionMNIST" / "raw", train=50)
    dataset = FashionMNIST(root=str(tmp_path), validation=10)
    assert dataset.title == "Fashion-MNIST (first 50 training images, first 20 test images)"
    assert dataset.open(CPU).size("train") == 40


def test_titles_say_what_the_files_hold() -> None:
    assert titled("MNIST", "60000+10000-ab") == "MNIST (60,000 + 10,000 images)"
    shortened = "MNIST (60,000 training images, first 3,000 test images)"
    assert titled("MNIST", "60000+3000-ab") == shortened
    # a submitted configuration knows its title where the data is not at hand
    assert MNIST(variant="full", fingerprint="60000+3000-ab").title == shortened


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server with small files of MNIST's names, in the place of torchvision's mirrors."""
    from torchvision.datasets import MNIST as Reference

    write(tmp_path / "mirror", zipped=True)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        resources = [
            (
                f"{name}.gz",
                hashlib.md5((tmp_path / "mirror" / f"{name}.gz").read_bytes()).hexdigest(),
            )
            for name in FILES
        ]
        monkeypatch.setattr(Reference, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(Reference, "resources", resources)
        yield
        server.shutdown()


def test_download_fetches_once(tmp_path: Path, mirror: None) -> None:
    dataset = MNIST(download=True, validation=20)
    assert dataset.variant == "full"
    found = dataset.locate()
    assert found.startswith("60+20-")
    cached = tmp_path / "cache" / "lrscale" / "MNIST" / "raw"
    assert cached.is_dir()
    for path in (tmp_path / "mirror").iterdir():
        path.unlink()
    assert dataset.locate() == found
    assert MNIST(variant="full", validation=20).locate() == found  # found again without asking


def test_a_failed_download_is_the_persons_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import MNIST as Reference

    monkeypatch.setattr(Reference, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(UserError, match="could not be fetched"):
        MNIST(download=True, root=str(tmp_path)).locate()


def test_a_relative_root_means_the_same_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = decode({"workload": "mnist_mlp", "data": {"root": "files"}})
    assert config.data.root == str(tmp_path / "files")
    assert (config.data.variant, config.data.validation) == ("full", 5_000)
