"""Plugins at submission: what is found, refused, frozen, and what it does to runs' identities."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launch import plugins, preflight
from launch.handover import new_run_record
from launch.plugins import load_plugins
from launch.snapshot import save, take
from launch.step_check import step_check
from launch.sweep import expand, read
from lrscale import plugins as loader
from lrscale.config import decode, identity
from lrscale.contract import measure_of
from lrscale.errors import UserError
from lrscale.plugins import load_frozen
from lrscale.registry import REGISTRIES, optimizers
from lrscale.store import Store

HEAD = """from __future__ import annotations
from dataclasses import dataclass
from lrscale.optim.sgd import SGD
from lrscale.registry import datasets, models, optimizers, schedules, workloads
"""
FASTER = '''
@optimizers.register("faster")
@dataclass(frozen=True)
class Faster(SGD):
    """SGD at a multiple of its rate."""
    def build(self, model):
        optimizer = super().build(model)
        optimizer.param_groups[0]["lr"] *= 2
        return optimizer
'''
CORE = "resources: {gpus_per_node: 0}\n"
DIGITS = "run: {workload: digits_mlp}\n" + CORE
FRESH = "run: {workload: digits_mlp, optimizer: {name: faster, lr: 0.1}}\n" + CORE

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_traces() -> Iterator[None]:
    yield
    forget()


def forget() -> None:
    """What was imported of plugins: a command is a process of its own, the tests are one."""
    for registry in REGISTRIES:
        for name, component in list(registry._components.items()):
            if loader.plugin_of(component) is not None:
                del registry._components[name]
    for top in loader._loaded:
        for name in [n for n in sys.modules if n.partition(".")[0] == top]:
            del sys.modules[name]
    loader._loaded.clear()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def file(name: str, text: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return file


def checked(path: Path) -> tuple[Any, Any]:
    """The sweep's plugins, and what preflight says."""
    forget()
    sweep = read(path)
    found = load_plugins(sweep)
    return found, preflight.check(expand(sweep), sweep)


BROKEN = [
    ("def f(:", r"lab\.py:5: SyntaxError"),
    ("x = 1 / 0", r"lab\.py:5: ZeroDivisionError: division by zero"),
    ("raise SystemExit('no GPU')", r"lab\.py:5: SystemExit: no GPU"),
    ("import helper", r"lab\.py:5: .*No module named 'helper' \(lab\.py is frozen by itself: put"),
    ("import no_such_package", r"lab\.py:5: ModuleNotFoundError: No module named 'no_such_pack"),
    ("", r"lab\.py: it registers no component"),
    (
        FASTER.replace('"faster"', '"adamw"'),
        r"lab\.py:5: optimizer 'adamw' of class Faster: the name",
    ),
    ("optimizers.register('mine')(SGD)", r"'mine': lrscale\.optim\.sgd\.SGD is not defined in the"),
    (FASTER.replace("@dataclass(frozen=True)\n", ""), r"lab\.py:5: .*frozen dataclass"),
    (
        FASTER.replace("build(self, model)", "build(self)"),
        r"lab\.py:5: .*is not build\(model\) but",
    ),
    (
        FASTER.replace("(SGD)", ""),
        r"no parameter lr",
    ),
    (
        FASTER.replace('"""SGD at', 'depth: Unknown = 1\n    """SGD at'),
        r"lab\.py:5: .*of a type that",
    ),
    (
        "@schedules.register('up')\n@dataclass(frozen=True)\nclass Up:\n"
        "    def factor(self, step, total): return 1 - step / 10",
        r"lab\.py:5: schedule 'up': factor\(11, 100\) is -0\.1",
    ),
    (
        "@schedules.register('up')\n@dataclass(frozen=True)\nclass Up:\n"
        "    def factor(self, step, total): return {}[step]",
        r"lab\.py:8: schedule 'up': KeyError: 0",
    ),
    (
        "@datasets.register('mine')\n@dataclass(frozen=True)\nclass Mine:\n    title = 'mine'",
        r"(?s)no parameter fingerprint\n.*no method locate\(\)\n.*no method open\(device\)",
    ),
    (
        "@workloads.register('mine')\nclass Mine:\n    direction = 'up'",
        r"(?s)lab\.py:5: workload 'mine': it has no schema.*has 'up' as its direction",
    ),
    (
        "from lrscale.workloads.digits_mlp import DigitsMLP\n@workloads.register('mine')\n"
        "class Mine(DigitsMLP):\n    defaults = {**DigitsMLP.defaults, 'epochs': 0}",
        r"lab\.py:6: workload 'mine': its defaults do not make a run: epochs: ",
    ),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_what_is_wrong_with_a_plugin_is_said_with_its_line(
    write: Write, text: str, message: str
) -> None:
    write("lab.py", HEAD + text.strip("\n"))
    write("helper.py")
    with pytest.raises(UserError, match=message) as found:
        checked(write("sweep.yaml", f"plugins: [lab.py]\n{DIGITS}"))
    assert str(found.value).startswith(str(write("sweep.yaml")))


WRONG_NAMES = [
    ("lba.py", "no such file: did you mean '.*lab.py'"),
    ("folder.py", "not a file"),
    ("lab", "neither a file, which ends in .py, nor an entry point of lrscale.plugins"),
    ("json/mine.py", r"json is the name of a Python module \(.*rename the folder json/"),
    ("my-lab/mine.py", "'my-lab' is no name of a Python module"),
    ("/lab.py", "write it relative to this file"),
    ("", "expected a file or a list of files, got ''"),
]


@pytest.mark.parametrize(("name", "message"), WRONG_NAMES)
def test_what_is_no_plugin(write: Write, name: str, message: str) -> None:
    write("lab.py", HEAD + FASTER)
    write("folder.py/x")
    for folder in ("json", "my-lab"):
        write(f"{folder}/__init__.py")
        write(f"{folder}/mine.py", HEAD + FASTER)
    with pytest.raises(UserError, match=message):
        checked(write("sweep.yaml", f"plugins: ['{name}']\n{DIGITS}"))


def test_every_plugin_is_heard_and_an_included_files_are_its_own(write: Write) -> None:
    write("base/lab.py", HEAD + FASTER)
    write("base/base.yaml", "plugins: lab.py")
    sweep = write("sweep.yaml", f"include: base/base.yaml\nplugins: [own.py]\n{FRESH}")
    with pytest.raises(UserError, match=r"sweep.yaml: plugins: .*own.py: no such file"):
        checked(sweep)
    write("own.py", HEAD + FASTER.replace("faster", "other"))
    found, said = checked(sweep)
    assert [plugin.name for plugin in found] == ["lab.py", "own.py"]
    assert not said.refusals
    for name in ("own.py", "base/lab.py"):
        write(name, "raise ValueError")
    with pytest.raises(UserError, match=r"(?s)lab\.py:1: ValueError\n.*own\.py:1: ValueError"):
        checked(sweep)


def test_the_source_is_part_of_the_identity_of_the_runs_that_use_it(write: Write) -> None:
    both = "arms: {mine: {optimizer: {name: faster, lr: 0.1}}, ours: {}}\n" + DIGITS
    sweep = write("sweep.yaml", f"plugins: [lab.py]\n{both}")
    write("lab.py", HEAD + FASTER)
    mine, ours = checked(sweep)[1].runs
    assert [run.id for run in checked(sweep)[1].runs] == [mine.id, ours.id]
    assert ours.id == checked(write("without.yaml", DIGITS))[1].runs[0].id
    write("lab.py", HEAD + FASTER.replace("*= 2", "*= 3"))
    edited, still_ours = checked(sweep)[1].runs
    assert edited.id != mine.id
    assert still_ours.id == ours.id


def test_a_package_is_frozen_whole_and_imports_its_own(write: Write) -> None:
    write("lab/__init__.py")
    write("lab/deep/__init__.py")
    write("lab/deep/optim.py", HEAD + FASTER + "from lab.rates import RATE\nfrom . import near\n")
    write("lab/deep/near.py")
    write("lab/rates.py", "RATE = 2")
    write("lab/.hidden/secret.py")
    sweep = write("sweep.yaml", f"plugins: [lab/deep/optim.py]\n{FRESH}")
    (plugin,), said = checked(sweep)
    assert plugin.modules == ("lab.deep.optim",)
    assert len(plugin.files) == 5
    (run,) = said.runs
    write("lab/rates.py", "RATE = 3")
    assert checked(sweep)[1].runs[0].id != run.id


def test_what_was_read_is_what_is_imported(write: Write, tmp_path: Path) -> None:
    """Not what the file has become, nor bytecode of it."""
    file = write("lab.py", HEAD + FASTER)
    (plugin,) = plugins.read_plugins({str(file): "here"})
    file.write_text("raise ValueError")
    assert loader.load(plugin) == [(optimizers, "faster")]
    assert not list(tmp_path.rglob("__pycache__"))


def test_jobs_import_the_frozen_copy(write: Write, tmp_path: Path) -> None:
    lab = write("lab.py", HEAD + FASTER)
    path = write("sweep.yaml", f"plugins: [lab.py]\n{FRESH}")
    found, said = checked(path)
    (run,) = said.runs
    write("tree/launch/x.py")
    code, plain = take(tmp_path / "tree", plugins=found), take(tmp_path / "tree")
    assert code.code == plain.code
    assert code.digest != plain.digest
    store = Store(tmp_path / "runs")
    store.create()
    frozen = save(code, store)
    record = new_run_record(run, read(path), code)
    assert record["plugins"] == code.provenance["plugins"] == [found[0].record()]
    assert record["measure"] == measure_of("digits_mlp")

    lab.unlink()
    forget()
    with pytest.raises(UserError, match="unknown optimizer 'faster'"):
        decode(record["config"])
    load_frozen(record, frozen)
    assert identity(decode(record["config"])) == run.id
    forget()
    (frozen / loader.frozen_folder(found[0].digest) / "lab.py").unlink()
    with pytest.raises(UserError, match=r"plugin lab\.py: its frozen files are gone"):
        load_frozen(record, frozen)


def test_an_entry_point_of_an_installed_package(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("site/elsewhere/__init__.py")
    write("site/elsewhere/optim.py", HEAD + FASTER)
    write("site/elsewhere-1.0.dist-info/METADATA", "Name: elsewhere\nVersion: 1.0\n")
    points = "[lrscale.plugins]\ntheirs = elsewhere.optim\ngone = not_there\n"
    write("site/elsewhere-1.0.dist-info/entry_points.txt", points)
    monkeypatch.syspath_prepend(tmp_path / "site")
    found, said = checked(write("sweep.yaml", f"plugins: theirs\n{FRESH}"))
    assert [plugin.modules for plugin in found] == [("elsewhere.optim",)]
    assert not said.refusals
    with pytest.raises(UserError, match="did you mean 'theirs'"):
        checked(write("sweep.yaml", f"plugins: theris\n{FRESH}"))
    with pytest.raises(UserError, match="its module not_there is not installed"):
        checked(write("sweep.yaml", f"plugins: gone\n{FRESH}"))


def test_a_fault_in_its_code_is_a_refusal(write: Write) -> None:
    fault = "    def __post_init__(self):\n        raise KeyError('lr')\n"
    write("lab.py", HEAD + FASTER + fault)
    _, said = checked(write("sweep.yaml", f"plugins: [lab.py]\n{FRESH}"))
    (refusal,) = said.refusals
    assert "sweep.yaml: plugins: KeyError: 'lr' (raised in " in str(refusal)
    assert "lab.py:15)" in str(refusal)


def test_a_package_that_is_too_large_to_freeze(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "MAX_FILES", 1)
    write("lab/__init__.py")
    write("lab/optim.py", HEAD + FASTER)
    with pytest.raises(UserError, match=r"lab: 2 Python files of 0\.0 MB; at most 1 files"):
        checked(write("sweep.yaml", f"plugins: [lab/optim.py]\n{DIGITS}"))


UNFIT = """
@models.register("scales")
@dataclass(frozen=True)
class Scales:
    def build(self, input_shape, classes):
        import torch
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.ones(classes))
            def forward(self, inputs):
                return inputs.flatten(1)[:, :classes] * self.scale
        return Net()
"""


def test_a_model_that_does_not_suit_the_optimizer_is_found_by_a_step(write: Write) -> None:
    write("lab.py", HEAD + UNFIT)
    arms = "arms: {muon: {optimizer: {name: muon}}, kfac: {optimizer: {name: kfac, lr: 0.1}}}\n"
    run = "run: {workload: digits_mlp, model: {name: scales}}\n"
    sweep = write("sweep.yaml", f"plugins: [lab.py]\n{run}{arms}{CORE}")
    muon, kfac = step_check(checked(sweep)[1].runs, read(sweep))
    assert muon.message.startswith("optimizer: muon is for weights of two dimensions and more")
    assert kfac.message.startswith("optimizer: kfac preconditions Linear and Conv2d layers, and")
