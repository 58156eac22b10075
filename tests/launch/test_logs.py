from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from launch import logs, submissions
from launch.claims import Claim, Claims
from launch.run_logs import Tail
from lrscale.store import Store

MakeSweep = Callable[..., Store]
START = "submitit INFO - Starting with JobEnvironment(job_id=7)"

DIES = """
name: tiny
run:
  workload: digits_mlp
  epochs: 1
  batch_size: 50
  optimizer: {{name: trial, lr: 0.1, seconds: 0.05, fault: kill, unless: {unless}}}
resources: {{gpus_per_node: 0, cpus_per_task: 1}}
max_retries: 50
"""


def shown(store: Store, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    code = logs.main([*words, "--runs", str(store.root)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out, err


def ids(store: Store) -> list[str]:
    return [entry["id"] for entry in store.read_sweep("demo")["runs"]]


def submit(store: Store, elements: list[list[str]]) -> Path:
    """The folder of a submission to Slurm, as job 7, that is over."""
    array = {"name": "demo.x.0", "elements": elements, "job_id": "7", "after": None}
    record = submissions.new_record(submissions.new_id(), "demo", "slurm", [array])
    store.write_submission(record["id"], record)
    store.close_submission(record["id"])
    return store.submission_dir(record["id"])


@pytest.fixture
def failed(make_sweep: MakeSweep) -> Store:
    return make_sweep(rates={"sgd": [0.1]}, seeds=[0, 1], states={("sgd", 0.1, 0): "failed"})


def test_the_rank_that_failed_comes_first(
    failed: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = submit(failed, [ids(failed)[:1], ids(failed)[1:]])
    lost = "RuntimeError: Connection closed by peer"
    texts = [lost, f"ValueError: x\n{START}\nIndexError: of rank 1\n", "all is well\n"]
    for rank, text in enumerate(texts):
        (folder / f"7_0_{rank}_log.out").write_text(text)
    out, err = shown(failed, capsys, "demo", "seed=0")
    assert out.splitlines() == [
        f"rank 1 | {START}",
        "rank 1 | IndexError: of rank 1",
        f"rank 0 | {lost}",
        "rank 2 | all is well",
    ]
    assert "failed, attempt 1, step 20: RuntimeError: no space" in err
    assert "7_0_2_log.out" in err
    assert shown(failed, capsys, ids(failed)[0][:10])[0] == out


def test_a_packed_run_and_one_that_ranks_shared(
    failed: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = submit(failed, [ids(failed)])
    (folder / "7_0_log.out").write_text("of the element\n")
    first, second = map(failed.run, ids(failed))
    text = "Starting attempt 1\nold\nStarting attempt 2\nnew\n[rank1]: KeyError: 'x'\n"
    first.log_path.write_text(text)
    second.log_path.write_text("alone\n")
    assert shown(failed, capsys, first.id)[0].splitlines() == [
        "rank 1 | KeyError: 'x'",
        "rank 0 | Starting attempt 2",
        "rank 0 | new",
    ]
    assert shown(failed, capsys, second.id)[0] == "alone\n"


def test_one_that_has_not_begun(make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "missing"})
    out, err = shown(store, capsys, ids(store)[0][:6], "--follow")  # nobody has it
    assert (out, "has not begun" in err) == ("", True)
    assert "has printed nothing yet" in shown(store, capsys, "demo")[1]


def test_one_that_waits_to_go_on(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed run that was asked for again; the other one is done, and nobody asks for it."""
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0, 1], states={("sgd", 0.1, 0): "failed"})
    failed, done = ids(store)
    claims = {
        run: Claim("s", "demo", "slurm", "9_0", "PENDING", time.time() + 1) for run in ids(store)
    }
    monkeypatch.setattr(logs, "live_claims", lambda _: Claims(runs=claims))
    said = shown(store, capsys, failed)[1].splitlines()
    assert said[0].startswith(f"run {failed[:8]}: failed, attempt 1")
    assert said[1] == f"run {failed[:8]}: pending on slurm as 9_0"
    assert "pending" not in shown(store, capsys, done)[1]
    claims[failed] = replace(claims[failed], since=0.0)  # the job in which it failed
    assert "pending" not in shown(store, capsys, failed)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo"], "2 runs of demo are meant, give one:\n  "),
        (["demo"], "failed: --arm sgd optimizer.lr=0.1 seed=0\n"),
        (["demo", "seed=7"], "0 runs of demo are meant"),
        (["dmeo", "seed=0"], "none named 'dmeo': did you mean 'demo'?"),
        (["dmeo"], "no run in"),
        ([""], "2 runs have an id that starts with '': give more"),
        (["demo", "--arm", "adam"], "--arm adam: known: sgd"),
    ],
)
def test_mistakes(
    failed: Store, capsys: pytest.CaptureFixture[str], words: Sequence[str], said: str
) -> None:
    assert logs.main([*words, "--runs", str(failed.root)]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert not out


def test_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.new_lines() == []
    path.write_text("one\ntwo")
    assert tail.new_lines() == ["one"]
    with path.open("a") as file:
        file.write("!\nthree")
    assert tail.new_lines() == ["two!"]
    assert tail.new_lines(whole=False) == ["three"]
    path.write_text("afresh\n")
    assert tail.new_lines() == ["afresh"]


def test_following_a_run_through_its_attempts(local, wait_until) -> None:
    """Killed again and again, until somebody mends what kills it."""
    mended = local.folder / "mended"
    sweep = local.sweep(DIES.format(unless=mended))
    pool = local.start(sweep)
    wait_until(lambda: local.runs() and (local.runs()[0].newest_attempt() >= 1), 60)
    script = local.tree / "launch" / "logs.py"
    follower = subprocess.Popen(
        [sys.executable, script, "tiny", "-f", "--runs", local.root],
        env=local.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: local.runs()[0].newest_attempt() >= 3, 60)
        mended.touch()
        out, err = follower.communicate(timeout=120)
    finally:
        follower.kill()
    assert follower.returncode == 0, err
    attempts = [line for line in out.splitlines() if line.startswith("Starting attempt")]
    last = local.runs()[0].state()
    assert attempts[-1] == f"Starting attempt {last.attempt}"
    numbers = [int(line.rpartition(" ")[2]) for line in attempts]
    assert numbers == list(range(numbers[0], last.attempt + 1)), "none is missed"
    assert err.splitlines()[-1].startswith(f"run {last and local.runs()[0].id[:8]}: done")
    pool.wait(timeout=60)
