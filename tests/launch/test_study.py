"""The command, on real runs: what is missing is run, and the page says what came of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launch import study
from lrscale.store import Store

SWEEP = """
name: small
run: {workload: digits_mlp, epochs: 1}
arms:
  slow: {optimizer: {name: sgd, lr: 0.0001}}
  fast: {optimizer: {name: sgd, lr: 0.1}}
seeds: 2
compare: {baseline: slow}
minutes_per_run: 0.01
resources: {gpus_per_node: 0}
"""
STUDY = """
title: Fast and slow
intro: "{{ count('small') }} runs, of {{ mean('small', '`config.epochs`', digits=2) }} epoch each."
sweeps: {small: [SWEEP]}
claims:
  - says: a higher rate learns more
    source: everybody
    sweep: small
    check: difference
    arms: {fast: slow}
sections:
  - title: Both
    tables: [{kind: best, sweep: small}, {kind: differences, sweep: small}]
    figures: {small/curves: learning curves}
  - title: What others have
    tables:
      - kind: published
        rows: [{what: ours, published: "99", source: us, sweep: small, arm: fast, about: digits}]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SWEEP)
    file = tmp_path / "speed.yaml"
    file.write_text(STUDY.replace("SWEEP", str(tmp_path / "small.yaml")))
    return file


def test_from_nothing_to_the_page(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(path.parent / "runs")
    arguments = [str(path), "--runs", str(store.root), "--backend", "local"]
    assert study.main(arguments) == 0
    page = path.with_suffix(".md").read_text()
    assert "4 runs, of 1 epoch each." in page
    assert re.search(
        r"\| a higher rate learns more \(everybody\) \| \*\*supported\*\* \| fast \+", page
    )
    assert re.search(r"\| fast \| 2 \| \d\d\.\d\d ± ", page)
    assert re.search(r"\| ours \| 99 \| us \| \d\d\.\d\d ± .*, 2 seeds\) \|", page)
    for file in re.findall(r"\]\((speed/[^)]*)\)", page):
        assert (path.parent / file).stat().st_size > 0
    assert {"speed/small.csv", "speed/small_curves.png"} <= set(re.findall(r"speed/[^)]*", page))
    # Once more: nothing to run, and the same page; without the store too.
    capsys.readouterr()
    assert study.main(arguments) == 0
    assert "submit" not in capsys.readouterr().out
    assert path.with_suffix(".md").read_text() == page
    path.with_suffix(".md").unlink()
    assert study.main([str(path), "--page", "--runs", str(path.parent / "none")]) == 0
    assert path.with_suffix(".md").read_text() == page
    path.write_text(path.read_text().replace("small/curves", "small/curvs"))
    assert study.main(arguments) == 2
    assert "no figure 'curvs': did you mean 'curves'?" in capsys.readouterr().err


def test_a_sweep_that_needs_data_is_left_as_it_ships(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(path.read_text().replace("small.yaml]", "small.yaml data.root=DIR]"))
    path.write_text(re.sub(r"sections:.*", "sections: []", path.read_text(), flags=re.DOTALL))
    path.write_text(re.sub(r"intro:.*\n", "", path.read_text()))
    store = Store(path.parent / "runs")
    assert study.main([str(path), "--runs", str(store.root)]) == 0
    assert "small: needs --data DIR" in capsys.readouterr().out
    page = path.with_suffix(".md").read_text()
    assert f"launch/study.py {path} --data DIR\n" in page
    assert "| **not shown**: these runs have not been made | – |" in page
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("check: difference", "check: differenc", "claims.0.check"),
        ("count('small')", "count('smal')", "the text needs the runs of smal"),
        ("arm: fast", "arm: fats", "no arm 'fats'"),
        ("title: Fast", "title: [", "speed.yaml"),
        ("small.yaml]", "small.yaml --quik]", "unrecognized arguments: --quik"),
        ("small.yaml]", "small.yaml 'x]", "No closing quotation"),
    ],
)
def test_mistakes_in_a_study_file(
    path: Path, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(path.read_text().replace(old, new))
    assert study.main([str(path), "--page"]) == 2
    assert message in capsys.readouterr().err
