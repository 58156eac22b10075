"""From a checked sweep to a backend: plan, record, hand over. All that writes is done under a lock.

The order makes a cut at any point harmless: what the runs are (``runs.json``) and which arrays
there will be (``submission.json``) are in the store before anything is queued, and each job id
is recorded as soon as it is known.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from launch import cluster, submissions
from launch import snapshot as snapshots
from launch.backends import local, slurm
from launch.cancelled import cancelled_runs
from launch.claims import Claims, live_claims, state_of
from launch.duration import Place, expected_minutes
from launch.layout import Estimate, Item, Layout, estimate, layout
from launch.plan import Decision, decide
from launch.preflight import Run
from launch.profiles import Profile
from launch.requeue import MAX_RETRIES
from launch.snapshot import Snapshot
from launch.submissions import Found
from launch.sweep import Sweep
from lrscale.config import encode, plugins_of
from lrscale.contract import measure_of
from lrscale.errors import UserError
from lrscale.store import Store

DEFAULT_MAX_ARRAY_SIZE = 1001  # Slurm's own, where the controller does not say
HANDED_OVER = ("submit", "resume", "retry")


@dataclass(frozen=True)
class Options:
    """What the command line says about runs that the store holds already."""

    retry: frozenset[str] = frozenset()
    force: bool = False


@dataclass(frozen=True)
class Plan:
    """What a submission would do.

    Attributes:
        runs: each once, in order.
        decisions: what is to happen to each, by id.
        layout: the arrays of what is to be handed over.
        cost: of those arrays.
        minutes: how long each run probably takes, by id; None where nothing is known.
        claims: what is alive.
        code: as it is now.
    """

    runs: Sequence[Run]
    decisions: Mapping[str, Decision]
    layout: Layout
    cost: Estimate
    minutes: Mapping[str, float | None]
    claims: Claims
    code: Snapshot

    @property
    def handed_over(self) -> list[Run]:
        """The runs of the layout, in order."""
        left_out = set(self.layout.left_over)
        return [
            run
            for run in self.runs
            if self.decisions[run.id].action in HANDED_OVER and run.id not in left_out
        ]


def make_plan(
    store: Store,
    sweep: Sweep,
    runs: Sequence[Run],
    code: Snapshot,
    options: Options,
    profile: Profile | None,
) -> Plan:
    """Wanted runs against what the store holds; writes nothing.

    Args:
        profile: of the cluster; None for backends without a queue.
    """
    found = submissions.survey(store, [run.id for run in runs])
    claims = live_claims(store, states=lambda run: _state(store, found, run))
    cancelled = cancelled_runs(store, found, claims)
    decisions = {
        run.id: decide(
            found[run.id],
            claims.runs.get(run.id),
            code.code,
            options.retry,
            options.force,
            run.id in cancelled,
        )
        for run in runs
    }
    done = [run for run, held in found.items() if held.state and held.state.state == "done"]
    place = partial(_place, on_slurm=profile is not None)
    minutes = expected_minutes(store, runs, done, sweep.minutes_per_run, place)
    items = [
        Item(
            run.id,
            run.resources,
            code.digest if decisions[run.id].fresh else found[run.id].snapshot or code.digest,
            minutes[run.id],
        )
        for run in runs
        if decisions[run.id].action in HANDED_OVER
    ]
    arrays = _lay_out(sweep, items, claims, profile)
    cost = estimate(arrays.arrays, minutes, sweep.per_gpu)
    return Plan(runs, decisions, arrays, cost, minutes, claims, code)


def _state(store: Store, found: Mapping[str, Found], run: str) -> Any:
    return found[run].state if run in found else state_of(store, run)


def _place(run: Run, on_slurm: bool) -> Place:
    """Where a run will compute, as far as can be known."""
    if on_slurm:
        gpus, ranks = run.resources.gpus_per_node > 0, run.resources.world_size
    else:
        slot = local.room(run.resources, 1, None)[0]
        gpus, ranks = bool(slot.gpus), slot.ranks
    on_gpu = gpus and getattr(run.config, "device", "auto") != "cpu"
    return ("cuda" if on_gpu else "cpu", ranks)


def _lay_out(
    sweep: Sweep, items: Sequence[Item], claims: Claims, profile: Profile | None
) -> Layout:
    if profile is None:  # a pool takes one run after the other by itself
        return layout(items, runs_per_task=1, max_array_size=max(1, len(items)))
    live = [array for array in claims.arrays if array.sweep == sweep.name]
    return layout(
        items,
        sweep.runs_per_task,
        sweep.per_gpu,
        sweep.parallel,
        profile.max_array_size or cluster.max_array_size() or DEFAULT_MAX_ARRAY_SIZE,
        _free_places(profile) if items else None,
        live,
    )


def _free_places(profile: Profile) -> int | None:
    """How many more jobs the user may have in the queue; None without a limit."""
    limit = profile.max_submit_jobs
    if limit is None:
        limit = cluster.max_submit_jobs(profile.account, profile.partition, profile.qos)
    return None if limit is None else max(0, limit - cluster.queued_jobs())


def record_submission(
    store: Store, sweep: Sweep, wanted: Sequence[Run] | None, plan: Plan, backend: str
) -> dict[str, Any] | None:
    """Write manifest, snapshot and submission; its record, or None when nothing is to be done.

    Runs that start afresh although they have a folder forget what they left; the others may be
    retried as often as new ones.

    Args:
        wanted: what the sweep asks for now; None leaves its manifest as it is.
    """
    for over in plan.claims.over:
        store.close_submission(over)
    if wanted is not None:
        record_manifest(store, sweep, wanted)
    handed_over = plan.handed_over
    if not handed_over:
        return None
    snapshots.save(plan.code, store)
    records = {run.id: _run_record(store, run, sweep, plan) for run in handed_over}
    for run in handed_over:
        if plan.decisions[run.id].fresh and store.run(run.id).exists():
            store.run(run.id).reset()
            store.run(run.id).create(records[run.id])
        else:
            store.run(run.id).grant_retries()
    submission = submissions.new_id()
    record = submissions.new_record(
        submission,
        sweep.name,
        backend,
        _array_records(f"{sweep.name}.{submission}", plan),
        per_gpu=sweep.per_gpu,
        parallel=sweep.parallel,
        max_retries=sweep.max_retries,
        provenance=plan.code.provenance,
        created=store.clock(),
    )
    store.write_run_records(submission, records)
    store.write_submission(submission, record)
    return record


def _array_records(name: str, plan: Plan) -> list[dict[str, Any]]:
    raw = {run.resources: dict(run.raw_resources) for run in plan.handed_over}
    return [
        {
            "name": f"{name}.{index}",
            "job_id": None,
            "elements": [list(element) for element in array.elements],
            "resources": raw[array.resources],
            "throttle": array.throttle,
            "after": array.after,
            "snapshot": array.snapshot,
        }
        for index, array in enumerate(plan.layout.arrays)
    ]


def _run_record(store: Store, run: Run, sweep: Sweep, plan: Plan) -> dict[str, Any]:
    """A run that goes on keeps the snapshot and the code that it began with."""
    if not plan.decisions[run.id].fresh:
        return store.run(run.id).record()
    return new_run_record(run, sweep, plan.code)


def new_run_record(run: Run, sweep: Sweep, code: Snapshot) -> dict[str, Any]:
    """What a new run's ``config.json`` holds: the run, the code, and who asked for it first."""
    origin = {"sweep": sweep.name, "arm": run.arm}
    record = {"config": encode(run.config), **origin, **code.run_record()}
    plugins = [plugin.record() for plugin in plugins_of(run.config)]
    if plugins:  # reports must do without them
        record |= {"plugins": plugins, "measure": measure_of(run.config.workload)}
    return record


def record_manifest(store: Store, sweep: Sweep, wanted: Sequence[Run]) -> None:
    """Write which runs the sweep asks for now, in place of what it asked before."""
    manifest = {
        "name": sweep.name,
        "notes": sweep.notes,
        "file": sweep.path,
        "written": time.time(),
        "text": sweep.text,
        "runs": [
            {
                "id": run.id,
                "arm": run.arm,
                "seed": run.seed,
                "point": dict(run.point),
                "trial": run.trial,
            }
            for run in wanted
        ],
        **({"selection": sweep.selection} if sweep.selection is not None else {}),
    }
    store.write_sweep(sweep.name, manifest)


# --- SLURM


def queue(store: Store, record: dict[str, Any], plan: Plan, profile: Profile) -> list[str]:
    """Hand the arrays of a recorded submission to sbatch; their job ids.

    Raises:
        UserError: sbatch refused one, or did not answer in time. What was queued before it is
            recorded; should the one in question have been queued after all, it is found by name.
    """
    records = store.read_run_records(record["id"])
    for index, array in enumerate(record["arrays"]):
        after = list(plan.layout.wait_for)
        if array["after"] is not None:
            after = [record["arrays"][array["after"]]["job_id"]]
        try:
            job = slurm.submit(
                store, record["id"], _array_job(record, index), records, profile, after
            )
        except UserError as error:
            raise UserError(
                f"{error}\n{index} of {len(record['arrays'])} arrays were queued; "
                "the same command submits the rest"
            ) from error
        array["job_id"] = job
        store.write_submission(record["id"], record)
    return [array["job_id"] for array in record["arrays"]]


def adopt(store: Store, claims: Claims) -> list[str]:
    """Complete the arrays whose launcher died right after ``sbatch``; their names."""
    names = []
    for (submission, index), job_id in claims.adopted.items():
        record = store.read_submission(submission)
        array = _array_job(record, index)
        slurm.adopt(store, submission, array, job_id, store.read_run_records(submission))
        submissions.record_job(store, submission, index, job_id)
        names.append(array.name)
    return names


def _array_job(record: Mapping[str, Any], index: int) -> slurm.ArrayJob:
    array = record["arrays"][index]
    return slurm.ArrayJob(
        array["name"],
        array["elements"],
        array["resources"],
        array["throttle"],
        array["snapshot"],
        record["per_gpu"],
        record.get("max_retries", MAX_RETRIES),
    )


# --- this machine


def start_pools(store: Store, record: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Start the pools of a recorded local submission one after the other, as they are asked for.

    One pool runs one snapshot: runs that go on have that which they began with.
    """
    for snapshot in dict.fromkeys(array["snapshot"] for array in record["arrays"]):
        process = local.start(store, record["id"], snapshot)
        record["processes"].append(submissions.process_stamp(process.pid))
        store.write_submission(record["id"], record)
        local.release(process)
        yield process
