"""How jobs ended, as Slurm's accounting tells it: one question, whatever the number of jobs.

Where there is no accounting there is no answer, and where it lags the answer lacks jobs: nothing
may be concluded from a job that is not in it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from launch.cluster import environment

# States of jobs that have come to an end without having done what they were to do.
BAD_ENDS = {
    "BOOT_FAIL": "its node did not boot",
    "DEADLINE": "its deadline was over",
    "FAILED": "its job failed",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "its job was out of memory",
    "TIMEOUT": "its time limit was over",
}
# Of jobs that have none yet, or whose end has not reached the accounting.
UNDER_WAY = frozenset({"PENDING", "RUNNING", "REQUEUED", "SUSPENDED"})


@dataclass(frozen=True)
class JobEnd:
    """What sacct says of a job or an array element.

    Attributes:
        state: COMPLETED, OUT_OF_MEMORY, CANCELLED, …
        exit_code: of the batch script.
        signal: what killed it, else 0.
        nodes: where it ran; empty if it did not.
    """

    state: str
    exit_code: int = 0
    signal: int = 0
    nodes: str = ""


# Elements of an array that wait, or waited, together: 123_[0-2,7%4].
_TOGETHER = re.compile(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]")

Sacct = Callable[[Mapping[str, str]], "dict[str, JobEnd]"]


def ask_sacct(names: Mapping[str, str]) -> dict[str, JobEnd]:
    """What became of jobs, array elements one by one, such as ``123_4``; empty without an answer.

    Args:
        names: job id of each array to its name. A job of the same id and another name, as in a
            cluster that began to count anew, is passed over.
    """
    if not names:
        return {}
    command = ["sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={','.join(names)}"]
    command += ["--format=JobID,State,ExitCode,NodeList,JobName"]
    try:
        answer = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(_ends(answer.stdout.splitlines(), names))


def _ends(lines: Iterable[str], names: Mapping[str, str]) -> Iterable[tuple[str, JobEnd]]:
    for line in lines:
        job, state, code, nodes, name = line.split("|", 4)
        if names.get(job.partition("_")[0]) == name:
            exit_code, _, signal = code.partition(":")
            where = "" if nodes == "None assigned" else nodes
            # CANCELLED by 1000
            end = JobEnd(state.partition(" ")[0], int(exit_code), int(signal), where)
            yield from ((one, end) for one in _one_by_one(job))


def _one_by_one(job: str) -> Iterator[str]:
    together = _TOGETHER.fullmatch(job)
    if together is None:
        yield job
        return
    array, elements = together.groups()
    for part in elements.split(","):
        first, _, last = part.partition("-")
        for element in range(int(first), int(last or first) + 1):
            yield f"{array}_{element}"
