"""``--quick``: the sweep's own rules, before the command line; and a mark that stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.quick import described
from launch.sweep import Sweep, expand, read
from lrscale.errors import UserError

BASE = """
quick:
  fewer_epochs: {epochs: 3}
  small: {model: {width: 4}}
  one_core: {resources: {gpus_per_node: 0, mem_per_gpu: null}}
"""
TEXT = """
include: base.yaml
run: {workload: w, epochs: 90, model: {width: 512}, optimizer: {name: sgd, lr: 0.1}}
arms:
  sgd: {}
  adam: {optimizer: {name: adam}, epochs: 60, resources: {gpus_per_node: 8}}
grid: {optimizer.lr: [1, 2, 3]}
seeds: 3
resources: {gpus_per_node: 4, mem_per_gpu: 48G}
quick:
  fewer_epochs: {epochs: 2}
  fewer_runs: {seeds: 1, grid.optimizer.lr: [1, 2], arms.adam.grid.optimizer.lr: [7]}
"""


def written(folder: Path, *arguments: str, text: str = TEXT, quick: bool = True) -> Sweep:
    (folder / "base.yaml").write_text(BASE)
    (folder / "s.yaml").write_text(text)
    return read(folder / "s.yaml", arguments, quick=quick)


def test_rules_are_laid_upon_every_arm(tmp_path: Path) -> None:
    sweep = written(tmp_path)
    assert sweep.name == "s_quick"
    runs = expand(sweep)
    assert [(run.arm, run.config["optimizer"]["lr"]) for run in runs] == [
        ("sgd", 1),
        ("sgd", 2),
        ("adam", 7),
    ]
    assert {run.config["epochs"] for run in runs} == {2}  # the file's rule, not the included one
    assert {run.config["model"]["width"] for run in runs} == {4}
    assert {run.resources["gpus_per_node"] for run in runs} == {0}
    assert all(run.config["quick"] is True for run in runs)


def test_without_it_the_rules_do_nothing(tmp_path: Path) -> None:
    sweep = written(tmp_path, quick=False)
    assert sweep.name == "s"
    runs = expand(sweep)
    assert len(runs) == 2 * 3 * 3
    assert not any("quick" in run.config for run in runs)


def test_the_command_line_wins_but_the_mark_stays(tmp_path: Path) -> None:
    sweep = written(tmp_path, "epochs=5", "seeds=4", "name=mine", "run.quick=false")
    assert sweep.name == "mine"
    runs = expand(sweep)
    assert len(runs) == 3 * 4
    assert {(run.config["epochs"], run.config["quick"]) for run in runs} == {(5, True)}


def test_a_rule_that_is_dropped(tmp_path: Path) -> None:
    sweep = written(tmp_path, text=TEXT.replace("{epochs: 2}", "null"))
    assert {run.config["epochs"] for run in expand(sweep)} == {60, 90}


def test_a_sweep_without_rules_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("run: {workload: w}")
    with pytest.raises(UserError, match=r"s\.yaml: quick: it has no rules for --quick"):
        read(tmp_path / "s.yaml", quick=True)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("{fast: 2}", r"s\.yaml: quick\.fast: expected a mapping"),
        ("{'no name': {epochs: 2}}", r"s\.yaml: quick\.no name: a name is made of"),
        ("2", r"s\.yaml: quick: expected a mapping"),
        ("{fast: {arms.adm.epochs: 2}}", r"s\.yaml: quick\.fast: arms\.adm\.epochs"),
        ("{fast: {epoch: 2, seed: 3}}", r"s\.yaml: quick\.fast: seed: replicates"),
        ("{fast: {seeds.x: 2}}", r"s\.yaml: quick\.fast: seeds\.x: seeds is given whole"),
        ("{fast: {include: x.yaml}}", r"s\.yaml: quick\.fast: include: can only be given in a"),
    ],
)
def test_mistakes_are_found_at_their_rule(tmp_path: Path, rule: str, says: str) -> None:
    text = f"run: {{workload: w}}\narms: {{adam: {{}}}}\nquick: {rule}"
    with pytest.raises(UserError, match=says):
        expand(written(tmp_path, text=text))


def test_rules_cannot_be_edited_from_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="command line: quick: can only be given in a file"):
        written(tmp_path, "quick=null")


def test_what_decides_a_key_is_said_to_be_the_rule(tmp_path: Path) -> None:
    sweep = written(tmp_path, "model.depth=2")
    file, base = tmp_path / "s.yaml", tmp_path / "base.yaml"
    assert sweep.origin("epochs", "adam") == f"{file}: quick.fewer_epochs: epochs"
    assert sweep.origin("model.width", "sgd") == f"{base}: quick.small: model.width"
    assert sweep.origin("model.depth", "sgd") == "command line: model.depth"
    assert sweep.origin("quick", "sgd") == "--quick: quick"
    assert sweep.origin("optimizer.lr", "sgd") == f"{file}: quick.fewer_runs: grid.optimizer.lr"


def test_rules_as_a_person_reads_them(tmp_path: Path) -> None:
    assert described(written(tmp_path).quick) == [
        "fewer_epochs: epochs=2",
        "small: model={width: 4}",
        "one_core: resources={gpus_per_node: 0, mem_per_gpu: null}",
        "fewer_runs: seeds=1, grid.optimizer.lr=[1, 2], arms.adam.grid.optimizer.lr=[7]",
    ]
    assert described({"a": {"x": True, "y": 1, "z": 0.5}, "b": None}) == ["a: x=true, y=1, z=0.5"]


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.sampled_from(["epochs", "model.width", "optimizer.lr", "seeds"]), st.integers(1, 4)
    )
)
def test_a_rule_does_what_the_same_arguments_do(tmp_path: Path, changes: dict[str, int]) -> None:
    text = f"{TEXT.split('quick:')[0]}quick: {{rule: {changes or 'null'}}}".replace("base", "none")
    (tmp_path / "none.yaml").write_text("notes: nothing")
    arguments = [f"{key}={value}" for key, value in changes.items()]
    by_rule = expand(written(tmp_path, text=text))
    by_hand = expand(written(tmp_path, *arguments, text=text, quick=False))
    assert [{**run.config, "quick": True} for run in by_hand] == [run.config for run in by_rule]
    assert [run.point for run in by_hand] == [run.point for run in by_rule]
