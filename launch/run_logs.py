"""Where the output of runs is: their own file, or one for each rank of their array element."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from launch.submissions import job_of_element
from lrscale.store import Store

TAIL_BYTES = 64 * 1024  # of a log, in which its last words are looked for
# The first line of each attempt: submitit's, and launch.pool's.
_ATTEMPT = re.compile(r"^.*Starting (with JobEnvironment|attempt \d+$).*$", re.MULTILINE)
_LABEL = re.compile(r"\[(?:rank|default)(\d+)\]: ?")  # torch's, before what a rank prints


class RunLogs:
    """Finds the files that runs' output went to. Reads the submissions when first it needs them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listings: dict[Path, list[str]] = {}

    def files(self, run: str, job: str) -> dict[int, Path]:
        """Rank to log: those of the element that it had to itself; else the run's own, of all its
        ranks, under 0; empty for neither."""
        own, element = self._store.run(run).log_path, self._of_element(job)
        if own.exists() and (self.shared(job) or not element):
            return {0: own}
        return element

    def _of_element(self, job: str) -> dict[int, Path]:
        folder = self.folders.get(job.partition("_")[0])
        if folder is None:
            return {}
        name = re.compile(rf"{re.escape(job)}_(\d+)_log\.out")  # submitit's
        found = (name.fullmatch(entry) for entry in self._listing(folder))
        return {int(m[1]): folder / m[0] for m in sorted(filter(None, found), key=_rank)}

    def last_words(self, run: str, job: str) -> list[str]:
        """The end of each rank's output in its last attempt, rank 0 first."""
        texts = [last_words(path) for path in self.files(run, job).values()]
        return list(of_ranks(texts[0]).values()) if len(texts) == 1 else texts

    def element(self, run: str) -> str:
        """The last Slurm job that was to carry a run out, such as ``123_4``; empty without one."""
        return self._elements.get(run, "")

    def began(self, job: str) -> bool:
        """Whether the batch script of a Slurm job has run: its log is made then."""
        return bool(self._of_element(job))

    def shared(self, job: str) -> bool:
        """Whether a Slurm job carries out several runs."""
        return self._runs.get(job, 1) > 1

    def name(self, job: str) -> str:
        """The name in the queue of the array that a job belongs to; empty for an unknown one."""
        return self._names.get(job.partition("_")[0], "")

    @cached_property
    def folders(self) -> dict[str, Path]:
        """Job id of each Slurm array to the folder of its submission."""
        return {
            array["job_id"]: self._store.submission_dir(submission)
            for submission, record in self._records.items()
            for array in record["arrays"]
            if array["job_id"]
        }

    @cached_property
    def _names(self) -> dict[str, str]:
        arrays = (array for record in self._records.values() for array in record["arrays"])
        return {array["job_id"]: array["name"] for array in arrays if array["job_id"]}

    @cached_property
    def _elements(self) -> dict[str, str]:
        elements: dict[str, str] = {}
        for record in self._records.values():
            for array in record["arrays"]:
                for index, runs in enumerate(array["elements"]):
                    elements.update(dict.fromkeys(runs, job_of_element(array, index)))
        return elements

    @cached_property
    def _runs(self) -> dict[str, int]:
        """Slurm job of each element to the number of its runs."""
        return {
            job_of_element(array, index): len(runs)
            for record in self._records.values()
            for array in record["arrays"]
            for index, runs in enumerate(array["elements"])
        }

    @cached_property
    def _records(self) -> Mapping[str, dict[str, Any]]:
        return self._store.read_submissions()

    def _listing(self, folder: Path) -> list[str]:
        if folder not in self._listings:
            self._listings[folder] = [path.name for path in folder.iterdir()]
        return self._listings[folder]


def _rank(match: re.Match[str]) -> int:
    return int(match[1])


def last_words(path: Path, size: int = TAIL_BYTES) -> str:
    """The end of a log, from where its last attempt began; empty for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - size))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return last_attempt(text)


def last_attempt(text: str) -> str:
    """What a log holds of the last attempt in it."""
    starts = [match.start() for match in _ATTEMPT.finditer(text)]
    return text[starts[-1] :] if starts else text


class Tail:
    """A log that grows, read by whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0  # bytes that were read
        self._rest = b""  # of a line that has no end yet

    def new_lines(self, whole: bool = True) -> list[str]:
        """What has come since it was asked last; unless ``whole``, with what has no end yet."""
        try:
            with open(self._path, "rb") as file:
                if file.seek(0, os.SEEK_END) < self._at:
                    self._at = 0  # it was begun afresh
                file.seek(self._at)
                added = file.read()
        except OSError:
            added = b""
        self._at += len(added)
        text, end, self._rest = (self._rest + added).rpartition(b"\n")
        if not whole:
            text, self._rest = text + end + self._rest, b""
        return text.decode(errors="replace").splitlines()


def of_ranks(text: str) -> dict[int, str]:
    """A log that ranks share, apart: each one's lines without their labels; rank 0 has the rest."""
    ranks: dict[int, list[str]] = {}
    for line in text.splitlines():
        label = _LABEL.match(line)
        rank, said = (int(label[1]), line[label.end() :]) if label else (0, line)
        ranks.setdefault(rank, []).append(said)
    return {rank: "\n".join(lines) for rank, lines in sorted(ranks.items())}
