"""What some small files of a sweep's runs hold, and for runs that have ended all of it in one file,
so that a second look opens none of theirs.

That file holds what the runs' own files hold, word for word: what is made of it is the affair of
the code that reads it. An entry counts only while the run's files are the very ones that were
read: of the same inode, time of change and size. They are replaced and never edited, so a run that
began afresh has others. What is missing, damaged or out of date is read from the run; nothing
depends on an index, which may be removed at any time and need not be writable.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lrscale.files import Stamp, make_folder, read_json, stamp, write_json
from lrscale.run_state import ENDED, FINISHED, State
from lrscale.store import Store

FORMAT = 2
# The files of an index, of which the first is always the state.
STATES = ("state.json",)
RESULTS = ("state.json", "config.json", "summary.json")
Document = dict[str, Any]


class Results(NamedTuple):
    """What a run has left.

    Attributes:
        state: None before the first attempt.
        record: its configuration and where it came from.
        summary: None for a run that has not finished.
    """

    state: State | None
    record: Document | None
    summary: Document | None


NOTHING = Results(None, None, None)


class Entry(NamedTuple):
    """One run's files.

    Attributes:
        stamps, documents: of each file in turn; None for one that is not there.
        note: what a caller has noted beside them.
    """

    stamps: list[Stamp | None]
    documents: list[Document | None]
    note: Document

    def state(self) -> State | None:
        written, document = self.stamps[0], self.documents[0]
        return State.of(document, written[1] / 1e9) if document and written else None

    def lasts(self) -> bool:
        """Whether the run has ended, or somebody has looked into what became of it."""
        state = self.documents[0]
        return bool(self.note) or (state is not None and state["state"] in ENDED)


class RunIndex:
    """The runs of which anything was there when it was read.

    Attributes:
        unreadable: run id to why nothing of it can be read.
    """

    def __init__(self, path: Path, folders: Iterable[Path], names: Sequence[str]) -> None:
        """Opens the index at ``path``, and the files ``names`` of each run that is not in it."""
        self.unreadable: dict[str, str] = {}
        self._path = path
        self._kept = _read(path)
        self._entries: dict[str, Entry] = {}
        for folder in folders:
            run, files = folder.name, [folder / name for name in names]
            entry = self._kept.get(run)
            try:
                if entry is None or entry.stamps != [stamp(file) for file in files]:
                    entry = _read_run(files)
            except OSError as error:
                self.unreadable[run] = f"{error.filename}: {error.strerror}"
                continue
            if any(entry.stamps):
                self._entries[run] = entry

    def states(self) -> dict[str, State]:
        """By run id, of those that have begun."""
        found = {run: entry.state() for run, entry in self._entries.items()}
        return {run: state for run, state in found.items() if state is not None}

    def results(self, run: str) -> Results:
        """What a run has left, from an index of ``read_results``."""
        if run not in self._entries:
            return NOTHING
        entry = self._entries[run]
        state, (_, record, summary) = entry.state(), entry.documents
        # The summary is written before the state, and counts from then on.
        finished = state is not None and state.state in FINISHED
        return Results(state, record, summary if finished else None)

    def note(self, run: str) -> Document:
        """What was noted with the files as they are; empty for nothing."""
        return self._entries[run].note if run in self._entries else {}

    def keep_note(self, run: str, note: Document) -> None:
        """Have ``save`` keep a note, and the run, for as long as its files stay what they are."""
        if run in self._entries:
            self._entries[run] = self._entries[run]._replace(note=note)

    def save(self) -> None:
        """Write the index if it has changed and can be. Of two writers the later counts."""
        lasting = {run: entry for run, entry in self._entries.items() if entry.lasts()}
        if lasting == self._kept:
            return
        with contextlib.suppress(OSError):
            make_folder(self._path.parent.parent)
            make_folder(self._path.parent)
            write_json(self._path, {"format": FORMAT, "runs": lasting})
            self._kept = lasting


def read_states(store: Store, sweep: str, runs: Iterable[str]) -> RunIndex:
    """The states of a sweep's runs."""
    folders = (store.run(run).path for run in store.known_runs(runs))
    return RunIndex(store.index_path(sweep), folders, STATES)


def read_results(store: Store, sweep: str, runs: Iterable[str]) -> RunIndex:
    """What a sweep's runs have left."""
    folders = (store.run(run).path for run in dict.fromkeys(runs))
    return RunIndex(store.result_index_path(sweep), folders, RESULTS)


def _read_run(files: list[Path]) -> Entry:
    """The stamps are those of the contents, whatever replaces the files meanwhile."""
    while True:
        stamps = [stamp(file) for file in files]
        documents = [read_json(file) for file in files]
        if stamps == [stamp(file) for file in files]:
            return Entry(stamps, documents, {})


def _read(path: Path) -> dict[str, Entry]:
    try:
        kept = json.loads(path.read_bytes())
        if kept["format"] != FORMAT:
            return {}
        return {run: Entry(*entry) for run, entry in kept["runs"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
