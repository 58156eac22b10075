"""Runs forked from one parent that has imported torch: no interpreter, no import per run.

The parent touches neither CUDA nor threads nor Accelerate, so that its children are as fresh as
new processes (one process could not hold two Accelerators of different precision) and cost a
fork, about 10 ms, instead of an interpreter and ``import torch``.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from launch.job import (
    EXIT_FAILED,
    EXIT_STOPPED,
    Records,
    execute,
    execute_together,
    read_config,
    trainer,
)
from launch.memory import oom_kills
from launch.requeue import MAX_RETRIES, cause_of_death, may_go_on
from lrscale.attempt import record_end
from lrscale.control import Control, StopReason
from lrscale.errors import UserError
from lrscale.files import open_file
from lrscale.run_dir import RunDir
from lrscale.run_state import ENDED
from lrscale.store import Store

Report = Callable[[str, str], None]  # event (start, end), run id

POLL_SECONDS = 0.005  # between two looks at the children; a look costs microseconds
HUGE_PAGES_FROM = 100  # runs of a pool: moving there takes about a second
MADV_COLLAPSE = 25  # madvise(2)
_SIGNALS: dict[StopReason, int] = {
    "timeout": signal.SIGUSR2,
    "interrupted": signal.SIGINT,
    "preempted": signal.SIGTERM,
}


@dataclass(frozen=True)
class Slot:
    """Room for one run.

    Attributes:
        gpus: what CUDA_VISIBLE_DEVICES is to be; None leaves it as it is.
        ranks: processes of the run; more than one are started by torchrun.
        threads: BLAS and OpenMP threads of each rank.
        sharing: slots that have the same GPU, or cores, as this one, itself included.
    """

    gpus: str | None = None
    ranks: int = 1
    threads: int = 1
    sharing: int = 1


@dataclass(frozen=True)
class _Child:
    """Runs under way: their process, a fork of ours or torchrun, and their attempts before it."""

    runs: Sequence[str]
    slot: Slot
    pid: int
    attempts: Mapping[str, int]


def run_pool(
    store: Store,
    records: Records,
    slots: Sequence[Slot],
    control: Control,
    report: Report = lambda event, run: None,
    max_retries: int = MAX_RETRIES,
) -> dict[str, int]:
    """Carry out runs in order, one a slot; the exit code of each that was started.

    On a GPU, those whose trainer can step them together share a process. A run that dies leaves
    the others alone, and its state says what it died of; one that was killed is tried again.
    Once ``control.stop`` is set no more are started, and those under way are asked to save and
    leave.

    Args:
        records: run id to what its ``config.json`` holds; a run's folder is made when it starts.
        max_retries: tries in a row of a run that was killed and made no checkpoint since.
    """
    _prepare(store, records)
    waiting, free = _shared_out(records, slots), list(slots)
    under_way: list[_Child] = []
    codes: dict[str, int] = {}
    asked, starved = False, oom_kills()
    while under_way or (waiting and not control.stop):
        while waiting and free and not control.stop:
            runs = waiting.pop(0)
            under_way.append(_fork(store, runs, records, free.pop(0), control))
            for run in runs:
                report("start", run)
        if control.stop and not asked:
            asked = True
            for child in under_way:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, _SIGNALS.get(control.stop, signal.SIGTERM))
        for child, code in _ended(under_way):
            under_way.remove(child)
            free.append(child.slot)
            again, hungry = [], code == -signal.SIGKILL and oom_kills() > starved
            starved += hungry
            cause = cause_of_death(code, hungry)
            for run in child.runs:
                run_dir = store.run(run)
                if not asked and _account_for(run_dir, child, code, cause, control, max_retries):
                    again.append(run)
                codes[run] = _code_of(run_dir, child, code)
                report("end", run)
            waiting = [[run] for run in again] + waiting
    return codes


def _shared_out(records: Records, slots: Sequence[Slot]) -> list[list[str]]:
    """The runs of each process, in order."""
    if not all(map(_has_gpu, slots)):
        return [[run] for run in records]
    together: list[str] = []
    alone: list[list[str]] = []
    for run, record in records.items():
        if _can_share(record["config"]):
            together.append(run)
        else:
            alone.append([run])
    shares = (together[first :: len(slots)] for first in range(len(slots)))
    return [share for share in shares if share] + alone


def _has_gpu(slot: Slot) -> bool:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") if slot.gpus is None else slot.gpus
    return slot.ranks == 1 and visible not in (None, "", "-1", "NoDevFiles")


def _can_share(raw: Mapping[str, Any]) -> bool:
    if raw.get("device") == "cpu" or raw.get("track"):  # each has a mirror beside it
        return False
    try:
        return hasattr(trainer(raw["workload"]), "run_together")
    except UserError:  # of a plugin that cannot be had any more, as the run itself will say
        return False


def _code_of(run_dir: RunDir, child: _Child, code: int) -> int:
    """A run's own exit code, where it shared its process."""
    if code or len(child.runs) == 1:
        return code
    state = run_dir.state()
    return EXIT_FAILED if state is not None and state.state == "failed" else 0


def _prepare(store: Store, records: Records) -> None:
    """Import and read what the runs need, once for all of them.

    Importing torch and reading data starts no threads and no CUDA context. What is wrong with a
    run's data is for the run itself to find out.
    """
    importlib.import_module("torch")
    kinds = {_kind(record): record for record in records.values()}
    for record in kinds.values():
        with contextlib.suppress(Exception):
            config = read_config(store, record)
            prepare = getattr(trainer(config.workload), "prepare", None)
            if prepare is not None:
                prepare(config)
            if hasattr(config, "data"):
                config.data.locate()
    gc.freeze()  # the children's collector leaves alone, and so leaves shared, what is here
    if len(records) >= HUGE_PAGES_FROM:
        _move_to_huge_pages()


def _kind(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Equal for records that need the same code and data."""
    config = record["config"]
    return config["workload"], repr(config.get("data")), repr(record.get("plugins"))


def _move_to_huge_pages() -> None:
    """Have the kernel gather what is allocated in pages of 2 MB, where it can (Linux 6.1).

    A fork copies the table of all pages that torch and Python have written to, some 100,000 of
    4 KB, and an exit goes through it: on huge pages they take 6 and 13 ms instead of 20 and 28.
    """
    madvise = ctypes.CDLL(None).madvise
    with contextlib.suppress(OSError), open("/proc/self/maps") as mappings:
        for mapping in mappings:  # address range, permissions, offset, device, inode, path
            addresses, permissions, *_, inode = (fields := mapping.split())[:5]
            if permissions == "rw-p" and inode == "0" and fields[5:] in ([], ["[heap]"]):
                first, end = (int(address, 16) for address in addresses.split("-"))
                madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), MADV_COLLAPSE)


def _ended(under_way: Iterable[_Child]) -> list[tuple[_Child, int]]:
    """Children that have ended, with their exit codes; waits a little when there are none."""
    ended = []
    for child in under_way:
        done, status = os.waitpid(child.pid, os.WNOHANG)
        if done:
            ended.append((child, os.waitstatus_to_exitcode(status)))
    if not ended:
        time.sleep(POLL_SECONDS)
    return ended


def _account_for(
    run_dir: RunDir, child: _Child, code: int, cause: str, control: Control, max_retries: int
) -> bool:
    """Record a death that the run could not record itself: killed, or left by ``os._exit``;
    whether it is to be tried again."""
    if code in (0, EXIT_STOPPED):
        return False
    try:
        state, before = run_dir.state(), child.attempts[run_dir.id]
        raised = state is not None and state.attempt > before and state.state == "killed"
        if state is not None and state.attempt > before:
            # A state that another process wrote is of an attempt that has overtaken this one.
            ours = state.pid == child.pid or child.slot.ranks > 1
            if state.state in ENDED or not ours:
                return False
        died = code < 0 or (child.slot.ranks > 1 and not raised)
        if code < 0 or not raised:
            how: Literal["killed", "failed"] = "killed" if died else "failed"
            record_end(run_dir, how, cause, control.job, control.requeues, since=before)
        state = run_dir.state()
        return (
            state is not None and state.state == "killed" and may_go_on(run_dir, state, max_retries)
        )
    except OSError:  # such as a full disk: the other runs go on
        _log_traceback()
        return False


def _fork(
    store: Store, runs: Sequence[str], records: Records, slot: Slot, control: Control
) -> _Child:
    _flush()
    attempts = {run: _newest_attempt(store.run(run)) for run in runs}
    pid = os.fork()
    if pid:
        return _Child(runs, slot, pid, attempts)
    code = EXIT_FAILED
    try:
        for run in runs:
            if not store.run(run).exists():
                store.run(run).create(records[run])
        code = _carry_out(store, runs, slot, control)
    except BaseException:
        _log_traceback()
    finally:
        _flush()
        os._exit(code)


def _newest_attempt(run_dir: RunDir) -> int:
    try:
        return run_dir.newest_attempt()
    except OSError:  # its process will say why
        return 0


def _log_traceback() -> None:
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _flush() -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()


def _carry_out(store: Store, runs: Sequence[str], slot: Slot, control: Control) -> int:
    first = runs[0]  # has the log of all that share the process
    for run in reversed(runs):
        log = open_file(store.run(run).log_path, os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        _say(f"Starting attempt {store.run(run).newest_attempt() + 1}")
        if run != first:
            _say(f"What it prints is in {store.run(first).log_path}, as runs that step together do")
    if slot.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpus
    if control.stop:
        return EXIT_STOPPED
    if slot.ranks > 1:
        _exec_torchrun(store, first, slot)
    import torch

    torch.set_num_threads(slot.threads)
    mine = Control(
        heartbeat_seconds=control.heartbeat_seconds,
        job=control.job,
        requeues=control.requeues,
        sharing=slot.sharing,
    )
    mine.listen()
    mine.stop = control.stop
    if len(runs) > 1:
        execute_together(store, runs, mine)
    else:
        execute(store, first, mine)
    return EXIT_STOPPED if mine.stop else 0


def _exec_torchrun(store: Store, run: str, slot: Slot) -> None:
    os.environ["OMP_NUM_THREADS"] = str(slot.threads)
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={slot.ranks}"]
    command += ["-m", "launch.job", str(store.root), run, str(slot.sharing)]
    os.execv(sys.executable, [sys.executable, *command])
