"""The states of a sweep's ended runs in one file, so that a second look opens none of theirs.

An entry counts only while the run's state file is the very one that was read: of the same inode,
time of change and size. State files are replaced and never edited, so a run that began afresh has
another. What is missing, damaged or out of date is read from the run; nothing depends on the
index, which may be removed at any time and need not be writable.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrscale.files import Stamp, make_folder, read_json, stamp, write_json
from lrscale.run_state import ENDED, State
from lrscale.store import Store

# Stamp, what the state file holds, and what a caller has noted beside it.
Entry = tuple[Stamp, dict[str, Any], dict[str, Any]]


@dataclass
class StateIndex:
    """States of the runs that have begun, as they were when it was read.

    Attributes:
        states: by run id.
        unreadable: run id to why nothing of it can be read.
    """

    states: dict[str, State]
    unreadable: dict[str, str]
    _store: Store
    _sweep: str
    _entries: dict[str, Entry]
    _changed: bool

    def note(self, run: str) -> dict[str, Any]:
        """What was noted with a run's present state; empty for nothing."""
        return self._entries[run][2] if run in self._entries else {}

    def keep_note(self, run: str, note: dict[str, Any]) -> None:
        """Have ``save`` keep a note, and the state, for as long as the state stays what it is."""
        if run in self._entries:
            self._entries[run] = (*self._entries[run][:2], note)
            self._changed = True

    def save(self) -> None:
        """Write the index if it has changed and can be. Of two writers the later counts."""
        if not self._changed:
            return
        path = self._store.index_path(self._sweep)
        with contextlib.suppress(OSError):
            make_folder(path.parent)
            write_json(path, {"runs": {run: e for run, e in self._entries.items() if _kept(e)}})
            self._changed = False


def read_states(store: Store, sweep: str, runs: Iterable[str]) -> StateIndex:
    """The states of a sweep's runs: opens the index, and one file of each run that is not in it."""
    kept = _read(store, sweep)
    found: dict[str, Entry] = {}
    unreadable: dict[str, str] = {}
    for run in store.known_runs(runs):
        path = store.run(run).state_path
        entry = kept.get(run)
        try:
            if entry is None or entry[0] != stamp(path):
                entry = _read_state(path)
        except OSError as error:
            unreadable[run] = f"{error.filename}: {error.strerror}"
            continue
        if entry is not None:
            found[run] = entry
    states = {run: State.of(raw, stamp[1] / 1e9) for run, (stamp, raw, _) in found.items()}
    lasting = {run for run, entry in found.items() if _kept(entry)}
    changed = lasting != kept.keys() or any(kept[run] is not found[run] for run in lasting)
    return StateIndex(states, unreadable, store, sweep, found, changed)


def _kept(entry: Entry) -> bool:
    """Whether the entry may last: the run has ended, or somebody has looked into what became of
    it."""
    return entry[1]["state"] in ENDED or bool(entry[2])


def _read_state(path: Path) -> Entry | None:
    """The stamp is that of the content, whatever replaces the file meanwhile."""
    while True:
        found, raw = stamp(path), read_json(path)
        if found is None or raw is None:
            return None
        if found == stamp(path):
            return found, raw, {}


def _read(store: Store, sweep: str) -> dict[str, Entry]:
    try:
        raw = json.loads(store.index_path(sweep).read_bytes())["runs"]
        return {run: (stamp, state, note) for run, (stamp, state, note) in raw.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
