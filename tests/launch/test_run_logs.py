from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from launch import submissions
from launch.run_logs import RunLogs, last_words, of_ranks
from lrscale.store import Store

MakeSweep = Callable[..., Store]


def test_of_every_rank(make_sweep: MakeSweep) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0, 1])
    one, other = (entry["id"] for entry in store.read_sweep("demo")["runs"])
    array = {"name": "demo.x.0", "elements": [[one], [other]], "job_id": "7", "after": None}
    record = submissions.new_record(submissions.new_id(), "demo", "slurm", [array])
    store.write_submission(record["id"], record)
    folder = store.submission_dir(record["id"])
    for rank in (0, 2, 10):
        (folder / f"7_1_{rank}_log.out").write_text(f"rank {rank}")
    (folder / "7_11_0_log.out").write_text("another element's")
    logs = RunLogs(store)
    assert logs.element(other) == "7_1"
    assert logs.name("7_1") == "demo.x.0"
    assert list(logs.files(other, "7_1")) == [0, 2, 10]
    assert logs.last_words(other, "7_1") == ["rank 0", "rank 2", "rank 10"]
    assert logs.files(one, "7_0") == {}
    assert logs.files(one, "8_0") == {}
    store.run(one).log_path.write_text("its own")
    assert logs.files(one, "7_0") == {0: store.run(one).log_path}


def test_the_last_attempt(tmp_path: Path) -> None:
    log = tmp_path / "log"
    start = "submitit INFO - Starting with JobEnvironment(job_id=1)\n"
    log.write_text(f"{start}MemoryError\n{start}all went well\n")
    assert "MemoryError" not in last_words(log)
    assert "all went well" in last_words(log)
    log.write_bytes(b"\xff" * 100 + b"the end")
    assert last_words(log, size=10) == "\ufffd\ufffd\ufffdthe end"
    assert last_words(tmp_path / "none") == ""


def test_a_log_that_ranks_share() -> None:
    text = (
        "both\n[rank1]: Traceback:\n[rank1]:   File\nmine\n[rank1]: ValueError: x\n[1] no label\n"
    )
    assert of_ranks(text) == {0: "both\nmine\n[1] no label", 1: "Traceback:\n  File\nValueError: x"}
