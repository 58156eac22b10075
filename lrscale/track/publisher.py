"""Run store → W&B, for runs that had no network: exactly the rows that the server does not hold.

For each run: claim it, see what the server holds, send what comes after, read back, and only then
move the cursor. A cut at any point leaves the server ahead of the cursor at most, and what it
holds is looked at before anything is sent.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lrscale.errors import UserError
from lrscale.run_state import ENDED, FINISHED, State
from lrscale.store import Store
from lrscale.track.cursor import Cursor, Cursors
from lrscale.track.mirror import Differs, Mirror, check_held, rows_of
from lrscale.track.rows import Row, digest
from lrscale.track.server import DELETED, Held, Server, first_line, of_client

WORKERS = 8  # runs at once
BATCH = 100  # runs that are claimed, sent and read back together
TRIES = 3  # of a run whose sending failed or did not arrive
READ_BACK_SECONDS = 20.0  # for what was sent to be seen

Kind = Literal["sent", "unchanged", "waiting", "busy", "deleted", "differs", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        kind: ``sent`` (and read back), ``unchanged``, ``waiting`` (not begun), ``busy`` (another
            process mirrors it), ``deleted`` on the server, ``differs`` (the server holds
            something else), ``failed``.
        rows: that were sent and read back.
        text: why, where that is a question.
    """

    run: str
    kind: Kind
    rows: int = 0
    text: str = ""


@dataclass
class _Work:
    """A claimed run on its way.

    Attributes:
        claim: what lets go of the run; ``lock`` is to be touched.
        mirror: open on the server, if it is.
        every: its rows when it was sent; ``state``, its state then.
        tags: that it has on the server.
    """

    run: str
    claim: contextlib.ExitStack
    lock: Path
    cursor: Cursor
    mirror: Mirror | None = None
    every: Sequence[Row] = ()
    state: State | None = None
    tags: tuple[str, ...] = ()


class Publisher:
    """Publishes runs for a sweep. In use, ``with``: closes what it has left open.

    Args:
        tag: the sweep's name, which its runs are tagged with.
        again: runs that were deleted, or done again with other results, become new ones.
        keep_open: running runs stay open between two ``publish``, so that W&B shows them running.
    """

    def __init__(
        self, store: Store, server: Server, tag: str, again: bool = False, keep_open: bool = False
    ) -> None:
        self._store, self._server, self._tag = store, server, tag
        self._again, self._keep_open = again, keep_open
        self._cursors = Cursors(store)
        self._folder = Path()
        self._stack = contextlib.ExitStack()
        self._open: dict[str, _Work] = {}

    def __enter__(self) -> Publisher:
        self._folder = self._stack.enter_context(self._cursors.scratch())
        return self

    def __exit__(self, *_: object) -> None:
        for work in self._open.values():
            with work.claim, contextlib.suppress(Exception):  # the next one sees what arrived
                if work.mirror is not None:
                    work.mirror.close(work.state)  # not a newer one, of which rows are still to go
        self._stack.close()

    def publish(self, runs: Iterable[str]) -> Iterator[Outcome]:
        """Send what is new of each run; what became of it, in no particular order."""
        due = []
        for run in runs:
            outcome = self._settled(run)
            if outcome is None:
                due.append(run)
            else:
                yield outcome
        for first in range(0, len(due), BATCH):
            yield from self._publish_batch(due[first : first + BATCH])

    def _settled(self, run: str) -> Outcome | None:
        """Of a run that there is nothing to do for, found without asking the server."""
        state = self._store.run(run).state()
        if state is None:
            return Outcome(run, "waiting", text="not begun")
        cursor = self._cursors.read(run, self._server.target)
        told = (cursor.state, cursor.updated) == (state.state, state.updated)
        settled = told and state.state in ENDED and self._tag in cursor.tags
        return Outcome(run, "unchanged") if settled else None

    def _publish_batch(self, runs: Sequence[str]) -> Iterator[Outcome]:
        outcomes: dict[str, Outcome] = {}
        claimed: list[_Work] = []
        try:
            for run in runs:
                try:
                    claimed.append(self._claim(run))
                except UserError as error:
                    outcomes[run] = Outcome(run, "busy", text=str(error))
            left = claimed
            for number in range(TRIES):
                if not left:
                    break
                if number:
                    time.sleep(number)
                    self._restart(claimed)
                held = self._server.held([work.cursor.wandb_id for work in left])
                for work in left:
                    if work.mirror is not None:  # sent in the pass before
                        self._arrived(work, held)
                with ThreadPoolExecutor(WORKERS) as threads:
                    sent = list(threads.map(lambda work, held=held: self._sent(work, held), left))
                outcomes |= {outcome.run: outcome for outcome in sent}
                closed = [w for w in left if outcomes[w.run].kind == "sent" and w.mirror is None]
                outcomes |= self._read_back(closed)
                left = [work for work in left if outcomes[work.run].kind == "failed"]
        finally:
            for work in claimed:
                if work.mirror is not None:
                    self._open[work.run] = work
                else:
                    work.claim.close()
        yield from outcomes.values()

    def _restart(self, claimed: Sequence[_Work]) -> None:
        """The client, afresh; runs that are open are opened again when there is news."""
        for work in (*claimed, *self._open.values()):
            if work.mirror is not None:
                mirror, work.mirror = work.mirror, None
                with contextlib.suppress(Exception):  # what did not arrive is sent again
                    mirror.close(work.state)
        self._server.restart()

    def _claim(self, run: str) -> _Work:
        work = self._open.pop(run, None)
        if work is None:
            claim = contextlib.ExitStack()
            lock = claim.enter_context(self._cursors.claim(run))
            work = _Work(run, claim, lock, self._cursors.read(run, self._server.target))
        return work

    # --- one run, in a thread

    def _sent(self, work: _Work, held: Mapping[str, Held]) -> Outcome:
        """What became of sending it; whether that arrived is still to be seen."""
        try:
            return self._send(work, held)
        except Differs as error:
            return self._renewed(work, "differs", str(error))
        except Exception as error:
            if DELETED in str(error):
                return self._renewed(work, "deleted", "it was deleted")
            if not isinstance(error, (UserError, TimeoutError)) and not of_client(error):
                raise
            return Outcome(work.run, "failed", text=first_line(error))

    def _send(self, work: _Work, found: Mapping[str, Held]) -> Outcome:
        os.utime(work.lock)
        run_dir = self._store.run(work.run)
        record = run_dir.record()
        work.every, work.state = rows_of(run_dir, record["config"])
        if work.mirror is None:
            cursor = work.cursor
            if cursor.rows and cursor.wandb_id not in found:
                return self._renewed(work, "deleted", "it was deleted")
            held = self._checked(work, found.get(cursor.wandb_id, Held()))
            same = work.state is not None and cursor.state == work.state.state
            if same and held.rows >= len(work.every) and self._tag in cursor.tags:
                return Outcome(work.run, "unchanged")
            of_sweeps = filter(None, [self._tag, record.get("sweep")])
            work.tags = tuple(sorted({*held.tags, *of_sweeps}))
            work.mirror = Mirror(
                self._server, work.run, record, held, cursor.wandb_id, work.tags, self._folder
            )
        rows = work.mirror.send(work.every)
        if not (self._keep_open and work.state is not None and work.state.state == "running"):
            mirror, work.mirror = work.mirror, None
            mirror.close(work.state, run_dir.summary())
        return Outcome(work.run, "sent", rows)

    def _checked(self, work: _Work, held: Held) -> Held:
        """See ``check_held``. Raises Differs also for a run that was done again since."""
        cursor, every = work.cursor, work.every
        held = check_held(held, every, lambda: self._server.steps(cursor.wandb_id))
        again = len(every) >= cursor.rows and digest(every[: cursor.rows]) != cursor.digest
        if cursor.rows and again:
            raise Differs("the run was done again since, with other results")
        if work.state is not None and work.state.state in FINISHED and held.rows > len(every):
            raise Differs(f"it holds {held.rows} rows and the run has {len(every)}")
        return held

    def _renewed(self, work: _Work, kind: Kind, text: str) -> Outcome:
        """With ``again`` the run gets another id there, to be tried with at once."""
        if not self._again:
            return Outcome(work.run, kind, text=text)
        number = int(work.cursor.wandb_id.partition("-")[2] or 1) + 1
        work.cursor = Cursor(self._server.target, f"{work.run}-{number}")
        self._cursors.write(work.run, work.cursor)
        return Outcome(work.run, "failed", text=text)

    # --- what has arrived

    def _read_back(self, works: Sequence[_Work]) -> dict[str, Outcome]:
        """Move the cursors of runs whose rows are all there; the others have failed."""
        left = list(works)
        deadline = time.monotonic() + READ_BACK_SECONDS
        pause = 0.1
        while left:
            held = self._server.held([work.cursor.wandb_id for work in left])
            left = [work for work in left if not self._arrived(work, held)]
            if time.monotonic() > deadline:
                break
            if left:
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
        lost = "not all of its rows have arrived"
        return {work.run: Outcome(work.run, "failed", text=lost) for work in left}

    def _arrived(self, work: _Work, found: Mapping[str, Held]) -> bool:
        held, known = found.get(work.cursor.wandb_id), [row["global_step"] for row in work.every]
        if held is None or held.rows < len(known):
            return False
        if held.rows > len(known) or held.last != (known[-1] if known else None):
            there = self._server.steps(work.cursor.wandb_id)
            if there[: len(known)] != known:
                return False
        assert work.state is not None
        work.cursor = replace(
            work.cursor,
            rows=len(known),
            digest=digest(work.every),
            state=work.state.state,
            updated=work.state.updated,
            tags=work.tags,
        )
        self._cursors.write(work.run, work.cursor)
        return True
