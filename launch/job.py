"""The task that every backend carries out: some runs, one after another or a few at a time.

A ``Task`` is what submitit pickles for an array element; the local pool and the debug mode use
the same functions, and so can a launcher of one's own:

    torchrun --nproc-per-node 2 -m launch.job runs 3f2a
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from launch.ranks import join_ranks, this_start
from launch.requeue import MAX_RETRIES, cluster_job, fate_of, requeue, requeues, settle
from lrscale.attempt import record_end
from lrscale.config import decode
from lrscale.control import Control, ForeignRanks, Outcome, Request
from lrscale.errors import UserError
from lrscale.full_disk import despite_full_disk, once_there_is_room
from lrscale.plugins import load_frozen
from lrscale.registry import workloads
from lrscale.run_dir import Superseded
from lrscale.run_state import FINISHED, State, has_ended
from lrscale.store import Store
from lrscale.track.live import mirrored

Records = Mapping[str, Mapping[str, Any]]  # run id to what its config.json holds

EXIT_FAILED = 1
EXIT_STOPPED = 143  # 128 + SIGTERM, as a process that a scheduler ends


@dataclass(frozen=True)
class Task:
    """A job, or an array of which each element finds its own part.

    Attributes:
        store: path of the run store.
        elements: of each element, run id to what its ``config.json`` holds; a run's folder is
            made when it starts.
        concurrency: how many of an element's runs share it at a time.
        max_retries: how often in a row a run that was killed is tried again, or one that reached
            its time limit, when the try before made no checkpoint.
    """

    store: str
    elements: Sequence[Records]
    concurrency: int = 1
    max_retries: int = MAX_RETRIES

    @property
    def records(self) -> Records:
        """The runs of the element that this process belongs to."""
        return self.elements[int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]

    def __call__(self) -> None:
        """Carry the runs out. Raises RunsFailed at the end if any failed."""
        control = Control(job=cluster_job(), requeues=requeues())
        control.listen()
        store = Store(self.store)
        unreadable = self._unreadable(store)
        records = {run: r for run, r in self.records.items() if run not in unreadable}
        for run_id, record in records.items():
            if not store.run(run_id).exists():
                once_there_is_room(partial(store.run(run_id).create, record))
        failed = unreadable + self._run_all(store, records, control)
        if control.stop:
            self._leave(store, list(records), control)
        if failed:
            raise RunsFailed(f"failed: {', '.join(failed)}")
        if control.job:
            # submitit would write a result that nobody reads. A rank that finds no room for it
            # would have srun kill the first, which may still be waiting for room.
            _exit(0)

    def _unreadable(self, store: Store) -> list[str]:
        """Runs whose folders this process may not read: the log says so, and the others go on."""
        found = {run: why for run in self.records if (why := store.unreadable(run))}
        for run, why in found.items():
            print(f"run {run[:8]} cannot be read: {why}", file=sys.stderr)
        return list(found)

    def _run_all(self, store: Store, records: Records, control: Control) -> list[str]:
        failed = [run for run in records if _failed_in(control.job, store.run(run).state())]
        if len(self.records) == 1:
            if records and not failed:
                (run_id,) = records
                join_ranks(this_start(store.run(run_id), control.job, control.requeues))
                execute(store, run_id, control)  # a failure keeps its own traceback in the log
            return failed
        from launch.pool import Slot, run_pool

        threads = int(os.environ.get("OMP_NUM_THREADS", "1")) // self.concurrency
        waiting = {run: record for run, record in records.items() if run not in failed}
        sharing = min(self.concurrency, len(waiting))
        slots = [Slot(threads=max(1, threads), sharing=sharing)] * self.concurrency
        codes = run_pool(store, waiting, slots, control, max_retries=self.max_retries)
        return failed + [run for run, code in codes.items() if code not in (0, EXIT_STOPPED)]

    def _leave(self, store: Store, runs: Sequence[str], control: Control) -> None:
        """End this process; under Slurm settle what becomes of the runs first.

        A job that runs into its time limit is not requeued by Slurm itself, nor one that is told
        of its preemption ahead: it asks for that.
        """
        first = os.environ.get("SLURM_PROCID", "0") == "0"
        if control.job and first:
            fate = fate_of(control.job)
            if settle(store, runs, control.job, fate, self.max_retries):
                requeue(control.job)
        # A rank that ends badly has srun kill the others (--kill-on-bad-exit), and the first of
        # them may still be saving: it alone says that the job was stopped.
        _exit(EXIT_STOPPED if first else 0)


def _exit(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class RunsFailed(Exception):
    """Some runs of an element failed; each one's folder has its cause and log."""


def execute(store: Store, run_id: str, control: Control) -> Outcome | None:
    """Carry out or resume one run; None when it had ended already.

    A failure is recorded as the run's state and raised again; that a process was lost which the
    run depends on, as its being killed.
    """
    run_dir = store.run(run_id)
    state = run_dir.state()
    since = run_dir.newest_attempt() if os.environ.get("RANK", "0") == "0" else None
    if state is not None and state.state in FINISHED:
        return None
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and (asked := run_dir.asked()):
        # Several ranks might see different things: they begin, and agree on it.
        if state is None or state.state != asked:
            record_end(run_dir, asked, "", control.job, control.requeues, since)
        return None
    live = run_dir.record()["config"].get("track") == "wandb"
    with mirrored(store, run_id) if live else contextlib.nullcontext():
        try:
            config = read_config(store, run_dir.record())
            _check_data(config)
            outcome: Outcome = trainer(config.workload).run(config, run_dir, control)
        except Superseded as error:
            print(f"{error}; leaving it to that one", file=sys.stderr)
            return None
        except Exception as error:
            how: Literal["failed", "killed"] = "killed" if _of_a_death(error) else "failed"
            with despite_full_disk():
                record_end(run_dir, how, _cause(error), control.job, control.requeues, since)
            raise
    return outcome


def execute_together(store: Store, run_ids: Sequence[str], control: Control) -> None:
    """``execute`` for runs of one workload whose trainer steps several at once.

    Where that fails, each goes on alone, so that what failed is the run's own and on its record.
    """
    states = {run: store.run(run).state() for run in run_ids}
    left = [run for run, state in states.items() if state is None or state.state not in FINISHED]
    try:
        while left:
            run_dirs = [store.run(run) for run in left]
            configs = [read_config(store, run_dir.record()) for run_dir in run_dirs]
            trainer(configs[0].workload).run_together(configs, run_dirs, control)
            if control.stop not in get_args(Request):
                return
            control.stop = None  # was asked of some: the others go on
            left = [run for run in left if not has_ended(store.run(run).state())]
        return
    except Exception:
        traceback.print_exc()
        print("going on one by one", file=sys.stderr)
    for run in left:
        if control.stop:
            return
        with contextlib.suppress(Exception):  # is recorded
            execute(store, run, control)


def read_config(store: Store, record: Mapping[str, Any]) -> Any:
    """The configuration of a run's record, once the plugins that it names are loaded.

    They come from the run's snapshot, whatever code this process runs.
    """
    load_frozen(record, store.snapshot_dir(record.get("snapshot", "")))
    return decode(record["config"])


def _failed_in(job: str, state: State | None) -> bool:
    """Whether the run failed in this very job, which was then requeued for its other runs."""
    return state is not None and state.state == "failed" and state.job == job


def trainer(workload: str) -> Any:
    """The module whose ``run(config, run_dir, control)`` carries out runs of a workload."""
    return importlib.import_module(workloads.get(workload).runner)


def _check_data(config: Any) -> None:
    """The data must still be what the run was planned with. Raises UserError."""
    data = getattr(config, "data", None)
    if data is not None and data.fingerprint and data.locate() != data.fingerprint:
        raise UserError(
            f"{data.title} has changed since the run was submitted (its fingerprint differs): "
            "submit the sweep again"
        )


# What is raised in a process when another one of the run has died, or could not be met: gloo, NCCL
# and the store of torch.distributed; a worker of a DataLoader.
_DEATHS = re.compile(
    r"connection (closed|reset) by peer|broken pipe|gloo/transport|NCCL|TCPStore"
    r"|DataLoader worker .*(killed by signal|exited unexpectedly)",
    re.IGNORECASE,
)


def _of_a_death(error: Exception) -> bool:
    return (
        isinstance(error, ForeignRanks)
        or type(error).__name__.startswith("Dist")
        or bool(_DEATHS.search(str(error)))
    )


def _cause(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m launch.job",
        description="Carry out one run of the store in this process (also under torchrun or "
        "accelerate launch).",
        epilog="example: torchrun --nproc-per-node 2 -m launch.job runs 3f2a",
    )
    # No options: torchrun takes those that look like its own for itself.
    parser.add_argument("store", help="the run store")
    parser.add_argument("run", help="the run's id, or a prefix of it")
    parser.add_argument("sharing", nargs="?", type=int, default=1, help="runs on the same GPUs")
    arguments = parser.parse_args(argv)
    os.umask(0o077)
    control = Control(job=cluster_job(), requeues=requeues(), sharing=arguments.sharing)
    control.listen()
    store = Store(arguments.store)
    try:
        execute(store, store.find_run(arguments.run), control)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return EXIT_FAILED
    return EXIT_STOPPED if control.stop else 0


if __name__ == "__main__":
    sys.exit(main())
