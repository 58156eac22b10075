"""Which runs somebody still has: queued, running, or showing signs of life.

With this the same command, given twice or after the first was killed, hands over nothing twice.
Unknown never means dead: a scheduler that does not answer ends no claim.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from launch.cluster import environment
from launch.snapshot import user_name
from launch.submissions import process_lives
from lrscale.run_state import ENDED, State, has_ended
from lrscale.store import Store

# A run beats every few seconds between its steps. One that has not for so long, and that its
# scheduler no longer knows or whose host cannot be asked, is taken for dead.
STALE_SECONDS = 90.0
# Between the two answers of squeue that it takes to believe that a job is gone.
SECOND_LOOK_SECONDS = 1.0

States = Callable[[str], "State | None"]


@dataclass(frozen=True)
class QueueRow:
    """One line of squeue.

    Attributes:
        job: such as ``123_4``.
        state: PENDING, RUNNING, …
        name: of the job.
        node: where it runs; empty while it waits.
        reason: why it waits, as JobHeldUser.
    """

    job: str
    state: str
    name: str
    node: str = ""
    reason: str = ""

    @property
    def held(self) -> bool:
        """Whether it waits until its user releases it: JobHeldUser, job requeued in held state.
        What an administrator holds, no user can release."""
        return self.state == "PENDING" and "held" in self.reason.replace("JobHeldAdmin", "").lower()


Squeue = Callable[[Sequence[str], bool], "list[QueueRow] | None"]


@dataclass(frozen=True)
class Claim:
    """A run that somebody still has.

    Attributes:
        submission, sweep, backend: who.
        job: ``123_4`` in Slurm's queue, ``HOST:PID`` of a local pool; empty while unknown.
        state: PENDING, RUNNING, … as squeue says; ``launching``; ``unknown``, when there is no
            answer; ``heartbeat``, when only the run itself gives signs of life.
        since: when the submission was made, Unix seconds.
        node: of the job in Slurm's queue; empty while it waits.
        held: whether it waits there until somebody releases it.
        element: the runs that share its array element there.
    """

    submission: str
    sweep: str
    backend: str
    job: str
    state: str
    since: float
    node: str = ""
    held: bool = False
    element: Sequence[str] = ()

    def __str__(self) -> str:
        """``pending on slurm as 123_4``."""
        job = f" as {self.job}" if self.job else ""
        return f"{self.state.lower()} on {self.backend}{job}"


@dataclass(frozen=True)
class LiveArray:
    """A Slurm array of which something is still queued or running.

    Attributes:
        sweep: whose ``parallel`` it counts against.
        job_id: None while the launcher waits for it.
        width: how many of its elements can still run at once.
        chained: whether it waits for another live array of its submission, whose place in
            ``parallel`` it takes over.
    """

    sweep: str
    job_id: str | None
    width: int
    chained: bool


@dataclass
class Claims:
    """What is alive.

    Attributes:
        runs: by run id; of several claims the newest.
        arrays: of Slurm.
        adopted: job ids of arrays whose launcher died before it could record them, by
            submission and index: to be recorded with ``record_job``.
        over: submissions of which nothing is alive: to be closed with ``close``.
        lost: runs of a queue that no longer knows them, and that have not ended.
        warnings: for the person.
    """

    runs: dict[str, Claim] = field(default_factory=dict)
    arrays: list[LiveArray] = field(default_factory=list)
    adopted: dict[tuple[str, int], str] = field(default_factory=dict)
    over: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)


def ask_squeue(names: Sequence[str], mine: bool) -> list[QueueRow] | None:
    """The queue's rows of those job names, array elements one by one; None without an answer.

    ``mine`` spares the controller the other users' jobs.
    """
    command = [
        "squeue",
        "--noheader",
        "--array",
        "--format=%i|%T|%N|%r|%j",
        f"--name={','.join(names)}",
    ]
    command += ["--me"] if mine else []
    try:
        answer = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (line.strip() for line in answer.stdout.splitlines())
    rows = (line.split("|", 4) for line in lines if line)
    return [QueueRow(job, state, name, node, reason) for job, state, node, reason, name in rows]


def live_claims(
    store: Store,
    squeue: Squeue = ask_squeue,
    states: States | None = None,
    second_look: float = SECOND_LOOK_SECONDS,
) -> Claims:
    """Which runs of all the open submissions somebody still has. Writes nothing.

    Args:
        squeue: asked once, and once more when runs have gone from the queue unfinished.
        states: a run's state, when the caller has read it already.
        second_look: seconds until squeue is asked again; 0 asks only once.
    """
    records = store.read_submissions(open_only=True)
    read = states or partial(state_of, store)
    claims = _look(records, squeue, read, store.clock())
    if claims.lost and second_look:
        time.sleep(second_look)
        claims = _look(records, squeue, read, store.clock())
    return claims


def state_of(store: Store, run: str) -> State | None:
    """None also where it cannot be read, of which nothing follows but for the run itself."""
    try:
        return store.run(run).state()
    except OSError:
        return None


def _look(
    records: Mapping[str, dict[str, Any]], squeue: Squeue, states: States, now: float
) -> Claims:
    claims = Claims()
    queued = [record for record in records.values() if record["backend"] == "slurm"]
    rows = _queue(queued, squeue, claims) if queued else {}
    for submission, record in records.items():
        before = len(claims.arrays)
        if record["backend"] == "slurm":
            found = dict(_slurm_claims(record, rows, states, claims, now))
        else:
            found = dict(_local_claims(record, states, now))
        claims.runs.update(found)
        if not found and len(claims.arrays) == before:
            claims.over.append(submission)
    return claims


def _queue(
    records: Sequence[Mapping[str, Any]], squeue: Squeue, claims: Claims
) -> dict[str, list[QueueRow]] | None:
    """squeue's rows by job name; None, and a warning, when it does not answer."""
    names = [array["name"] for record in records for array in record["arrays"]]
    rows = squeue(names, {record["user"] for record in records} == {user_name()})
    if rows is None:
        claims.warnings.append(
            "squeue does not answer: everything that was queued is taken to be queued still"
        )
        return None
    by_name: dict[str, list[QueueRow]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    return by_name


def _slurm_claims(
    record: Mapping[str, Any],
    rows: Mapping[str, list[QueueRow]] | None,
    states: States,
    claims: Claims,
    now: float,
) -> Iterator[tuple[str, Claim]]:
    """The runs of one submission that are queued or alive; adds its live arrays to ``claims``."""
    live: set[int] = set()
    for index, array in enumerate(record["arrays"]):
        elements = array["elements"]
        queued = _queued_elements(record, index, rows, claims)
        for element, runs in enumerate(elements):
            for run in runs:
                if element in queued:
                    row = queued[element]
                    yield run, _claim(record, row.job, row.state, row.node, row.held, runs)
                elif beats(state := states(run), now):
                    yield run, _claim(record, state.job if state else "", "heartbeat")
                elif not has_ended(state):
                    claims.lost.add(run)
        if queued:
            live.add(index)
            job_id = claims.adopted.get((record["id"], index), array["job_id"])
            width = min(array["throttle"], len(queued))
            chained = array["after"] in live
            claims.arrays.append(LiveArray(record["sweep"], job_id, width, chained))


def _queued_elements(
    record: Mapping[str, Any],
    index: int,
    rows: Mapping[str, list[QueueRow]] | None,
    claims: Claims,
) -> dict[int, QueueRow]:
    """Those elements of an array that are in the queue, or may be."""
    array = record["arrays"][index]
    everything = range(len(array["elements"]))
    if rows is None:
        unknown = QueueRow(array["job_id"] or "", "unknown", array["name"])
        return dict.fromkeys(everything, unknown)
    found = rows.get(array["name"], [])
    if array["job_id"] is None:
        if found:
            claims.adopted[record["id"], index] = found[0].job.partition("_")[0]
        elif any(map(process_lives, record["processes"])):
            return dict.fromkeys(everything, QueueRow("", "launching", array["name"]))
    return _by_element(found, len(everything))


def _by_element(rows: Iterable[QueueRow], count: int) -> dict[int, QueueRow]:
    """The rows by element of an array. A job without an index is an array of one."""
    found: dict[int, QueueRow] = {}
    for row in rows:
        _, _, index = row.job.partition("_")
        elements = [int(index)] if index.isdecimal() else range(count)
        found |= dict.fromkeys(elements, row)
    return found


def _local_claims(
    record: Mapping[str, Any], states: States, now: float
) -> Iterator[tuple[str, Claim]]:
    """All the runs of a pool while a process of it lives, or from elsewhere appears to."""
    runs = [run for array in record["arrays"] for element in array["elements"] for run in element]
    newest = record["processes"][-1]
    if newest["host"] == socket.gethostname():
        state = "RUNNING" if any(map(process_lives, record["processes"])) else ""
    else:
        recent = now - record["created"] < STALE_SECONDS
        state = "heartbeat" if recent or any(beats(states(run), now) for run in runs) else ""
    if state:
        for run in runs:
            yield run, _claim(record, f"{newest['host']}:{newest['pid']}", state)


def _claim(record: Mapping[str, Any], job: str, state: str, *row: Any) -> Claim:
    """``row``: node, held and element, of a run in Slurm's queue."""
    known = (record["id"], record["sweep"], record["backend"], job, state, record["created"])
    return Claim(*known, *row)


def let_go(state: State | None, claim: Claim) -> bool:
    """Whether the run ended in the hands of the claimant, who may be busy with others still."""
    return state is not None and state.state in ENDED and state.heard >= claim.since


def beats(state: State | None, now: float) -> bool:
    """Whether the run has given a sign of life of late; ``now`` by the store's clock."""
    return state is not None and state.state == "running" and now - state.heard < STALE_SECONDS
