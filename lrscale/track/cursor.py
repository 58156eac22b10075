"""How far each run has been mirrored, and who is at it: the store's own ``wandb`` folder.

STORE/wandb/
  cursors/ab/abcd….json     of run abcd…: what a reading back has shown the server to hold
  reports/<sweep>.json      where the sweep's comparison is on the server
  <host>.<pid>/             scratch of the client, gone when it is done
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lrscale.files import make_folder, read_json, write_json
from lrscale.lock import process_alive
from lrscale.store import Store

STALE_SECONDS = 600.0  # a run's lock that its holder has not touched for so long is free


@dataclass(frozen=True)
class Cursor:
    """What the server was seen to hold of a run.

    Attributes:
        target: the project, as ``Server.target`` has it.
        wandb_id: the run's id there: lrscale's, unless the run was published again.
        rows: how many.
        digest: of these rows (``rows.digest``).
        state, updated: the store's state of the run that this is of; the state is empty where
            the run was left to be carried on.
        tags: the sweeps that it was published for.
    """

    target: str
    wandb_id: str
    rows: int = 0
    digest: str = ""
    state: str = ""
    updated: float = 0.0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportCursor:
    """Where a sweep's comparison is on the server.

    Attributes:
        target: the project, as ``Server.target`` has it.
        marker: what the report is known by, wherever its tables are.
        run: the id of the run that holds tables and figures.
        digest: of the comparison that was read back there; empty before the first.
    """

    target: str
    marker: str
    run: str
    digest: str = ""


class Cursors:
    """The ``wandb`` folder of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.folder = store.root / "wandb"

    def read(self, run_id: str, target: str) -> Cursor:
        """Of a run that was never mirrored into ``target``, that of nothing."""
        raw = read_json(self._path(run_id))
        if raw is None or raw["target"] != target:
            return Cursor(target, run_id)
        return Cursor(**raw | {"tags": tuple(raw["tags"])})

    def write(self, run_id: str, cursor: Cursor) -> None:
        """Replaced atomically."""
        self._write(self._path(run_id), asdict(cursor))

    def read_report(self, sweep: str, target: str) -> ReportCursor | None:
        """None for a sweep whose comparison was never sent to ``target``."""
        raw = read_json(self._report_path(sweep))
        return None if raw is None or raw["target"] != target else ReportCursor(**raw)

    def write_report(self, sweep: str, cursor: ReportCursor) -> None:
        """Replaced atomically."""
        self._write(self._report_path(sweep), asdict(cursor))

    @contextlib.contextmanager
    def claim(self, name: str, wait_seconds: float = 0.0) -> Iterator[Path]:
        """Be the only one who mirrors a run, by its id, or writes a sweep's report, by ``report-``
        and its name. The lock is to be touched now and then.

        Raises UserError when another process does, and still does after ``wait_seconds``.
        """
        with self._store.lock(f"wandb-{name}", wait_seconds, STALE_SECONDS) as lock:
            yield lock

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for the client's files, and W&B's variables that point there.

        What a killed process of this host has left goes as well.
        """
        host = socket.gethostname()
        for left in self.folder.glob(f"{host}.*"):
            pid = left.name.rpartition(".")[2]
            if pid.isdigit() and not process_alive(int(pid)):
                shutil.rmtree(left, ignore_errors=True)
        mine = self.folder / f"{host}.{os.getpid()}"
        make_folder(self.folder)
        mine.mkdir(exist_ok=True, mode=0o700)
        for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ[name] = str(mine)  # in $HOME unless told otherwise
        try:
            yield mine
        finally:
            shutil.rmtree(mine, ignore_errors=True)

    def _path(self, run_id: str) -> Path:
        return self.folder / "cursors" / run_id[:2] / f"{run_id}.json"

    def _report_path(self, sweep: str) -> Path:
        return self.folder / "reports" / f"{sweep}.json"

    def _write(self, path: Path, value: dict[str, Any]) -> None:
        for folder in reversed(path.relative_to(self.folder).parents):
            make_folder(self.folder / folder)
        write_json(path, value)
