"""What has been done about runs already: what was handed over, and what the store holds of it.

A submission is what one command handed to a backend. Its record is written before anything is
queued and says which runs each array element holds, so that ``launch.claims`` can tell which of
them somebody still has. It is JSON:

    id, sweep, backend, created (Unix seconds), user
    processes: [{host, pid, pid_started}, …]
    arrays: [{name, elements: [[run id, …], …], job_id (null until known), throttle, after, …}]

The first of ``processes`` is the launcher, the others are local pools. ``name`` is unique in the
queue and has no comma; ``after`` is the index of the array of the record that must have ended
before it, or null.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.snapshot import user_name
from lrscale import checkpoint
from lrscale.lock import process_alive
from lrscale.run_state import FINISHED, State
from lrscale.store import Store


@dataclass(frozen=True)
class Found:
    """What the store holds of a run.

    Attributes:
        state: None before the first attempt.
        has_checkpoint: whether there is something to resume from; only looked up for runs that
            began and are not finished.
        record: what ``config.json`` holds (``config``, ``snapshot``, ``code``); empty without.
        unreadable: why none of it can be read; empty where it can.
    """

    state: State | None = None
    has_checkpoint: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)
    unreadable: str = ""

    @property
    def code(self) -> str:
        """Digest of the code that the run was given; empty when none is recorded."""
        return str(self.record.get("code", {}).get("digest", ""))

    @property
    def snapshot(self) -> str:
        return str(self.record.get("snapshot", ""))


def new_id() -> str:
    """A submission's id: sorts by time, and no two are equal, as ``20261121-224503-9f3a1c``."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def new_record(
    submission: str, sweep: str, backend: str, arrays: Sequence[Mapping[str, Any]], **more: Any
) -> dict[str, Any]:
    """A submission's record, made by this process now; ``more`` is kept with it, or instead."""
    return {
        "id": submission,
        "sweep": sweep,
        "backend": backend,
        "created": time.time(),
        "user": user_name(),
        "processes": [process_stamp(os.getpid())],
        "arrays": list(arrays),
        **more,
    }


def process_stamp(pid: int) -> dict[str, Any]:
    """``host``, ``pid`` and ``pid_started``, which tell the process from a later one of its id."""
    return {"host": socket.gethostname(), "pid": pid, "pid_started": process_started(pid)}


def record_job(store: Store, submission: str, index: int, job_id: str) -> None:
    """Note the scheduler's id of one array of a submission."""
    record = store.read_submission(submission)
    record["arrays"][index]["job_id"] = job_id
    store.write_submission(submission, record)


def job_of_element(array: Mapping[str, Any], index: int) -> str:
    """The Slurm job of one element of a record's array, such as ``123_4``; empty while unknown."""
    if len(array["elements"]) == 1 or not array["job_id"]:
        return array["job_id"] or ""
    return f"{array['job_id']}_{index}"


def newest_submissions(store: Store) -> dict[str, str]:
    """Run id to the last submission that was to carry it out."""
    return {
        run: submission
        for submission, record in store.read_submissions().items()
        for array in record["arrays"]
        for element in array["elements"]
        for run in element
    }


def process_lives(stamp: Mapping[str, Any]) -> bool:
    """Whether the process of a ``process_stamp`` lives on this host."""
    if stamp["host"] != socket.gethostname() or not process_alive(stamp["pid"]):
        return False
    return bool(stamp["pid_started"] == process_started(stamp["pid"]))


def process_started(pid: int) -> str | None:
    """What tells a process from others that had or will have its id; None where /proc is not.

    Empty for a process that has ended and has not been waited for.

    The boot's id and field 22 of /proc/PID/stat (proc(5)), clock ticks from the boot to the start.
    The name in field 2 may hold anything, so counting begins after its closing parenthesis.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else f"{boot}:{fields[19]}"


def survey(store: Store, runs: Iterable[str]) -> dict[str, Found]:
    """What the store holds of each run; a folder's listing spares runs that it has not."""
    wanted = list(dict.fromkeys(runs))
    known = store.known_runs(wanted)
    return {run: _found(store, run) if run in known else Found() for run in wanted}


def _found(store: Store, run: str) -> Found:
    why = store.unreadable(run)
    if why:
        return Found(unreadable=why)
    run_dir = store.run(run)
    state = run_dir.state()
    record = run_dir.record() if run_dir.exists() else {}
    unfinished = state is not None and state.state not in FINISHED
    return Found(state, unfinished and bool(checkpoint.checkpoints(run_dir.path)), record)
