"""What a sweep's runs have left, and for those that have ended in one file, so that a second report
opens none of theirs.

The file holds what the runs' own files hold, word for word: what a report makes of it is the affair
of the code that reads it. An entry counts only while those files are the very ones that were read:
of the same inode, time of change and size. They are replaced and never edited, so a run that began
afresh has others. What is missing, damaged or out of date is read from the run; nothing depends on
the index, which may be removed at any time and need not be writable.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrscale.files import Stamp, make_folder, read_json, stamp, write_json
from lrscale.run_state import ENDED, FINISHED, State
from lrscale.store import Store

FORMAT = 1
NAMES = ("config.json", "state.json", "summary.json")
Documents = dict[str, Any]
# The stamps of the three files, and what they hold; None for one that is not there.
Entry = tuple[list[Stamp | None], list[Documents | None]]


@dataclass(frozen=True)
class Results:
    """What a run has left.

    Attributes:
        record: its configuration and where it came from.
        state: None before the first attempt.
        summary: None for a run that has not finished.
    """

    record: Documents | None
    state: State | None
    summary: Documents | None


NOTHING = Results(None, None, None)


def read_results(
    store: Store, sweep: str, runs: Iterable[str], keep: bool = True
) -> tuple[dict[str, Results], dict[str, str]]:
    """By run id what those that are there have left, and why some cannot be read.

    Args:
        sweep: whose index it is.
        keep: false to write none.
    """
    path = store.result_index_path(sweep)
    kept = _read(path)
    found: dict[str, Entry] = {}
    unreadable: dict[str, str] = {}
    for run in dict.fromkeys(runs):
        folder = store.run(run).path
        paths = [folder / name for name in NAMES]
        try:
            entry = kept.get(run)
            if entry is None or entry[0] != [stamp(file) for file in paths]:
                entry = _read_run(paths)
        except OSError as error:
            unreadable[run] = f"{error.filename}: {error.strerror}"
            continue
        if any(entry[0]):
            found[run] = entry
    lasting = {run: entry for run, entry in found.items() if _lasts(entry)}
    changed = lasting.keys() != kept.keys() or any(kept[run] is not lasting[run] for run in lasting)
    if keep and changed:
        _save(path, lasting)
    return {run: _results(entry) for run, entry in found.items()}, unreadable


def _results(entry: Entry) -> Results:
    (_, changed, _), (record, state, summary) = entry
    now = State.of(state, changed[1] / 1e9) if state is not None and changed else None
    return Results(record, now, summary)


def _lasts(entry: Entry) -> bool:
    state = entry[1][1]
    return state is not None and state["state"] in ENDED


def _read_run(paths: list[Path]) -> Entry:
    """The stamps are those of the contents, whatever replaces the files meanwhile."""
    while True:
        stamps = [stamp(path) for path in paths]
        record, state = map(read_json, paths[:2])
        finished = state is not None and state["state"] in FINISHED
        documents = [record, state, read_json(paths[2]) if finished else None]
        if stamps == [stamp(path) for path in paths]:
            return stamps, documents


def _save(path: Path, entries: dict[str, Entry]) -> None:
    """Of two writers the later counts."""
    with contextlib.suppress(OSError):
        make_folder(path.parent.parent)
        make_folder(path.parent)
        write_json(path, {"format": FORMAT, "runs": entries})


def _read(path: Path) -> dict[str, Entry]:
    try:
        kept = json.loads(path.read_bytes())
        if kept["format"] != FORMAT:
            return {}
        return {run: _checked(*entry) for run, entry in kept["runs"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _checked(stamps: list[Stamp | None], documents: list[Documents | None]) -> Entry:
    """Raises TypeError for what is no entry."""
    if len(stamps) != len(NAMES) or not all(isinstance(d, dict | None) for d in documents):
        raise TypeError
    return stamps, documents
