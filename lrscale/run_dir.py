"""One run's folder: its configuration, state, metrics and results."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from lrscale.control import Request
from lrscale.errors import UserError
from lrscale.files import (
    make_folder,
    open_file,
    read_json,
    to_json,
    write_bytes,
    write_json,
    write_text,
)
from lrscale.run_state import FINISHED, State


class Superseded(Exception):
    """A later attempt owns the run now: this process must leave without writing."""


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
        try:
            heard = self.state_path.stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None
        raw = read_json(self.state_path)
        return None if raw is None else State.of(raw, heard)

    def summary(self) -> dict[str, Any] | None:
        return read_json(self.path / "summary.json")

    def predictions(self) -> bytes | None:
        """What ``lrscale.predictions`` reads; None for a run that has left none."""
        try:
            return (self.path / "predictions.npz").read_bytes()
        except FileNotFoundError:
            return None

    # --- what a person wants of the run

    def ask(self, request: Request) -> None:
        """Have whoever works on the run, now or later, save and leave, and the run end so."""
        self.withdraw()
        os.close(open_file(self._request_path(request), 0))

    def asked(self) -> Request | None:
        """What ``ask`` was last given, unless it was withdrawn."""
        return next((r for r in get_args(Request) if self._request_path(r).exists()), None)

    def withdraw(self) -> None:
        for request in get_args(Request):
            self._request_path(request).unlink(missing_ok=True)

    def _request_path(self, request: Request) -> Path:
        return self.path / f"asked-{request}"

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
        # A listing may be old on NFS, where opening a file asks the server: for the state as well.
        if attempt != self.newest_attempt():
            raise Superseded(f"run {self.id}: attempt {attempt} was overtaken")

    def write_state(self, state: State) -> None:
        """Replace the state, stamped with the time, host and process. Raises Superseded."""
        self.check_current(state.attempt)
        stamped = state.record() | {
            "updated": time.time(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        write_json(self.state_path, stamped)

    def open_metrics(
        self, attempt: int, resumed_from: int, evaluated: int | None = None
    ) -> MetricsWriter:
        """The attempt's own metrics file.

        Args:
            resumed_from: the step it starts after.
            evaluated: the step of the last evaluation that it takes over; it repeats later ones.
                None for that of ``resumed_from``.
        """
        writer = MetricsWriter(self._metrics_path(attempt))
        begun = {"kind": "attempt", "attempt": attempt, "step": resumed_from}
        writer.write(begun if evaluated is None else begun | {"evaluated": evaluated})
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
        for path in [*self.joined(), *self.path.glob(".*.tmp")]:  # killed writers leave the latter
            path.unlink(missing_ok=True)

    def joined(self) -> list[Path]:
        """What nothing reads any more once the run has finished: the attempts' own metrics, and
        what a person wanted of the run."""
        if not (self.path / "metrics.jsonl").exists():
            return []
        wishes = (self._request_path(request) for request in get_args(Request))
        attempts = map(self._metrics_path, self._attempts())
        return [*attempts, *(path for path in wishes if path.exists())]

    def newest_attempt(self) -> int:
        """The number of the last attempt that was begun; 0 before the first."""
        state = self.state()
        return max([state.attempt if state else 0, *self._attempts()])

    def grant_retries(self) -> None:
        """A person asks for the run, which nobody has, again: what was asked before is void, and
        bad ends from now on count."""
        self.withdraw()
        state = self.state()
        if state is not None and state.retries:
            write_json(self.state_path, replace(state, retries=0).record())

    def reset(self) -> None:
        """Forget every result and checkpoint, keep the configuration: the run starts afresh.

        An attempt is claimed and left empty, unless there was none, so that a process that still
        works on the run finds itself overtaken and the next attempt does not take its number.
        """
        claim = self._metrics_path(self.begin()) if self.newest_attempt() else None
        for path in self.path.iterdir():
            if path.name != "config.json" and path != claim:
                path.unlink()

    def forgotten(self) -> int:
        """The attempt that ``reset`` has claimed, up to which nothing counts; 0 for none."""
        oldest = min(self._attempts(), default=0)
        return oldest if oldest > 1 else 0

    # --- reading metrics

    def metrics(self, up_to: int | None = None) -> list[dict[str, Any]]:
        """All records in order, each step once, whatever was interrupted; or those as the
        attempt ``up_to`` knows them, whatever one that overtakes it records by now.

        An attempt that resumed from step s replaces what earlier attempts recorded after s, and
        the evaluation of s itself where that was not on record yet when it began: one that it
        has overtaken may still add it.
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
                    kept = [cut for old in kept if (cut := _taken_over(old, record))]
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


def _taken_over(record: dict[str, Any], by: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an attempt that begins has of an earlier record."""
    if record["kind"] == "epoch" and record["step"] > by.get("evaluated", by["step"]):
        return None
    return _until(record, by["step"])


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
