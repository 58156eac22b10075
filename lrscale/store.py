"""The run store: where runs live on disk. The only module that knows the layout.

    STORE/
      store.json                       format of the store
      runs/ab/abcd…/                   one folder a run, sharded by the first two digits of its id
        config.json                    complete configuration, and where it came from
        state.json                     where the run is (replaced atomically)
        metrics-0001.jsonl             what attempt 1 measured (append-only)
        metrics.jsonl                  the attempts reconciled, once the run has ended
        checkpoint-<step>-<digest>.pt  to resume from (lrscale.checkpoint)
        summary.json                   final numbers, provenance
        log.txt                        what runs that share a process group printed
      sweeps/<name>.json               manifest: which runs a sweep asked for
      submissions/<id>/                what was handed to a backend, and its logs
        submission.json, runs.json, closed
      snapshots/<digest>/              frozen code
      index/<sweep>.json               states of ended runs (lrscale.state_index)
      locks/
      wandb/                           the mirror's own: cursors, scratch (lrscale.track.cursor)

Every file is written under a temporary name in the same folder, flushed, and renamed, so that a
reader sees the old or the new content and never half of one.

All of it is the owner's alone (folders 0700, files 0600) whatever the umask and the folder around
it. Where the owner has let the group read a folder of the store (``chmod -R g+rX``), what is made
in it from then on can be read by the group too; nothing is ever writable by others.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import shutil
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lrscale.errors import UserError

FORMAT = 1
FOLDERS = ("runs", "sweeps", "submissions", "snapshots", "locks")

RunState = Literal[
    "running", "done", "diverged", "failed",
    "preempted", "timeout", "interrupted", "killed", "cancelled",
]  # fmt: skip
# A run in one of these states came to an end of its own, with a summary and one file of metrics.
FINISHED: frozenset[str] = frozenset({"done", "diverged"})
# A run in one of these states is finished business: nothing resumes it unless asked to.
ENDED: frozenset[str] = FINISHED | {"failed", "cancelled"}
# Ends of an attempt that may not happen again and again without a new checkpoint between them.
BADLY: frozenset[str] = frozenset({"failed", "killed", "timeout"})


@dataclass(frozen=True)
class State:
    """Where a run is.

    Attributes:
        state: see RunState. ``running`` is only as true as ``updated`` is recent.
        attempt: counts the processes that have worked on the run, from 1.
        step, total_steps: optimizer steps taken and planned.
        resumed_from: the step that this attempt started from.
        epoch: passes over the data completed.
        loss: the last minibatch (or full-batch) loss seen; None before the first.
        started, updated: Unix seconds of this attempt's start and last sign of life.
        host, pid: where the attempt runs.
        job: Slurm job id such as ``123_4``; empty elsewhere.
        requeues: how often that job had been requeued when the attempt began.
        cause: for failed and killed runs, one line.
        interruptions: how many of the earlier attempts ended in which state, such as
            ``{"preempted": 3, "killed": 1}``.
        retries: how many earlier attempts in a row ended badly (killed, failed, timeout) without
            a checkpoint later than the one they began with; since a person asked last.
    """

    state: RunState
    attempt: int
    step: int = 0
    total_steps: int = 0
    resumed_from: int = 0
    epoch: int = 0
    loss: float | None = None
    started: float = 0.0
    updated: float = 0.0
    host: str = ""
    pid: int = 0
    job: str = ""
    requeues: int = 0
    cause: str = ""
    interruptions: dict[str, int] = field(default_factory=dict)
    retries: int = 0

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> State:
        """From what a state file holds; a later version may have written more."""
        return cls(**{name: value for name, value in raw.items() if name in cls.__annotations__})


def next_state(
    earlier: State | None, attempt: int, step: int, job: str = "", requeues: int = 0
) -> State:
    """The state of an attempt that begins with a checkpoint of ``step``; what came before it is
    counted.

    An earlier attempt that could not say how it ended was killed; unless its job is here again:
    then the scheduler has taken its node away and requeued it.
    """
    now = State(
        "running",
        attempt,
        step=step,
        resumed_from=step,
        started=time.time(),
        job=job,
        requeues=requeues,
    )
    if earlier is None:
        return now
    ended = earlier.state
    if ended == "running":
        ended = "preempted" if job and job == earlier.job else "killed"
    count = earlier.interruptions.get(ended, 0) + 1
    retries = earlier.retries + (ended in BADLY)
    return replace(
        now,
        total_steps=earlier.total_steps,
        epoch=earlier.epoch,
        interruptions=earlier.interruptions | {ended: count},
        retries=0 if step > earlier.resumed_from else retries,
    )


class Superseded(Exception):
    """A later attempt owns the run now: this process must leave without writing."""


class Store:
    """A folder of runs, sweeps, submissions and snapshots."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()

    def create(self) -> None:
        """Make the store's folders if they are not there.

        Raises:
            UserError: they cannot be made, or somebody else owns the store or may write to it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._check_owner()
            for name in FOLDERS:
                (self.root / name).mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            what = "not a folder" if isinstance(error, FileExistsError) else error.strerror
            raise UserError(
                f"run store {self.root}: {what}; choose another with --runs DIR"
            ) from None
        marker = self.root / "store.json"
        if not marker.exists():
            write_json(marker, {"format": FORMAT})

    def _check_owner(self) -> None:
        """Jobs run code from the store, so that whoever may write to it may run anything."""
        status, me = self.root.stat(), os.geteuid()
        if me not in (0, status.st_uid):
            raise UserError(
                f"run store {self.root}: belongs to another user (uid {status.st_uid}); "
                "choose another with --runs DIR"
            )
        if status.st_mode & 0o022:
            raise UserError(
                f"run store {self.root}: others may write to it, and so have your jobs run what "
                f"they like; chmod go-w {shlex.quote(str(self.root))}, or choose another with "
                "--runs DIR"
            )

    def run(self, run_id: str) -> RunDir:
        """The folder of one run, there or not."""
        return RunDir(self.root / "runs" / run_id[:2] / run_id)

    def known_runs(self, runs: Iterable[str]) -> set[str]:
        """Those of ``runs`` that have a folder: one listing a shard, not one look-up a run."""
        wanted = set(runs)
        known: set[str] = set()
        for shard in {run[:2] for run in wanted}:
            with contextlib.suppress(FileNotFoundError):
                known.update(os.listdir(self.root / "runs" / shard))
        return known & wanted

    def find_run(self, prefix: str) -> str:
        """The one run id that starts with ``prefix``. Raises UserError for none or several."""
        found: list[str] = []
        if re.fullmatch(r"[0-9a-f]+", prefix):
            shards = (self.root / "runs").glob(f"{prefix[:2]}*/{prefix}*")
            found = sorted(path.name for path in shards)
        if len(found) != 1:
            what = "no run" if not found else f"{len(found)} runs"
            raise UserError(f"{what} in {self.root} whose id starts with '{prefix}'")
        return found[0]

    # --- sweeps: which runs a sweep file asked for

    def sweep_names(self) -> list[str]:
        return sorted(path.stem for path in (self.root / "sweeps").glob("*.json"))

    def read_sweep(self, name: str) -> dict[str, Any]:
        """The manifest of a sweep. Raises UserError when the store has none of that name."""
        inside = os.path.basename(name) == name
        manifest = read_json(self.root / "sweeps" / f"{name}.json") if inside else None
        if manifest is None:
            known = ", ".join(self.sweep_names()) or "none yet"
            raise UserError(f"no sweep '{name}' in the run store {self.root} (known: {known})")
        return manifest

    def write_sweep(self, name: str, manifest: Mapping[str, Any]) -> None:
        write_json(self.root / "sweeps" / f"{name}.json", manifest)

    # --- submissions: what was handed to a backend

    def submission_dir(self, submission: str) -> Path:
        return self.root / "submissions" / submission

    def write_submission(self, submission: str, record: Mapping[str, Any]) -> None:
        folder = self.submission_dir(submission)
        folder.mkdir(exist_ok=True, mode=0o700)
        write_json(folder / "submission.json", record)

    def write_run_records(self, submission: str, records: Mapping[str, Any]) -> None:
        """What each run's ``config.json`` is to hold, by run id; the job makes the folders."""
        folder = self.submission_dir(submission)
        folder.mkdir(exist_ok=True, mode=0o700)
        write_json(folder / "runs.json", records)

    def read_run_records(self, submission: str) -> dict[str, Any]:
        return read_json(self.submission_dir(submission) / "runs.json") or {}

    def read_submission(self, submission: str) -> dict[str, Any]:
        """One submission's record. Raises UserError when there is none of that id."""
        record = read_json(self.submission_dir(submission) / "submission.json")
        if record is None:
            raise UserError(f"no submission '{submission}' in the run store {self.root}")
        return record

    def read_submissions(self, open_only: bool = False) -> dict[str, dict[str, Any]]:
        """Every submission's record by its id, oldest first (ids sort by time).

        ``open_only`` passes over those that ``close_submission`` has marked, unread.
        """
        records = {}
        for path in sorted((self.root / "submissions").glob("*/submission.json")):
            if open_only and (path.parent / "closed").exists():
                continue
            record = read_json(path)
            if record is not None:
                records[path.parent.name] = record
        return records

    def close_submission(self, submission: str) -> None:
        """Mark that nothing of a submission is queued or running any more."""
        (self.submission_dir(submission) / "closed").touch(mode=0o600)

    def index_path(self, sweep: str) -> Path:
        return self.root / "index" / f"{sweep}.json"

    def snapshot_dir(self, digest: str) -> Path:
        return self.root / "snapshots" / digest

    @contextlib.contextmanager
    def lock(
        self, name: str, wait_seconds: float = 60.0, stale_seconds: float = math.inf
    ) -> Iterator[Path]:
        """Hold a store-wide lock: a folder, because renames are atomic on NFS and flock is not.

        A lock whose holder has died on this host is taken over, and so is one whose folder, of
        which the holder is given the path, has not been touched for ``stale_seconds``. Raises
        UserError when another process still holds it after ``wait_seconds``.
        """
        path = self.root / "locks" / name
        _drop_stale(path, stale_seconds)
        deadline = time.monotonic() + wait_seconds
        while not _acquire(path):
            if time.monotonic() > deadline:
                host, pid = _lock_owner(path) or ("?", "?")
                raise UserError(
                    f"another process (pid {pid} on {host}) holds {path}; "
                    "if it is gone for certain, remove that folder"
                )
            time.sleep(0.05)
        try:
            yield path
        finally:
            (path / _me()).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # the next holder may be in it by now
                path.rmdir()


class RunDir:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    @property
    def state_path(self) -> Path:
        return self.path / "state.json"

    def exists(self) -> bool:
        return (self.path / "config.json").exists()

    def create(self, record: Mapping[str, Any]) -> None:
        """Make the folder with its ``config.json``: at least ``{"config": …}``."""
        make_folder(self.path.parent)
        make_folder(self.path)
        write_json(self.path / "config.json", record, indent=1)

    def record(self) -> dict[str, Any]:
        """What ``create`` wrote. Raises UserError when there is no such run."""
        record = read_json(self.path / "config.json")
        if record is None:
            raise UserError(f"no run at {self.path}")
        return record

    def state(self) -> State | None:
        """None before the first attempt."""
        raw = read_json(self.state_path)
        return None if raw is None else State.of(raw)

    def summary(self) -> dict[str, Any] | None:
        return read_json(self.path / "summary.json")

    def predictions(self) -> bytes | None:
        """What ``lrscale.predictions`` reads; None for a run that has left none."""
        try:
            return (self.path / "predictions.npz").read_bytes()
        except FileNotFoundError:
            return None

    # --- writing: one attempt at a time

    def begin(self) -> int:
        """Claim the next attempt. The claim is an exclusive create, atomic on NFS as well."""
        attempt = self.newest_attempt() + 1
        while True:
            try:
                os.close(open_file(self._metrics_path(attempt), os.O_EXCL))
                return attempt
            except FileExistsError:
                attempt += 1

    def check_current(self, attempt: int) -> None:
        """Raises Superseded when a later attempt has begun. Call before every durable write."""
        if attempt != max(self._attempts(), default=0):  # listing asks the server on NFS
            raise Superseded(f"run {self.id}: attempt {attempt} was overtaken")

    def write_state(self, state: State) -> None:
        """Replace the state, stamped with the time, host and process. Raises Superseded."""
        self.check_current(state.attempt)
        stamped = asdict(state) | {
            "updated": time.time(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        write_json(self.state_path, stamped)

    def open_metrics(self, attempt: int, resumed_from: int) -> MetricsWriter:
        """The attempt's own metrics file; ``resumed_from`` is the step it starts after."""
        writer = MetricsWriter(self._metrics_path(attempt))
        writer.write({"kind": "attempt", "attempt": attempt, "step": resumed_from})
        return writer

    def finish(
        self, state: State, summary: Mapping[str, Any], predictions: bytes | None = None
    ) -> None:
        """Write predictions, where there are any, and the summary, join the attempts' metrics into
        one file, then set the end state.

        In this order, so that a cut at any point leaves a run that is still unfinished and
        finishes again to the same files.
        """
        self.check_current(state.attempt)
        lines = [json.dumps(record) for record in self.metrics(state.attempt)]
        write_text(self.path / "metrics.jsonl", "".join(line + "\n" for line in lines))
        if predictions is not None:
            write_bytes(self.path / "predictions.npz", predictions)
        write_json(self.path / "summary.json", summary, indent=1)
        self.write_state(state)
        attempts = map(self._metrics_path, self._attempts())
        for path in [*attempts, *self.path.glob(".*.tmp")]:  # killed writers leave the latter
            path.unlink(missing_ok=True)

    def newest_attempt(self) -> int:
        """The number of the last attempt that was begun; 0 before the first."""
        state = self.state()
        return max([state.attempt if state else 0, *self._attempts()])

    def grant_retries(self) -> None:
        """A person asks for the run, which nobody has, again: bad ends from now on count."""
        state = self.state()
        if state is not None and state.retries:
            write_json(self.path / "state.json", asdict(replace(state, retries=0)))

    def reset(self) -> None:
        """Forget every result and checkpoint, keep the configuration: the run starts afresh.

        An attempt is claimed and left empty, so that a process that still works on the run finds
        itself overtaken and the next attempt does not take its number.
        """
        claim = self._metrics_path(self.begin())
        for path in self.path.iterdir():
            if path.name not in ("config.json", claim.name):
                path.unlink()

    # --- reading metrics

    def metrics(self, up_to: int | None = None) -> list[dict[str, Any]]:
        """All records in order, each step once, whatever was interrupted; or those as the
        attempt ``up_to`` knows them, whatever one that overtakes it records by now.

        An attempt that resumed from step s replaces what earlier attempts recorded after s.
        A torn last line (a kill while writing) is left out: it lies after the checkpoint.
        """
        state = self.state()
        if state is not None and state.state in FINISHED:
            return list(_read_lines(self.path / "metrics.jsonl"))
        kept: list[dict[str, Any]] = []
        for attempt in self._attempts():
            if up_to is not None and attempt > up_to:
                break
            for record in _read_lines(self._metrics_path(attempt)):
                if record["kind"] == "attempt":
                    kept = [cut for old in kept if (cut := _until(old, record["step"]))]
                else:
                    kept.append(record)
        return kept

    def _attempts(self) -> list[int]:
        try:
            files = os.listdir(self.path)
        except FileNotFoundError:
            return []
        names = (re.fullmatch(r"metrics-(\d+)\.jsonl", file) for file in files)
        return sorted(int(name[1]) for name in names if name)

    def _metrics_path(self, attempt: int) -> Path:
        return self.path / f"metrics-{attempt:04d}.jsonl"


class MetricsWriter:
    """Appends JSON lines. Records have a ``kind`` and the ``step`` after which they were taken.

    ``steps`` records hold one value a step in lists: ``{"kind": "steps", "step": last,
    "loss": […], "lr": […]}`` for the steps ``last − len + 1 … last``. Non-finite numbers are
    written as null.

    What a full disk does not take stays here, in order, and is written by a later ``flush``.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._pending = bytearray()
        self._closed = False

    def write(self, record: Mapping[str, Any]) -> None:
        self._pending += to_json(record).encode() + b"\n"

    def flush(self) -> None:
        """To the disk: called before a checkpoint, so that no step lies behind it unrecorded."""
        while self._pending:
            del self._pending[: os.write(self._file, self._pending)]
        if not self._closed:
            os.fsync(self._file)

    def close(self) -> None:
        """``flush``, once and for all. Idempotent."""
        self.flush()
        if not self._closed:
            os.close(self._file)
            self._closed = True


def to_json(value: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON text; non-finite numbers, which JSON has no form for, become null."""
    try:
        return json.dumps(value, allow_nan=False, indent=indent)
    except ValueError:
        return json.dumps(_finite(value), indent=indent)


def write_json(path: Path, value: Mapping[str, Any], indent: int | None = None) -> None:
    """Replace ``path`` atomically; non-finite numbers become null."""
    write_text(path, to_json(value, indent) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` atomically; see ``open_file`` for who may read it."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with open(open_file(temporary, os.O_TRUNC), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:  # such as a full disk, which has room again for smaller files
        temporary.unlink(missing_ok=True)
        raise


def open_file(path: Path, flags: int, executable: bool = False) -> int:
    """A descriptor to write a file with, which is made if it is not there.

    It is the owner's alone, or the group's to read where the group may read the folder.
    """
    mode = 0o700 if executable else 0o600
    file = os.open(path, os.O_CREAT | os.O_WRONLY | flags, mode)
    if _group_reads(path.parent):
        os.fchmod(file, mode | mode >> 3 & 0o050)
    return file


def make_folder(path: Path) -> None:
    """A folder, if it is not there, that is the owner's alone, or the group's to read where the
    group may read the one that it is in."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        if _group_reads(path.parent):
            path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o050)


def _group_reads(folder: Path) -> bool:
    return folder.stat().st_mode & 0o050 == 0o050


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``; None when there is no such file."""
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return value


def process_alive(pid: int) -> bool:
    """Whether a process of this host with that id is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _acquire(path: Path) -> bool:
    """One attempt at a lock: a folder with a file in it that is named after its holder.

    It is made elsewhere and renamed into place, which fails while another holder's is there. A
    dead holder's file is renamed to ours: of several who try, one succeeds.
    """
    mine = path.with_name(f".{path.name}.{_me()}")
    mine.mkdir(exist_ok=True, mode=0o700)
    (mine / _me()).touch(mode=0o600)
    try:
        os.rename(mine, path)  # succeeds on an empty folder, as a lock just released may be
        return True
    except OSError:
        shutil.rmtree(mine, ignore_errors=True)
    owner = _lock_owner(path)
    if owner is None or owner[0] != socket.gethostname() or process_alive(int(owner[1])):
        return False
    try:
        os.rename(path / ".".join(owner), path / _me())
        return True
    except OSError:
        return False


def _drop_stale(path: Path, seconds: float) -> None:
    """Remove a lock that nobody has touched for so long."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > seconds:
            shutil.rmtree(path, ignore_errors=True)


def _me() -> str:
    return f"{socket.gethostname()}.{os.getpid()}"


def _lock_owner(path: Path) -> tuple[str, str] | None:
    """Host and pid of the lock's holder; None when it is free."""
    try:
        name = next(iter(os.listdir(path)), "")
    except OSError:
        return None
    host, _, pid = name.rpartition(".")
    return (host, pid) if pid.isdigit() else None


def _read_lines(path: Path) -> Iterable[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def _until(record: dict[str, Any], step: int) -> dict[str, Any] | None:
    """The part of a record up to ``step``; None when nothing of it is."""
    if record["step"] <= step:
        return record
    if record["kind"] != "steps":
        return None
    keep = len(record["loss"]) - (record["step"] - step)
    if keep <= 0:
        return None
    cut = {k: v[:keep] if isinstance(v, list) else v for k, v in record.items()}
    return cut | {"step": step}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
