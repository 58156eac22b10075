"""Where the runs of sweeps are, from the store, one look at the queue and one at the accounting.

States are those of the run store, and:

    queued   handed over, not running
    missing  asked for, not handed over
    silent   running, but without a sign of life for a while; perhaps still alive
    lost     running when last heard of, and gone: its process or its job is no more, of which
             squeue must have answered twice
    cancelled  by a person, also where only the accounting knows
    unreadable  in the store, but not for who asks

A job that ended badly before its runs could begin counts as failed.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launch.accounting import BAD_ENDS, UNDER_WAY, JobEnd, Sacct, ask_sacct
from launch.cancelled import LEFT, cancelled
from launch.claims import (
    SECOND_LOOK_SECONDS,
    STALE_SECONDS,
    Claim,
    Claims,
    Squeue,
    ask_squeue,
    let_go,
    live_claims,
)
from launch.diagnose import Diagnosis, Evidence, diagnose
from launch.run_logs import RunLogs, last_words
from lrscale import checkpoint
from lrscale.lock import process_alive
from lrscale.run_index import RunIndex, read_states
from lrscale.run_state import FINISHED, State
from lrscale.store import Store

# In the order in which they are listed: what wants attention first.
STATES = (
    "failed",
    "lost",
    "unreadable",
    "silent",
    "running",
    "diverged",
    "cancelled",
    "timeout",
    "preempted",
    "killed",
    "interrupted",
    "paused",
    "queued",
    "missing",
    "done",
)
EXPLAINED = frozenset(
    {"failed", "lost", "diverged", "timeout", "killed"}
)  # the question why is asked
UNREADABLE_ADVICE = "as the store's owner: ls -ld of that path and what it lies in, chmod or chown"
# Who is in one of these states, and in no queue, may have been cancelled by its job.
UNCLAIMED = LEFT - {"running"} | {"lost", "missing"}
SETTLED_SECONDS = 120.0  # after which logs and accounting have said what they will


@dataclass(frozen=True)
class RunStatus:
    """Where one run of a sweep is.

    Attributes:
        id, arm, seed, point: from the sweep.
        state: one of STATES.
        progress: steps taken of those planned, 0 to 1; None before the first heartbeat.
        epoch, loss: last known.
        steps_per_second: since the start of the attempt.
        eta_seconds: until it has taken all steps, at that rate; None unless it is running.
        started, updated: Unix seconds of the attempt's start, by its host's clock, and of the last
            sign of life, by the store's.
        job: of SLURM, or HOST:PID elsewhere.
        node: where it runs or ran last.
        attempts: how many processes have worked on the run.
        restarts: how often the run was begun again after an attempt that had not ended it.
        cause: why it failed or diverged, one line.
        failure: the kind of that, such as ``CUDA OOM``; empty for none.
        advice: what to try.
        log: the file that holds its output; empty where there is none.
    """

    id: str
    arm: str
    seed: int
    point: Mapping[str, Any]
    state: str
    progress: float | None = None
    epoch: int = 0
    loss: float | None = None
    steps_per_second: float | None = None
    eta_seconds: float | None = None
    started: float | None = None
    updated: float | None = None
    job: str = ""
    node: str = ""
    attempts: int = 0
    restarts: int = 0
    cause: str = ""
    failure: str = ""
    advice: str = ""
    log: str = ""


@dataclass(frozen=True)
class Survey:
    """Attributes:
    runs: of each sweep, in its order, by the sweep's name.
    claims: who has which.
    """

    runs: Mapping[str, Sequence[RunStatus]]
    claims: Claims


def survey(
    store: Store,
    manifests: Iterable[Mapping[str, Any]],
    squeue: Squeue = ask_squeue,
    sacct: Sacct = ask_sacct,
) -> Survey:
    """Where every run of some sweeps is.

    Opens one small file of each run that has begun and not ended, and the logs of those that
    failed a moment ago. squeue is asked once, and once more when runs seem to be lost; sacct once,
    when there are runs whose job may have ended badly.
    """
    return _Surveyor(store, list(manifests), squeue, sacct).survey()


class _Surveyor:
    """One survey: what was read for it."""

    def __init__(
        self, store: Store, manifests: list[Mapping[str, Any]], squeue: Squeue, sacct: Sacct
    ) -> None:
        self._store = store
        self._manifests = manifests
        self._sacct = sacct
        self._logs = RunLogs(store)
        self._now = store.clock()
        self._host = socket.gethostname()
        self._indexes = {m["name"]: _index(store, m) for m in manifests}
        self._states: dict[str, State] = {}
        self._unreadable: dict[str, str] = {}
        for index in self._indexes.values():
            self._states |= index.states()
            self._unreadable |= index.unreadable
        self._claims = self._claimed(squeue)

    def survey(self) -> Survey:
        plain = {m["name"]: [self._where(entry) for entry in m["runs"]] for m in self._manifests}
        asked = self._asked_jobs(run for runs in plain.values() for run in runs)
        ends = self._sacct(asked) if asked else {}
        runs = {name: [self._why(run, ends) for run in found] for name, found in plain.items()}
        for index in self._indexes.values():
            index.save()
        return Survey(runs, self._claims)

    # --- where

    def _claimed(self, squeue: Squeue) -> Claims:
        """After a second look where a run is gone from the queue without having ended."""
        claims = live_claims(self._store, squeue, self._states.get, second_look=0)
        gone = [run for run in claims.lost if run in self._states and self._stale(run)]
        if not gone:
            return claims
        time.sleep(SECOND_LOOK_SECONDS)
        for run in gone:
            state = self._store.run(run).state()
            if state is not None:
                self._states[run] = state
        return live_claims(self._store, squeue, self._states.get, second_look=0)

    def _stale(self, run: str) -> bool:
        state = self._states[run]
        return state.state == "running" and self._now - state.heard >= STALE_SECONDS

    def _where(self, entry: Mapping[str, Any]) -> RunStatus:
        run, claim = entry["id"], self._claims.runs.get(entry["id"])
        known = RunStatus(run, entry["arm"], entry["seed"], entry["point"], "missing")
        if run in self._unreadable:
            return replace(
                known,
                state="unreadable",
                cause=self._unreadable[run],
                failure="run folder unreadable",
                advice=UNREADABLE_ADVICE,
            )
        state = self._states.get(run)
        if state is None:
            if claim is None:
                return replace(known, job=self._logs.element(run))
            waits = "paused" if claim.held else "queued"
            return replace(known, state=waits, job=claim.job, node=claim.node)
        name = self._name(run, state, claim)
        seconds, steps = state.updated - state.started, state.step - state.resumed_from
        rate = steps / seconds if steps > 0 and seconds > 0 else None
        left = state.total_steps - state.step
        return replace(
            known,
            state=name,
            progress=state.step / state.total_steps if state.total_steps else None,
            epoch=state.epoch,
            loss=state.loss,
            steps_per_second=rate,
            eta_seconds=left / rate if rate and name == "running" else None,
            started=state.started or None,
            updated=state.heard,
            job=state.job or (claim.job if claim else "") or f"{state.host}:{state.pid}",
            node=(claim.node if claim else "") or state.host,
            attempts=state.attempt,
            restarts=sum(state.interruptions.values()),
            cause=f"loss not finite at step {state.step}" if name == "diverged" else state.cause,
        )

    def _name(self, run: str, state: State, claim: Claim | None) -> str:
        if state.state == "running":
            if not self._stale(run):
                return "running"
            return "lost" if self._gone(run, state, claim) else "silent"
        if claim and state.state not in FINISHED and not let_go(state, claim):
            return "paused" if claim.held else "queued"
        return state.state

    def _gone(self, run: str, state: State, claim: Claim | None) -> bool:
        """Whether a run without a sign of life is known to be no more. Unknown never means dead."""
        if claim is not None:
            return False
        if state.job:  # squeue has answered without it, or had when its submission was closed
            return run in self._claims.lost or bool(self._logs.name(state.job))
        return state.host == self._host and not process_alive(state.pid)

    # --- why

    def _asked_jobs(self, runs: Iterable[RunStatus]) -> dict[str, str]:
        """Array to its name, of those whose ends may say why a run failed or does not go on."""
        jobs: dict[str, str] = {}
        for run in runs:
            if run.state in UNCLAIMED | EXPLAINED and not self._known(run):
                for job in (run.job, self._newest_job(run)):
                    if name := self._logs.name(job):
                        jobs[job.partition("_")[0]] = name
        return jobs

    def _newest_job(self, run: RunStatus) -> str:
        """That a run waited in last, which it may never have begun in."""
        return self._logs.element(run.id) or run.job

    def _cancelled(self, run: RunStatus, ends: Mapping[str, JobEnd]) -> bool:
        job = self._newest_job(run)
        state = self._states.get(run.id)
        return bool(self._logs.name(job)) and cancelled(job, state, ends, self._logs)

    def _note(self, run: RunStatus) -> Mapping[str, str]:
        """What an earlier survey found out about the run's present state; empty for nothing."""
        notes = (index.note(run.id) for index in self._indexes.values())
        return next(filter(None, notes), {}) if run.state in EXPLAINED else {}

    def _known(self, run: RunStatus) -> bool:
        """Whether the accounting has nothing to add to the note: one that was away may yet tell
        that a run which somebody would carry on was cancelled, or what ended it."""
        note = self._note(run)
        return bool(note) and (run.state not in UNCLAIMED or bool(note.get("end")))

    def _why(self, run: RunStatus, ends: Mapping[str, JobEnd]) -> RunStatus:
        if run.state in ("done", "queued", "paused") or not run.job:
            return run
        if run.state in UNCLAIMED and self._cancelled(run, ends):
            return replace(run, state="cancelled")
        end = ends.get(run.job)
        note = self._note(run)
        if note and (end is None or self._known(run)):
            return _explained(run, note)
        files = self._logs.files(run.id, run.job)
        run = replace(run, log=str(files[min(files)]) if files else "")
        if run.state == "missing":
            return self._not_begun(run, end)
        if run.state not in EXPLAINED:
            return run
        found = self._diagnosis(run, end)
        kept = {
            "failure": found.kind,
            "advice": found.advice,
            "cause": found.line,
            "log": run.log,
            "end": end.state if end is not None and end.state not in UNDER_WAY else "",
        }
        if self._now - (run.updated or self._now) > SETTLED_SECONDS:
            for index in self._indexes.values():
                index.keep_note(run.id, kept)
        return _explained(run, kept)

    def _diagnosis(self, run: RunStatus, end: JobEnd | None) -> Diagnosis:
        texts = self._logs.last_words(run.id, run.job)
        folder = self._store.run(run.id).path
        saved = bool(checkpoint.checkpoints(folder)) if folder.exists() else False
        step = self._states[run.id].step if run.id in self._states else 0
        shared = self._logs.shared(run.job)
        return diagnose(Evidence(run.state, run.cause, step, saved, texts, end, shared))

    def _not_begun(self, run: RunStatus, end: JobEnd | None) -> RunStatus:
        """Of a run that nobody has: its job, if it had one, may have failed before it.

        The lines of the job's script before Python say so in the log; else the accounting does.
        """
        said = last_words(Path(run.log)) if run.log else ""
        ours = [line for line in said.splitlines() if line.startswith("lrscale: ")]
        if ours:
            cause = ours[-1].removeprefix("lrscale: ")
        elif end is not None and end.state in BAD_ENDS:
            cause = BAD_ENDS[end.state]
        else:
            return run
        found = self._diagnosis(replace(run, state="failed", cause=cause), end)
        return replace(
            run,
            state="failed",
            cause=f"its job ended before the run could begin: {found.line}",
            failure=found.kind,
            advice=found.advice,
            node=end.nodes if end else "",
        )


def _index(store: Store, manifest: Mapping[str, Any]) -> RunIndex:
    return read_states(store, manifest["name"], (entry["id"] for entry in manifest["runs"]))


def _explained(run: RunStatus, note: Mapping[str, str]) -> RunStatus:
    return replace(
        run,
        failure=note["failure"],
        advice=note["advice"],
        cause=note["cause"],
        log=note["log"],
    )
