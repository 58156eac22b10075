"""The W&B server as a place to read back from: which project, and what it holds of which runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lrscale.errors import UserError

PROJECT = "lrscale"  # unless WANDB_PROJECT says otherwise
PAGE = 100  # runs a request
TIMEOUT_SECONDS = 30
PAUSES = (1.0, 3.0)  # before asking again
DELETED = "previously created and deleted"  # W&B's words about an id

T = TypeVar("T")


@dataclass(frozen=True)
class Held:
    """What the server holds of a run.

    Attributes:
        rows: how many; row k is line k of its history.
        last: ``global_step`` of the last one, as the summary has it, which may lag behind the
            history; None without.
        tags: of the run.
    """

    rows: int = 0
    last: int | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Media:
    """What the server holds of tables and images.

    Attributes:
        digest: what the run's summary has under that name.
        whole: keys of the summary whose file is there at its full size.
    """

    digest: str = ""
    whole: frozenset[str] = frozenset()


class Server:
    """Reads a project; one question at a time, whatever the threads.

    Attributes:
        target: the project's address: what cursors are of.

    Raises:
        UserError: by every method, when the server refuses or does not answer.
    """

    def __init__(self) -> None:
        # The client prints nothing of its own and reports its faults to nobody.
        os.environ |= {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
        import wandb

        self._api: Any = asked(lambda: wandb.Api(timeout=TIMEOUT_SECONDS))
        entity = os.environ.get("WANDB_ENTITY") or asked(lambda: self._api.default_entity)
        if not entity:
            raise UserError("Weights & Biases: nobody is logged in: run `wandb login`")
        self.entity: str = entity
        self._lock = threading.Lock()
        self.project = os.environ.get("WANDB_PROJECT") or PROJECT
        self.target = f"{self._api.settings['base_url']}/{self.entity}/{self.project}"

    def restart(self) -> None:
        """End the client's own process, which does not let go of runs that it failed to open."""
        import wandb

        with self._lock:
            wandb.teardown()
            self._api = asked(lambda: wandb.Api(timeout=TIMEOUT_SECONDS))

    def held(self, wandb_ids: Sequence[str]) -> dict[str, Held]:
        """Those of the runs that are there."""
        found: dict[str, Held] = {}
        for first in range(0, len(wandb_ids), PAGE):
            page = list(wandb_ids[first : first + PAGE])
            for run in self._runs({"name": {"$in": page}}):
                last = run.summary.get("global_step")
                found[run.id] = Held(run.historyLineCount, last, tuple(run.tags))
        return found

    def steps(self, wandb_id: str) -> list[int]:
        """``global_step`` of every row, in order, whatever the summary says."""

        def read() -> list[int]:
            run = self._api.run(f"{self.entity}/{self.project}/{wandb_id}")
            history = run.scan_history(keys=["global_step"], use_cache=False)
            return [int(row["global_step"]) for row in history]

        with self._lock:
            return asked(read)

    def media(self, wandb_id: str) -> Media:
        """The tables and images of a run, as its summary names them."""

        def read() -> Media:
            self._api.flush()
            run = self._api.run(f"{self.entity}/{self.project}/{wandb_id}")
            summary, sizes = run.summary_metrics, {f.name: f.size for f in run.files()}
            files = {k: v for k, v in summary.items() if isinstance(v, dict) and "path" in v}
            whole = {k for k, v in files.items() if sizes.get(v["path"]) == v["size"]}
            return Media(str(summary.get("digest")), frozenset(whole))

        with self._lock:
            return asked(read)

    def report(self, marker: str) -> str | None:
        """The id of the report whose description has ``marker``; None without one."""

        import wandb

        def read() -> str | None:
            api = wandb.Api(timeout=TIMEOUT_SECONDS)  # a used one remembers the reports
            reports = api.reports(f"{self.entity}/{self.project}")
            found = (one.id for one in reports if marker in (one.description or ""))
            return next(found, None)

        with self._lock:
            return asked(read)

    def _runs(self, filters: dict[str, Any]) -> list[Any]:
        path = f"{self.entity}/{self.project}"

        def read() -> list[Any]:
            self._api.flush()  # it remembers answers
            return list(self._api.runs(path, filters=filters, per_page=PAGE, lazy=False))

        try:
            with self._lock:
                return asked(read)
        except ValueError as error:
            if "Could not find project" in str(error):  # not made yet
                return []
            raise


def asked(question: Callable[[], T]) -> T:
    """What W&B's client answers, asked again where the network may be to blame.

    Raises UserError, without a traceback or a key, for whatever the client raises in the end.
    """
    for pause in (*PAUSES, None):
        try:
            return question()
        except Exception as error:
            if not of_client(error):
                raise
            if pause is None or "credentials" in str(error):
                raise UserError(f"Weights & Biases: {first_line(error)}") from error
            time.sleep(pause)
    raise AssertionError("unreachable")


def of_client(error: BaseException) -> bool:
    """Whether W&B's client raised it; some of its errors have no common class."""
    return type(error).__module__.partition(".")[0] in ("wandb", "requests")


def first_line(error: BaseException) -> str:
    """Of an error's text; its kind where it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
