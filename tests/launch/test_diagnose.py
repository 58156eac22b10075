"""Texts of real failures, some of them made here, and the one cause that each comes down to."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launch import diagnose as rules
from launch.accounting import JobEnd
from launch.diagnose import Diagnosis, Evidence, diagnose, failing_rank

CUDA_OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
    "capacity of 79.10 GiB of which 1.06 GiB is free. Process 51 has 78.02 GiB memory in use."
)
GLOO = (
    "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer "
    "[127.0.0.2]:14063"
)
NCCL = (
    "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/"
    "ProcessGroupNCCL.cpp:1970, remote process exited or there was a network error, NCCL version "
    "2.20.5\nncclRemoteError: A call failed possibly due to a network error"
)
WATCHDOG = (
    "[rank1]:[E1126 ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective operation "
    "timeout: WorkNCCL(SeqNum=42, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600053 ms"
)


def traceback(last: str) -> str:
    return (
        "submitit INFO (2026-11-26 08:00:00) - Loading pickle\n"
        "Traceback (most recent call last):\n"
        '  File "launch/job.py", line 92, in execute\n'
        "    raise MemoryError  # quoted source decides nothing\n"
        f"{last}\n"
    )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (CUDA_OOM, "CUDA OOM"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 MiB", "CUDA OOM"),
        ("RuntimeError: CUDA error: out of memory", "CUDA OOM"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
         "CUDA OOM"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.0. Some of your processes "
         "may have been killed by the cgroup out-of-memory handler.", "host OOM"),
        ("RuntimeError: DataLoader worker (pid 4242) is killed by signal: Killed.", "host OOM"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "host OOM"),
        ("OSError: [Errno 12] Cannot allocate memory", "host OOM"),
        ("OSError: [Errno 28] No space left on device", "disk full"),
        ("OSError: [Errno 122] Disk quota exceeded: '/home/a/runs/x'", "quota"),
        ("ModuleNotFoundError: No module named 'torchvision'", "import error"),
        ("ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory",
         "import error"),
        ("ImportError: /lib64/libm.so.6: version `GLIBC_2.29' not found", "import error"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/data/train'", "data missing"),
        ("RuntimeError: Dataset not found. You can use download=True to download it",
         "data missing"),
        ("RuntimeError: CUDA error: device-side assert triggered", "GPU not usable"),
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", "GPU not usable"),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-26T08:00:00 DUE TO TIME LIMIT "
         "***", "time-out before the first checkpoint"),
        ("slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-11-26T08:00:00 DUE TO NODE "
         "FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***", "node failure"),
        (GLOO, "NCCL/gloo"),
        (NCCL, "NCCL/gloo"),
        (WATCHDOG, "NCCL/gloo"),
        ("ValueError: no such thing", "ValueError"),
        ("my.package.StrangeError", "StrangeError"),
    ],
)  # fmt: skip
def test_texts(line: str, kind: str) -> None:
    """The same cause, whether it is in the log or the run recorded it."""
    logged = diagnose(Evidence("failed", logs=[traceback(line)]))
    assert logged.kind == kind
    assert logged.line == line.splitlines()[0][: rules.LINE_WIDTH]
    assert logged.rank == 0
    assert logged.advice
    recorded = diagnose(Evidence("failed", cause=line.splitlines()[0]))
    assert (recorded.kind, recorded.rank) == (kind, None)


def cause_of(action: Callable[[], object]) -> str:
    """As a run records it."""
    from launch.job import _cause

    with pytest.raises(Exception) as raised:  # noqa: PT011
        action()
    return _cause(raised.value)


def test_errors_made_here(tmp_path: Path) -> None:
    import numpy as np
    import torch

    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115
    made = {
        "host OOM": [lambda: torch.empty(10**17), lambda: np.empty(10**17), lambda: "x" * 10**18],
        "import error": [lambda: importlib.import_module("no_such_module")],
        "data missing": [(tmp_path / "none").read_text],
        "disk full": [lambda: full.write("too much\n")],
    }
    for kind, actions in made.items():
        for action in actions:
            assert diagnose(Evidence("failed", cause=cause_of(action))).kind == kind


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    script = "import no_such_module"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr
    assert diagnose(Evidence("failed", logs=[said])).line == (
        "ModuleNotFoundError: No module named 'no_such_module'"
    )


def test_the_rank_that_failed_first_is_to_blame() -> None:
    logs = [traceback(GLOO), traceback(NCCL), traceback(CUDA_OOM), traceback(GLOO)]
    found = diagnose(Evidence("failed", cause=GLOO, logs=logs))
    assert (found.kind, found.rank) == ("CUDA OOM", 2)
    assert failing_rank(logs) == 2
    logs[2] = traceback("ValueError: labels from 0 to 11")
    assert failing_rank(logs) == 2
    assert diagnose(Evidence("failed", logs=logs)).kind == "NCCL/gloo"
    assert failing_rank(["all is well", "so it is"]) is None


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        (JobEnd("OUT_OF_MEMORY", 0, 125, "n1"), "host OOM"),
        (JobEnd("NODE_FAIL", 1, 0, "n1"), "node failure"),
        (JobEnd("TIMEOUT", 0, 1, "n1"), "time-out before the first checkpoint"),
        (JobEnd("FAILED", 7, 0, "n1"), "FAILED"),
    ],
)
def test_what_the_accounting_says(job: JobEnd, kind: str) -> None:
    """It decides over what other ranks say of their connection, and over a mere signal."""
    found = diagnose(Evidence("failed", cause="killed by SIGKILL", job=job))
    assert found.kind == (kind if kind != "FAILED" else "killed by SIGKILL")
    found = diagnose(Evidence("lost", job=job))
    assert found.kind == kind
    assert found.line.startswith(f"sacct: {job.state} on n1, exit code {job.exit_code}")
    assert diagnose(Evidence("lost", logs=[traceback(CUDA_OOM)], job=job)).kind == "CUDA OOM"


@pytest.mark.parametrize(
    ("cause", "kind"), [("ValueError: no", "ValueError"), ("killed by SIGKILL", "host OOM")]
)
def test_how_a_shared_job_ended_is_no_cause_of_what_has_said_its_own(cause: str, kind: str) -> None:
    job = JobEnd("OUT_OF_MEMORY", 137, 9, "n1")
    assert diagnose(Evidence("failed", cause=cause, job=job, shared=True)).kind == kind
    assert diagnose(Evidence("failed", cause=cause, job=job)).kind == "host OOM"


def test_a_memory_limit_is_not_guessed() -> None:
    cause = "killed by SIGKILL, perhaps for want of memory"
    assert diagnose(Evidence("failed", cause=cause)).kind == "killed by SIGKILL"
    assert diagnose(Evidence("failed", cause="killed by SIGKILL for want of memory")).kind == (
        "host OOM"
    )


def test_time_out() -> None:
    before = diagnose(Evidence("timeout", step=3))
    assert before.kind == "time-out before the first checkpoint"
    assert "step 3" in before.line
    ended = Evidence("lost", has_checkpoint=True, job=JobEnd("TIMEOUT"))
    assert diagnose(ended).kind == "time-out"
    assert "goes on" in diagnose(ended).advice


def test_not_a_number() -> None:
    found = diagnose(Evidence("diverged", cause="loss not finite at step 12", step=12))
    assert found == Diagnosis("NaN", "loss not finite at step 12", found.advice)
    assert "optimizer.lr" in found.advice


def test_no_word() -> None:
    assert diagnose(Evidence("lost")).line == "it left no word"
    found = diagnose(Evidence("lost", logs=["step 1\nstep 2\n\n"]))
    assert (found.kind, found.line) == ("unknown", "step 2")
