"""Data copied to the node's own disk."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from image_folders import write_images

from lrscale.data import stage
from lrscale.data.imagenet import ImageNet
from lrscale.data.stage import staged
from lrscale.errors import UserError

FILES = [("train/a/1.JPEG", 1000), ("train/b/2.JPEG", 2000), ("val/a/3.JPEG", 500)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number, (name, size) in enumerate(FILES):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * size)
    return tmp_path / "source"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "node"))
    return tmp_path / "node"


def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files copied from here on."""
    names: list[str] = []
    copy = shutil.copyfile

    def watched(one: Path, other: Path) -> None:
        names.append(Path(one).name)
        copy(one, other)

    monkeypatch.setattr(stage.shutil, "copyfile", watched)
    return names


def test_copies_everything_and_says_so(
    source: Path, node: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = staged(source, FILES, "$NODE_DISK/data", "images-12")
    assert target == node / "data" / "lrscale-images-12"
    for name, _ in FILES:
        assert (target / name).read_bytes() == (source / name).read_bytes()
    said = capfd.readouterr().err
    assert f"{target}: done in" in said


def test_copies_once(source: Path, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = copied(monkeypatch)
    for _ in range(2):
        staged(source, FILES, "${NODE_DISK}", "images-12")
    assert sorted(names) == ["1.JPEG", "2.JPEG", "3.JPEG"]
    staged(source, FILES, "$NODE_DISK", "images-13")  # other data, another folder
    assert len(names) == 6


def test_what_an_interrupted_copy_left_is_used(
    source: Path, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = (node / "lrscale-images-12" / name for name, _ in FILES[:2])
    for path, size in ((whole, 1000), (cut, 700)):
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(size))
    names = copied(monkeypatch)
    target = staged(source, FILES, "$NODE_DISK", "images-12")
    assert sorted(names) == ["2.JPEG", "3.JPEG"]
    assert (target / "train/b/2.JPEG").read_bytes() == bytes([1]) * 2000


def rank(source: Path, log: Path) -> None:
    copy = shutil.copyfile

    def logged(one: Path, other: Path) -> None:
        with log.open("a") as file:
            file.write(f"{Path(one).name}\n")
        copy(one, other)

    stage.shutil.copyfile = logged  # type: ignore[assignment]
    target = staged(source, FILES, "$NODE_DISK", "images-12")
    assert all((target / name).stat().st_size == size for name, size in FILES)


def test_ranks_of_a_node_copy_once(source: Path, node: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=rank, args=(source, tmp_path / "log")) for _ in range(4)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
    assert [process.exitcode for process in ranks] == [0] * 4
    assert sorted((tmp_path / "log").read_text().split()) == ["1.JPEG", "2.JPEG", "3.JPEG"]


def test_progress(
    source: Path, node: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage, "PROGRESS_SECONDS", 0.0)
    staged(source, FILES, "$NODE_DISK", "images-12")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 5
    assert all(" MB/s, " in line and " s left" in line for line in lines[1:-1])
    assert ": 100%, " in lines[-2]


def test_a_variable_that_is_not_set(source: Path) -> None:
    with pytest.raises(UserError, match=r"data\.stage: \$NO_SUCH_DISK is not set on "):
        staged(source, FILES, "$NO_SUCH_DISK/x", "images-12")


def test_too_little_room(source: Path, node: Path) -> None:
    with pytest.raises(UserError, match=r"GB free, and the data needs 1000000\.0 GB"):
        staged(source, [("train/a/1.JPEG", 10**15)], "$NODE_DISK", "images-12")


def test_a_file_that_went_missing_is_named(source: Path, node: Path) -> None:
    (source / "train/b/2.JPEG").unlink()
    with pytest.raises(UserError, match=r"2\.JPEG cannot be copied"):
        staged(source, FILES, "$NODE_DISK", "images-12")
    assert not (node / "lrscale-images-12" / ".complete").exists()


def test_a_folder_that_cannot_be_made(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"):
        staged(source, FILES, str(tmp_path / "file"), "images-12")


def test_images_are_read_from_the_copy(
    node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_images(tmp_path / "images")
    settings: dict[str, Any] = {"validation": 6, "resolution": 16, "workers": 0}
    at_home, copy = (
        ImageNet(root=str(root), stage=where, **settings) for where in (None, "$NODE_DISK")
    )
    expected, found = (list(d.open(torch.device("cpu")).batches("test", [torch.arange(12)], None))
                       for d in (at_home, copy))  # fmt: skip
    assert torch.equal(found[0][0], expected[0][0])
    (place,) = node.glob("lrscale-images-36+12x3-*/")
    part = copy.open(torch.device("cpu"))._parts["train"]  # type: ignore[attr-defined]
    assert part.folder == place / "train"
