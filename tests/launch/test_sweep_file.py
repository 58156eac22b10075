"""Includes: what is merged, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.sweep import expand, read
from lrscale.errors import UserError


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / f"{next(iter(files)).replace('__', '/')}.yaml"


def test_included_files_come_first_and_paths_are_relative_to_the_including_one(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        sweeps__main="include: [base/a.yaml, base/b.yaml]\nrun: {epochs: 1}\nseeds: 2",
        sweeps__base__a="include: ../../common.yaml\nrun: {epochs: 2, batch_size: 2}",
        sweeps__base__b="run: {optimizer: {name: adam}, batch_size: 3}\ngrid: {a: [1, 2]}",
        common="run: {epochs: 4, optimizer: {name: sgd, momentum: 0.9}, precision: no}\nseeds: 9",
    )
    sweep = read(path)
    assert "include" not in sweep.text
    runs = expand(sweep)
    assert len(runs) == 4
    assert runs[0].config == {
        "epochs": 1,
        "optimizer": {"name": "adam"},
        "precision": "no",
        "batch_size": 3,
        "a": 1,
        "seed": 0,
    }
    assert sweep.key_files["run.precision"] == str(tmp_path / "common.yaml")
    assert sweep.key_files["run.batch_size"] == str(tmp_path / "sweeps/base/b.yaml")


def test_a_file_takes_over_what_an_included_one_varies(tmp_path: Path) -> None:
    base = """
    grid: {a: [1, 2], b: [1, 2, 3]}
    zip: [{c: [1, 2], d: [3, 4]}]
    random: {trials: 5, sampler: sobol, space: {e: {uniform: [0, 1]}, f: {uniform: [0, 1]}}}
    arms: {x: {epochs: 1, grid: {g: [1]}}, y: {}}
    exclude: [{a: 1}]
    """
    path = write(
        tmp_path,
        main="""
        include: base.yaml
        grid: {b: [7], c: [8, 9]}
        random: {trials: 2, space: {f: {int: [1, 2]}}}
        arms: {x: {epochs: 2}, z: {}}
        exclude:
        """,
        base=base,
    )
    text = read(path).text
    assert text["grid"] == {"a": [1, 2], "b": [7], "c": [8, 9]}
    assert text["zip"] == [{"d": [3, 4]}]
    assert text["random"] == {
        "trials": 2,
        "sampler": "sobol",
        "space": {"e": {"uniform": [0, 1]}, "f": {"int": [1, 2]}},
    }
    assert text["arms"] == {"x": {"epochs": 2, "grid": {"g": [1]}}, "y": {}, "z": {}}
    assert "exclude" not in text
    path.write_text("include: base.yaml\ngrid:\nzip:\nrandom:\narms:\nexclude:")
    assert len(expand(read(path))) == 1


def test_a_cycle_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, a="include: b.yaml", b="include: [c.yaml]", c="include: a.yaml")
    with pytest.raises(UserError) as error:
        read(path)
    a, b, c = (str(tmp_path / f"{name}.yaml") for name in "abc")
    assert f"{a} → {b} → {c} → {a}" in str(error.value)


def test_the_same_file_twice_is_no_cycle(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        a="include: [b.yaml, c.yaml]",
        b="include: d.yaml",
        c="include: d.yaml",
        d="seeds: 2",
    )
    assert read(path).text == {"seeds": 2}


def test_doubling_includes_are_refused(tmp_path: Path) -> None:
    files = {f"f{i}": f"include: [f{i + 1}.yaml, f{i + 1}.yaml]" for i in range(30)}
    with pytest.raises(UserError, match="more than 100 files"):
        read(write(tmp_path, **files, f30="{}"))


@pytest.mark.parametrize(
    ("include", "says"),
    [
        ("nowhere.yaml", "nowhere.yaml: no such file (included by"),
        ("basis.yaml", "did you mean"),
        ("/etc/passwd", "write it relative to this file"),
        (".", "not a file"),
        ("[3]", "expected a file or a list of files"),
        (r'"a\0.yaml"', r"the control character '\x00'"),
        ("{a: 1}", "expected a file or a list of files"),
        ("big.yaml", "larger than 1 MiB"),
        ("latin.yaml", "not text in UTF-8"),
        ("broken.yaml", "broken.yaml:1: "),
        ("scalar.yaml", "scalar.yaml: expected a mapping"),
        ("typo.yaml", "typo.yaml: gird: unknown key: did you mean 'grid'?"),
    ],
)
def test_refused(include: str, says: str, tmp_path: Path) -> None:
    path = write(
        tmp_path, s=f"include: {include}", base="{}", broken="]\n", scalar="3", typo="gird:"
    )
    (tmp_path / "big.yaml").write_text("#" * (1 << 21))
    (tmp_path / "latin.yaml").write_bytes(b"notes: caf\xe9")
    with pytest.raises(UserError) as error:
        read(path)
    assert says in str(error.value)


@pytest.mark.parametrize("path", ["no.yaml", "", "\0", "."])
def test_a_sweep_that_is_not_there(path: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read(f"{tmp_path}/{path}")
