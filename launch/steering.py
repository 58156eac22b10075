"""What cancelling, pausing, resuming or retrying runs takes. Pure: nothing is done here.

A job of the queue is only touched where all the runs that it still has to do are meant. Of others,
and of those of a local pool, the wish is recorded with the run, which whoever works on it heeds at
the next step boundary, or passes over if it has not begun it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from launch.claims import Claim
from launch.survey import RunStatus
from lrscale.run_state import ENDED

Kind = Literal["ask", "record", "scancel", "uhold", "requeuehold", "release", "nice", "hand over"]
Claims = Mapping[str, Claim]

AT_WORK = frozenset({"running", "silent"})  # states of runs that a process may be busy with
UNTOUCHED = frozenset({"missing"}) | (ENDED - {"paused"})  # nothing there to cancel or pause


@dataclass(frozen=True)
class Step:
    """One thing to be done.

    Attributes:
        kind: ``ask`` leaves a request with each run, ``record`` writes that it has ended so, the
            others are commands of Slurm, and ``hand over`` submits.
        what: for the person.
        runs: that it is about.
        jobs: elements of Slurm's queue that it is done to, such as ``123_4``.
    """

    kind: Kind
    what: str
    runs: Sequence[RunStatus]
    jobs: Sequence[str] = ()


def cancel(runs: Sequence[RunStatus], claims: Claims, ended: Callable[[str], bool]) -> list[Step]:
    """Nothing of ``runs`` goes on, whoever has it; finished and failed ones stay as they are.

    Args:
        ended: whether a run of the store has ended.
    """
    meant = [run for run in runs if run.state not in UNTOUCHED]
    at_work = [run for run in meant if _at_work(run, claims)]
    idle = [run for run in meant if not _at_work(run, claims)]
    whole = _whole_elements(meant, claims, ended)
    return _steps(
        Step("ask", "running: save and leave at the next step", at_work),
        Step("ask", "not running: passed over from now on", idle),
        Step("record", "not running: cancelled at once", idle),
        Step("scancel", "scancel", _of(meant, claims, whole), whole),
    )


def pause(runs: Sequence[RunStatus], claims: Claims, ended: Callable[[str], bool]) -> list[Step]:
    """Queued jobs are held, running ones leave with a checkpoint and wait, held, in the queue."""
    meant = [run for run in runs if run.state not in UNTOUCHED and run.state != "paused"]
    whole = set(_whole_elements(meant, claims, ended))
    pending = sorted({claims[run.id].job for run in meant if _waits(run, claims, whole)})
    working = sorted(whole - set(pending))
    others = [run for run in meant if run.id not in claims or claims[run.id].job not in whole]
    at_work = [run for run in others if _at_work(run, claims)]
    idle = [run for run in others if not _at_work(run, claims)]
    return _steps(
        Step("uhold", "queued: held", _of(meant, claims, pending), pending),
        Step(
            "requeuehold",
            "running: save, leave, and wait held",
            _of(meant, claims, working),
            working,
        ),
        Step("ask", "running: save and leave at the next step", at_work),
        Step("ask", "not running: passed over from now on", idle),
        Step("record", "not running: paused at once", idle),
    )


def begun(steps: Iterable[Step], held: Container[str]) -> list[Step]:
    """What is left to do, of a pause planned anew, about jobs that began before they were held."""
    late = (
        replace(step, jobs=[job for job in step.jobs if job in held])
        for step in steps
        if step.kind == "requeuehold"
    )
    return [step for step in late if step.jobs]


def resume(runs: Sequence[RunStatus], claims: Claims) -> list[Step]:
    """Held jobs are released; what has left is handed over again."""
    meant = [run for run in runs if run.state == "paused"]
    held = sorted({claims[run.id].job for run in meant if _held(run, claims)})
    gone = [run for run in meant if not _held(run, claims)]
    return _steps(
        Step("release", "held: released", _of(meant, claims, held), held),
        Step("hand over", "have left: handed over again", gone),
    )


def retry(runs: Sequence[RunStatus], states: Iterable[str]) -> list[Step]:
    """Runs in one of ``states`` are handed over again, from their checkpoint where that holds."""
    wanted = frozenset(states)
    meant = [run for run in runs if run.state in wanted and run.job]
    return _steps(Step("hand over", "handed over again", meant))


def priority(runs: Sequence[RunStatus], claims: Claims, ended: Callable[[str], bool]) -> list[Step]:
    """Waiting jobs let others go first. That is all a user may do: nobody's priority is raised.

    Held ones are left alone: a new nice value gives them a priority, and so releases them.
    """
    meant = [run for run in runs if run.state == "queued" and not _held(run, claims)]
    whole = set(_whole_elements(meant, claims, ended))
    jobs = sorted({claims[run.id].job for run in meant if _waits(run, claims, whole)})
    return _steps(Step("nice", "queued: after others", _of(meant, claims, jobs), jobs))


def _steps(*steps: Step) -> list[Step]:
    return [step for step in steps if step.runs]


def _at_work(run: RunStatus, claims: Claims) -> bool:
    return run.state in AT_WORK or (run.id in claims and claims[run.id].state == "heartbeat")


def _held(run: RunStatus, claims: Claims) -> bool:
    return run.id in claims and claims[run.id].held


def _waits(run: RunStatus, claims: Claims, whole: Iterable[str]) -> bool:
    claim = claims.get(run.id)
    return claim is not None and claim.job in whole and claim.state == "PENDING"


def _of(runs: Sequence[RunStatus], claims: Claims, jobs: Iterable[str]) -> list[RunStatus]:
    chosen = frozenset(jobs)
    return [run for run in runs if run.id in claims and claims[run.id].job in chosen]


def _whole_elements(
    runs: Sequence[RunStatus], claims: Claims, ended: Callable[[str], bool]
) -> list[str]:
    """Jobs of the queue all of whose runs are among ``runs`` or have ended."""
    meant = {run.id for run in runs}
    jobs: dict[str, None] = {}
    for run in runs:
        claim = claims.get(run.id)
        if claim is None or claim.backend != "slurm" or not claim.job:
            continue
        if claim.element and all(other in meant or ended(other) for other in claim.element):
            jobs[claim.job] = None
    return sorted(jobs)
