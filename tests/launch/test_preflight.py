from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from launch.preflight import MAX_SHOWN, Checked, check, render
from launch.profiles import Profile, SiteLimits
from launch.snapshot import working_tree
from launch.step_check import step_check
from launch.sweep import Sweep, expand, read
from lrscale.config import Positive, identity
from lrscale.registry import workloads

Check = Callable[..., Checked]

TWO_RANKS = "resources: {gpus_per_node: 0, tasks_per_node: 2}\n"
ONE_RANK = "resources: {gpus_per_node: 0}\n"


@pytest.fixture
def sweep_of(tmp_path: Path) -> Callable[[str], Sweep]:
    def sweep(text: str) -> Sweep:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return read(path)

    return sweep


@pytest.fixture
def checked(sweep_of: Callable[[str], Sweep]) -> Check:
    """Text of a sweep and a profile → what preflight finds."""

    def check_text(text: str, profile: Profile | None = None) -> Checked:
        sweep = sweep_of(text)
        return check(expand(sweep), sweep, profile)

    return check_text


def messages(found: Checked) -> dict[str, str]:
    return {refusal.key: f"{refusal.message} ({refusal.hint})" for refusal in found.refusals}


def test_runs_in_order_are_decoded_with_the_fingerprint_of_their_data(checked: Check) -> None:
    found = checked(
        "run: {workload: digits_mlp, optimizer: {name: adam}}\n"
        "grid: {optimizer.lr: [0.01, 0.001]}\nseeds: 2\n" + ONE_RANK
    )
    assert not found.refusals
    assert [(run.point["optimizer.lr"], run.seed) for run in found.runs] == [
        (0.01, 0),
        (0.01, 1),
        (0.001, 0),
        (0.001, 1),
    ]
    for run in found.runs:
        assert len(run.config.data.fingerprint) == 12
        assert run.id == identity(run.config)
        assert run.resources.world_size == 1


def test_equal_runs_collapse_to_the_first_and_keep_their_places(checked: Check) -> None:
    found = checked(
        "run: {workload: digits_mlp}\nseeds: 2\n" + ONE_RANK + "arms:\n"
        "  sgd: {optimizer: {name: sgd, lr: 0.1, momentum: 0}}\n"
        "  momentum: {optimizer: {name: sgd, lr: 0.1}, grid: {optimizer.momentum: [0, 0.9]}}\n"
    )
    assert found.collapsed == 2
    assert [run.arm for run in found.runs] == ["sgd", "sgd", "momentum", "momentum"]
    assert [run.arm for run in found.wanted] == ["sgd"] * 2 + ["momentum"] * 4
    assert found.wanted[2].id == found.runs[0].id


def test_everything_that_is_wrong_is_said_at_once(checked: Check) -> None:
    found = checked(
        "run: {workload: digits_mlp, epoch: 3, precision: half}\n"
        "resources: {gpus_per_node: 0, tasks_per_node: 3, time: soon}\n"
        "arms:\n"
        "  sgd: {optimizer: {name: sgd, lr: -0.1, momentun: 0.9}}\n"
        "  adam: {optimizer: {name: adan, lr: 0.1}}\n"
        "  warm: {optimizer: {name: sgd, lr: 0.1}, schedule: {name: cosin}}\n"
    )
    said = messages(found)
    assert said["epoch"] == "unknown key (did you mean 'epochs'?)"
    assert said["optimizer.momentun"] == "unknown key (did you mean 'momentum'?)"
    assert "greater than 0, got -0.1" in said["optimizer.lr"]
    assert said["optimizer.name"] == "unknown optimizer 'adan' (did you mean 'adam'?)"
    assert said["schedule.name"] == "unknown schedule 'cosin' (did you mean 'cosine'?)"
    assert "'no', 'bf16' or 'fp16', got 'half'" in said["precision"]
    assert "soon" in said["resources.time"]
    assert len(found.refusals) == 7
    assert not found.runs


def test_a_mistake_is_said_once_with_its_file_and_the_runs_it_touches(
    checked: Check, tmp_path: Path
) -> None:
    (tmp_path / "base.yaml").write_text("run: {workload: digits_mlp, epochs: 2}\n")
    text = (
        "include: base.yaml\n" + ONE_RANK + "seeds: 3\narms:\n"
        "  sgd: {optimizer: {name: sgd}, grid: {optimizer.lr: [0.1, -1.0]}}\n"
        "  adam: {optimizer: {name: adam, lr: 0.1}}\n"
    )
    (refusal,) = checked(text).refusals
    assert refusal.where.endswith("sweep.yaml: arms.sgd.grid.optimizer.lr")
    assert len(refusal.runs) == 3
    assert refusal.runs[0] == "sgd, optimizer.lr=-1.0, seed 0"
    assert "3 of 9 runs, the first: sgd, optimizer.lr=-1.0, seed 0" in str(refusal)

    (tmp_path / "base.yaml").write_text("run: {workload: digits_mpl, epochs: 2}\n")
    (refusal,) = checked(text).refusals
    assert refusal.where.endswith("base.yaml: run.workload")
    assert str(refusal).endswith("\n    every run")


def test_runs_that_are_in_order_are_still_planned(checked: Check) -> None:
    found = checked("run: {workload: digits_mlp}\ngrid: {optimizer.lr: [0.1, -1.0]}\n" + ONE_RANK)
    assert [run.point["optimizer.lr"] for run in found.runs] == [0.1]
    assert len(found.refusals) == 1


@pytest.mark.parametrize(
    ("batch", "accumulation", "hint"),
    [(32, 1, None), (33, 1, "32 or 34"), (34, 4, "32 or 40"), (1, 1, "2")],
)
def test_a_batch_must_divide_over_ranks_and_accumulation(
    checked: Check, batch: int, accumulation: int, hint: str | None
) -> None:
    run = f"{{workload: digits_mlp, batch_size: {batch}, accumulation: {accumulation}}}"
    said = messages(checked(f"run: {run}\n" + TWO_RANKS))
    if hint is None:
        assert not said
    else:
        shares = "2 ranks" if accumulation == 1 else f"2 ranks × {accumulation} micro-batches"
        assert said["batch_size"] == f"{batch} cannot be divided over {shares} (nearest: {hint})"


def test_a_batch_larger_than_the_data(checked: Check) -> None:
    assert not messages(checked("run: {workload: digits_mlp, batch_size: 1197}\n"))
    said = messages(checked("run: {workload: digits_mlp, batch_size: 1198}\n"))
    assert said["batch_size"] == (
        "1,198 is more than the training split holds (it has 1,197 examples)"
    )


def test_a_mistyped_section_of_an_arm(checked: Check) -> None:
    said = messages(
        checked("run: {workload: digits_mlp}\narms: {a: {grdi: {optimizer.lr: [1]}}}\n" + ONE_RANK)
    )
    assert said["grdi"] == "unknown key (did you mean 'grid'?)"


def test_a_typo_hides_no_other_mistake(checked: Check) -> None:
    said = messages(
        checked("run: {workload: digits_mlp, epochss: 1, lr: 0.1, batch_size: 33}\n" + TWO_RANKS)
    )
    assert said["epochss"] == "unknown key (did you mean 'epochs'?)"
    assert said["lr"] == "unknown key (did you mean 'optimizer.lr'?)"
    assert said["batch_size"].startswith("33 cannot be divided over 2 ranks")


def test_the_backend_says_how_many_ranks_there_are(sweep_of: Callable[[str], Sweep]) -> None:
    sweep = sweep_of("run: {workload: digits_mlp, batch_size: 33}\n" + TWO_RANKS)
    assert check(expand(sweep), sweep).refusals
    assert not check(expand(sweep), sweep, ranks=lambda resources: 1).refusals


def test_a_gpu_must_be_asked_for(checked: Check) -> None:
    said = messages(checked("run: {workload: digits_mlp, device: cuda}\n" + ONE_RANK))
    assert "resources.gpus_per_node: 1" in said["device"]
    said = messages(checked("run: {workload: digits_mlp, precision: fp16}\n" + ONE_RANK))
    assert said["precision"].startswith("fp16 needs a GPU")
    assert not messages(checked("run: {workload: digits_mlp, precision: fp16}\n"))


def test_data_that_is_not_there_says_how_to_get_it(checked: Check, tmp_path: Path) -> None:
    data = f"{{name: mnist, variant: full, root: {tmp_path}}}"
    found = checked(f"run: {{workload: mnist_mlp, data: {data}}}\nseeds: 4\n" + ONE_RANK)
    (refusal,) = found.refusals
    assert refusal.key == "data"
    assert str(tmp_path) in refusal.message
    assert "download" in refusal.message
    assert len(refusal.runs) == 4


def test_data_is_looked_at_once(checked: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    from lrscale.data.digits import Digits

    looks = []
    locate = Digits.locate
    monkeypatch.setattr(Digits, "locate", lambda data: looks.append(data) or locate(data))
    checked(
        "run: {workload: digits_mlp}\ngrid: {data.validation: [100, 200]}\nseeds: 9\n" + ONE_RANK
    )
    assert [data.validation for data in looks] == [100, 200]


def test_tracking_needs_a_login(
    checked: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    text = "run: {workload: digits_mlp, track: wandb}\n" + ONE_RANK
    assert "nobody is logged in" in messages(checked(text))["track"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not messages(checked(text))


def test_the_profile_says_what_the_site_cannot_give(checked: Check) -> None:
    profile = Profile(limits=SiteLimits(partitions=("main", "low"), max_time="01:00:00"))
    text = "run: {workload: digits_mlp}\nresources: {gpus_per_node: 0, partition: man}\n"
    said = messages(checked(text, profile))
    assert "main" in said["resources.partition"]
    assert "resources.time" in said


def test_what_is_printed_is_bounded(checked: Check) -> None:
    count = MAX_SHOWN + 5
    rates = ", ".join(f"-{i + 1}.0" for i in range(count))
    found = checked(f"run: {{workload: digits_mlp}}\ngrid: {{optimizer.lr: [{rates}]}}\n")
    text = render(found.refusals)
    assert len(found.refusals) == count
    assert text.count("greater than 0") == MAX_SHOWN
    assert text.endswith("and 5 more")


@pytest.mark.parametrize("mistake", ["", "momentun: 1"])
def test_of_five_thousand_runs_one_mistake_is_said_once(
    sweep_of: Callable[[str], Sweep], mistake: str
) -> None:
    sweep = sweep_of(
        f"run: {{workload: mnist_mlp, optimizer: {{name: sgd, {mistake}}}}}\nseeds: 50\n"
        "grid: {optimizer.lr: {logspace: [1e-4, 1, 100]}}\n" + ONE_RANK
    )
    wanted = expand(sweep)
    found = check(wanted, sweep)
    assert len(found.runs) == (0 if mistake else 5000)
    assert len(found.refusals) == bool(mistake)


def test_checking_does_not_import_torch(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("run: {workload: digits_mlp}\n" + ONE_RANK)
    code = (
        "import sys; from launch.sweep import *; from launch.preflight import check\n"
        "sweep = read(sys.argv[1]); assert check(expand(sweep), sweep).runs\n"
        "assert not {'torch', 'wandb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=working_tree())


def test_one_step_of_each_kind_of_run(
    checked: Check, sweep_of: Callable[[str], Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lrscale.optim.adam import Adam

    text = (
        "run: {workload: digits_mlp, batch_size: 512, accumulation: 2}\n" + ONE_RANK + "arms:\n"
        "  sgd: {grid: {optimizer.lr: [0.1, 0.2]}}\n"
        "  adam: {optimizer: {name: adam, lr: 0.1}}\n"
    )
    runs = checked(text).runs
    assert step_check(runs, sweep_of(text)) == []

    def broken(self: Adam, model: object) -> object:
        raise TypeError("unexpected keyword argument 'amsgrad'")

    monkeypatch.setattr(Adam, "build", broken)
    (refusal,) = step_check(runs, sweep_of(text))
    assert "TypeError: unexpected keyword argument 'amsgrad'" in refusal.message
    assert refusal.runs == ("adam, seed 0",)


def test_a_first_loss_that_is_not_finite_is_found(
    checked: Check, sweep_of: Callable[[str], Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lrscale.workloads.classification import Classification

    loss = Classification.loss
    monkeypatch.setattr(Classification, "loss", lambda *args: loss(*args) / 0)
    text = "run: {workload: digits_mlp}\n" + ONE_RANK
    (refusal,) = step_check(checked(text).runs, sweep_of(text))
    assert refusal.message == "the first loss is not finite"


@dataclass(frozen=True)
class Descent:
    """A configuration such as theory has: no data, no batches, no device."""

    workload: str
    seed: int
    rate: Positive


class DescentWorkload:
    schema = Descent
    defaults: ClassVar[dict[str, object]] = {}


def test_a_run_without_data_or_batches_is_checked_for_what_it_has(
    checked: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    workloads.names()  # scans the folder
    monkeypatch.setitem(workloads._components, "descent", DescentWorkload)
    found = checked("run: {workload: descent}\ngrid: {rate: [0.1, -0.1]}\n" + TWO_RANKS)
    assert [run.config.rate for run in found.runs] == [0.1]
    assert set(messages(found)) == {"rate"}
    assert not found.data_folders


def test_the_folders_of_the_data_are_known(checked: Check, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = f"{{name: mnist, variant: full, root: {tmp_path}, validation: 2}}"
    found = checked(f"run: {{workload: mnist_mlp, batch_size: 4, data: {data}}}\n" + ONE_RANK)
    assert not found.refusals
    assert found.data_folders == {tmp_path}


def write_mnist(folder: Path) -> None:
    """Ten training and ten test images, one of each digit, in MNIST's own format."""
    for split in ("train", "t10k"):
        images = struct.pack(">4I", 0x803, 10, 28, 28) + bytes(10 * 28 * 28)
        labels = struct.pack(">2I", 0x801, 10) + bytes(range(10))
        (folder / f"{split}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(labels)
