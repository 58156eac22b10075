"""Runs of a sweep handed over again from what the store holds, without the sweep's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from launch.handover import Options
from launch.plan import RETRYABLE
from launch.preflight import Checked, Run
from launch.profiles import load_profile
from launch.resources import decode_resources
from launch.submit import Request, hand_over
from launch.sweep import Expansion, recorded
from lrscale.config import decode
from lrscale.errors import UserError
from lrscale.store import Store


def resubmit(
    store: Store, manifest: Mapping[str, Any], ids: Sequence[str], profile: str | None
) -> int:
    """Hand runs over to the backend that had them last; the exit code of ``submit``.

    Args:
        ids: runs of the manifest that were handed over before.
        profile: of the cluster, where that is not the default one.

    Raises:
        UserError: a profile that is not there, or for runs that a cluster did not have; runs with
            plugins, or that were never handed over.
    """
    last, known = _last_handed_over(store, ids), _Runs(store, manifest)
    for backend in sorted({one.backend for one in last.values()}):
        on_slurm = backend == "slurm"
        if profile is not None and not on_slurm:
            raise UserError(f"--profile is for runs of a cluster; these were {backend}")
        runs = tuple(known.get(run, last[run]) for run in ids if last[run].backend == backend)
        request = Request(
            recorded(manifest),
            (),
            Expansion([], 0, []),
            Checked(runs, runs, ()),
            store,
            backend if on_slurm else "local",
            load_profile(profile) if on_slurm else None,
            Options(retry=frozenset(RETRYABLE) - {"stale"}),
        )
        code = hand_over(request, None)
        if code:
            return code
    return 0


@dataclass(frozen=True)
class _HandedOver:
    """How a run was handed over last."""

    submission: str
    backend: str
    resources: Mapping[str, Any]  # raw


def _last_handed_over(store: Store, ids: Sequence[str]) -> dict[str, _HandedOver]:
    wanted = set(ids)
    found: dict[str, _HandedOver] = {}
    for submission, record in store.read_submissions().items():
        for array in record["arrays"]:
            last = _HandedOver(submission, record["backend"], array["resources"])
            found |= {
                run: last for element in array["elements"] for run in element if run in wanted
            }
    missing = [run for run in ids if run not in found]
    if missing:
        raise UserError(
            f"{len(missing):,} runs, such as {missing[0][:8]}, were never handed over: "
            "python launch/submit.py FILE does that"
        )
    return found


class _Runs:
    """The runs of a manifest as ``launch.preflight`` would have them."""

    def __init__(self, store: Store, manifest: Mapping[str, Any]) -> None:
        self._store, self._file = store, manifest.get("file", "FILE")
        self._places = {entry["id"]: entry for entry in manifest["runs"]}
        self._records = cache(store.read_run_records)

    def get(self, run: str, last: _HandedOver) -> Run:
        run_dir, place = self._store.run(run), self._places[run]
        record = run_dir.record() if run_dir.exists() else self._records(last.submission)[run]
        if record.get("plugins"):  # which may be others by now: with the sweep's file they are read
            raise UserError(
                f"run {run[:8]} has plugins: python launch/submit.py {self._file} --retry …"
            )
        return Run(
            run,
            place["arm"],
            place["seed"],
            place["point"],
            place["trial"],
            decode(record["config"]),
            decode_resources(last.resources),
            last.resources,
        )
