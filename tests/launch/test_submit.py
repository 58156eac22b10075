"""What the command prints and refuses before anything runs."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from local_launcher import LocalLauncher

from launch import submit
from lrscale.config import decode, identity

TREE = Path(__file__).parents[2]

SWEEP = """
name: tried
run: {workload: digits_mlp, epochs: 2, batch_size: 50}
arms:
  sgd: {grid: {optimizer.lr: [0.01, 0.1]}}
  adam: {optimizer: {name: adam, lr: 0.001}}
seeds: 2
resources: {gpus_per_node: 0, cpus_per_task: 1}
"""

MISTAKES = """
name: mistakes
run: {workload: digits_mlp, batch_size: 50, epochss: 3}
arms:
  typo: {optimizer: {momentun: 0.9}}
  type: {optimizer: {lr: fast}}
  range: {optimizer: {momentum: 1.5}}
  optimizer: {optimizer: {name: adm}}
  schedule: {schedule: {name: cosin}}
  workload: {workload: digits_mpl}
  batch: {batch_size: 51}
  data: {data: {name: mnist, variant: full, root: /nowhere}}
  wandb: {track: wandb}
seeds: 2
resources: {gpus_per_node: 0, cpus_per_task: 1, tasks_per_node: 2}
"""

Main = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def main(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Main:
    """The command in this process, on this machine: exit code, stdout, stderr."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    monkeypatch.chdir(tmp_path)

    def call(text: str, *arguments: str) -> tuple[int, str, str]:
        (tmp_path / "x.yaml").write_text(text)
        backend = [] if "--backend" in arguments else ["--backend", "local"]
        code = submit.main(["x.yaml", "--runs", "runs", *backend, *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_dry_run_shows_the_plan_and_writes_nothing(main: Main, tmp_path: Path) -> None:
    code, out, err = main(SWEEP, "--dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("tried: 6 runs\n")
    assert "6  submit  new" in out
    assert "on this machine: 6 runs, " in out
    assert "sgd, optimizer.lr=0.01, seed 1" in out
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_a_dry_run_as_json(main: Main, tmp_path: Path) -> None:
    code, out, _ = main(SWEEP, "--dry-run", "--json", "seeds=[3]", "resources.time=10")
    assert code == 0
    runs = [json.loads(line) for line in out.splitlines()]
    assert [(run["arm"], run["seed"]) for run in runs] == [("sgd", 3), ("sgd", 3), ("adam", 3)]
    for run in runs:
        assert {"id", "arm", "seed", "config", "resources", "action"} <= set(run)
        assert identity(decode(run["config"])) == run["id"]
        assert run["config"]["data"]["fingerprint"]
        assert run["action"] == "submit"
        assert run["resources"]["time"] == 10
    assert not (tmp_path / "runs").exists()


def test_overrides_may_stand_anywhere(main: Main) -> None:
    code, out, _ = main(SWEEP, "optimizer.lr=0.5", "--dry-run", "seeds=1")
    assert code == 0
    assert out.startswith("tried: 2 runs\n")
    code, out, _ = main(SWEEP.replace("0.01, 0.1", "0.1, 1.0e-1"), "--dry-run", "seeds=1")
    assert out.startswith("tried: 2 runs (1 equal one collapsed)\n")


def test_every_mistake_at_once(main: Main, tmp_path: Path) -> None:
    code, out, err = main(MISTAKES)
    assert (code, out) == (2, "")
    assert err.startswith("error: nothing was submitted\n")
    for arm, line in {
        "typo": "arms.typo.optimizer.momentun: unknown key (did you mean 'momentum'?)",
        "type": "arms.type.optimizer.lr: should be a number, got 'fast'",
        "range": "arms.range.optimizer.momentum: should be less than 1, got 1.5",
        "optimizer": "arms.optimizer.optimizer.name: unknown optimizer 'adm' "
        "(did you mean 'adam'?)",
        "schedule": "arms.schedule.schedule.name: unknown schedule 'cosin' "
        "(did you mean 'cosine'?)",
        "workload": "arms.workload.workload: unknown workload 'digits_mpl' "
        "(did you mean 'digits_mlp'?)",
        "batch": "arms.batch.batch_size: 51 cannot be divided over 2 ranks (nearest: 50 or 52)",
        "wandb": "arms.wandb.track: nobody is logged in to api.wandb.ai (run `wandb login`, or "
        "set WANDB_MODE=offline, or leave out track: wandb)",
    }.items():
        assert f"\nx.yaml: {line}\n    2 of 18 runs, the first: {arm}, seed 0\n" in err
    # The run with an unknown workload has no schema to look the key up in.
    typo = "x.yaml: run.epochss: unknown key (did you mean 'epochs'?)"
    assert f"\n{typo}\n    16 of 18 runs, the first: typo, seed 0\n" in err
    assert "x.yaml: arms.data.data: MNIST not found. Looked for train-images-idx3-ubyte" in err
    assert "\n    /nowhere/MNIST/raw\n    /nowhere\n" in err
    assert "data.download=true" in err
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_a_dry_run_shows_what_would_be_refused(main: Main) -> None:
    code, out, err = main(SWEEP, "optimizer.moment=0.9", "--dry-run")
    assert code == 2
    assert out.startswith("tried: 0 runs\n")
    assert err.startswith(
        "error: this would be refused\n"
        "command line: optimizer.moment: unknown key (did you mean 'momentum'?)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--retry", "fail"], "--retry fail: did you mean 'failed'?"),
        (["--max-steps", "3"], "--max-steps is for --backend debug; this is --backend local"),
        (["--run", "3f"], "--run is for --backend debug; this is --backend local"),
        (["--profile", "x"], "--profile is for --backend slurm; this is --backend local"),
        (["--json"], "--json is for --dry-run; "),
        (["--backend", "debug", "--max-steps", "0"], "--max-steps 0: give at least 1"),
        (["--backend", "debug", "--run", "zz"], "--run zz: no run of tried has such an id"),
        (["--runs", "x.yaml"], "run store {}/x.yaml: not a folder; choose another with --runs DIR"),
        (["--runs", "x.yaml/y"], "run store {}/x.yaml/y: Not a directory; choose another with"),
    ],
)
def test_what_makes_no_sense(
    main: Main, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, out, err = main(SWEEP, *arguments)
    assert code == 2
    assert err.startswith(f"error: {message.format(tmp_path)}"), err
    assert out == ""


@pytest.mark.parametrize("option", ["--bogus", "--backend=cloud"])
def test_unknown_options(main: Main, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(SWEEP, option)
    assert left.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def test_a_disk_that_takes_no_more(local: LocalLauncher) -> None:
    output = local.submit(
        local.tiny(),
        code=2,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert output.splitlines()[-1] == "error: the run store: File too large"
    assert "Traceback" not in output


def test_a_sweep_file_that_is_not_there(main: Main, tmp_path: Path) -> None:
    assert submit.main([str(tmp_path / "y.yaml"), "--backend", "local"]) == 2


def test_a_command_of_another_copy_runs_that_copy(
    local: LocalLauncher, local_environment: dict[str, str]
) -> None:
    """Whichever copy of the code is installed, and wherever it is called from."""
    output = local.submit(local.tiny(), "--dry-run")  # an optimizer that only that copy has
    assert "4  submit  new" in output
    probe = "import sys; sys.argv[0] = 'x'; import launch; print(launch.__file__)"
    installed = subprocess.run(
        [sys.executable, "-c", probe], cwd=local.folder, capture_output=True, text=True
    )
    assert str(local.tree) not in installed.stdout


def test_what_a_single_run_is_called(main: Main) -> None:
    code, out, _ = main(SWEEP.replace("[0.01, 0.1]", "[0.01]"), "--dry-run", "seeds=1")
    assert code == 0
    assert out.startswith("tried: 2 runs\n")
    _, out, _ = main(
        "name: one\nrun: {workload: digits_mlp}\n" + SWEEP.splitlines()[-1], "--dry-run"
    )
    assert out.startswith("one: 1 run\n")
    assert "on this machine: 1 run, 1 at a time, 1 core each" in out


def test_an_estimate_is_given(main: Main) -> None:
    _, out, _ = main(SWEEP + "minutes_per_run: 3\nparallel: 1\n", "--dry-run")
    assert "on this machine: 6 runs, 1 at a time, 1 core each; about 18 min in all" in out
