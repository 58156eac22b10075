"""The run store: where runs live on disk. Only this module, run_dir and checkpoint know the layout.

    STORE/
      store.json                       format of the store
      runs/ab/abcd…/                   one folder a run, sharded by the first two digits of its id
        config.json                    complete configuration, and where it came from
        state.json                     where the run is (replaced atomically)
        asked-cancelled, asked-paused  what a person wants of the run; empty
        metrics-0001.jsonl             what attempt 1 measured (append-only)
        metrics.jsonl                  the attempts reconciled, once the run has ended
        checkpoint-<step>-<digest>.pt  to resume from (lrscale.checkpoint)
        summary.json                   final numbers, provenance
        log.txt                        what runs that share a process group printed
      sweeps/<name>.json               manifest: which runs a sweep asked for
      submissions/<id>/                what was handed to a backend, and its logs
        submission.json, runs.json, closed
      snapshots/<digest>/              frozen code
      index/<sweep>.json               states of ended runs (lrscale.run_index)
      index/results/<sweep>.json       what ended runs have left (lrscale.run_index)
      locks/
      wandb/                           the mirror's own: cursors, scratch (lrscale.track.cursor)

All of it is the owner's alone (folders 0700, files 0600) whatever the umask and the folder around
it. Where the owner has let the group read a folder of the store (``chmod -R g+rX``), what is made
in it from then on can be read by the group too; nothing is ever writable by others.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lrscale.errors import UserError
from lrscale.files import clock_of, read_json, write_json
from lrscale.lock import hold
from lrscale.run_dir import RunDir

FORMAT = 1
FOLDERS = ("runs", "sweeps", "submissions", "snapshots", "locks")


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
        """Those of ``runs`` that have a folder: one listing a shard, not one look-up a run. Of a
        shard that cannot be listed all, so that whoever looks at them learns why."""
        wanted = set(runs)
        known: set[str] = set()
        for shard in {run[:2] for run in wanted}:
            try:
                known.update(os.listdir(self.root / "runs" / shard))
            except FileNotFoundError:
                continue
            except OSError:
                known.update(run for run in wanted if run[:2] == shard)
        return known & wanted

    def unreadable(self, run_id: str) -> str:
        """Why what a run has left cannot be read, such as ``/…: Permission denied``; empty where
        it can, or where there is nothing."""
        run_dir = self.run(run_id)
        try:
            if run_dir.exists():
                run_dir.record()
            run_dir.state()
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        return ""

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

    def result_index_path(self, sweep: str) -> Path:
        return self.root / "index" / "results" / f"{sweep}.json"

    def snapshot_dir(self, digest: str) -> Path:
        return self.root / "snapshots" / digest

    def clock(self) -> float:
        """Now, by the clock of ``State.heard``."""
        return clock_of(self.root / "locks")

    @contextlib.contextmanager
    def lock(
        self, name: str, wait_seconds: float = 60.0, stale_seconds: float = math.inf
    ) -> Iterator[Path]:
        """Hold a store-wide lock, of which the holder is given the path; see ``lock.hold``."""
        path = self.root / "locks" / name
        with hold(path, wait_seconds, stale_seconds):
            yield path
