"""The runs of a study: taken from the run store into a CSV file, and read back for the page.

A page is made from what ships beside it, so that anybody can check it without the store.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.final import Final
from lrscale.compare.gd_runs import is_gd
from lrscale.compare.load import MISSING, metric_of
from lrscale.compare.protocol import Protocol
from lrscale.compare.provenance import Provenance, provenance
from lrscale.data.reference import Reference
from lrscale.store import Store

# Where and how often, not what: of no use to a reader, and the paths are nobody's business.
DROPPED = ("root", "download", "stage", "device", "checkpoint_minutes", "track")
FIRST = ("minibatch_loss", "train_loss")  # metrics of which the first evaluation is kept too
# Columns that hold text whatever it looks like: a commit such as 57e1234567 is no number.
TEXT = (
    "id", "arm", "point", "phase", "state", "cause", "code", "plugins", "measure", "data",
    "device", "hardware", "versions", "config.data.fingerprint", "config.precision",
)  # fmt: skip


@dataclass(frozen=True)
class SweepData:
    """The runs of one sweep, as they ship.

    Attributes:
        runs: a row for each run, as ``load_runs`` has them; ``phase`` and ``frozen`` (Unix
            seconds) where chosen points were reported on other seeds; ``first.*`` of the first
            evaluation; ``monitor.scale``, what the monitor had multiplied the rate by in the end.
            Of gradient descent: what its tables have of each run.
        comparison: of these runs; None for gradient descent.
    """

    runs: pd.DataFrame
    comparison: Comparison | None

    @property
    def provenance(self) -> Provenance:
        return provenance(self.runs)


def take(store: Store, comparison: Comparison) -> pd.DataFrame:
    """What ships of a sweep: a row for each run that it asked for."""
    c = comparison
    if is_gd(c.runs):
        return _theory(c)
    frame = c.every_run
    if c.final is not None:
        reporting = frame["phase"] == "reporting"
        frame = frame.assign(frozen=pd.Series(c.final.when[0], frame.index).where(reporting))
    frame = frame.join(pd.DataFrame([_further(store, row) for row in frame.to_dict("records")]))
    kept = [n for n in frame if str(n).rsplit(".", 1)[-1] not in DROPPED and n != "sweep"]
    kept += ["device"] if "device" in frame else []  # what it ran on, beside config.device
    made: pd.DataFrame = frame[kept].dropna(axis="columns", how="all")
    return made


def to_csv(frame: pd.DataFrame) -> str:
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def from_csv(text: str) -> pd.DataFrame:
    """The frame that ``to_csv`` wrote, numbers to the last bit."""
    frame: pd.DataFrame = pd.read_csv(io.StringIO(text), dtype=dict.fromkeys(TEXT, str))
    frame["cause"] = frame["cause"].fillna("") if "cause" in frame else ""
    return frame


def load(
    name: str, frame: pd.DataFrame, protocol: Protocol, references: Sequence[Reference]
) -> SweepData:
    """The runs of a CSV file with their comparison."""
    if is_gd(frame) or "config.workload" not in frame:
        return SweepData(frame, None)
    frame = frame.assign(sweep="")  # which of several joined ones; here there is one
    if "trial" not in frame:
        frame = frame.assign(trial=None)
    tuning, final = frame, None
    if "phase" in frame:
        tuning = frame[frame["phase"] == "tuning"].reset_index(drop=True)
        final = _final(tuning, frame[frame["phase"] == "reporting"].reset_index(drop=True))
    manifest = {"name": name, "notes": ""}
    made = compare(tuning, manifest, None, ("arm",), references, (), protocol, final)
    return SweepData(frame, made)


def references_csv(found: Mapping[str, Sequence[Reference]]) -> str:
    """Every sweep's references, a row for each metric."""
    rows = [
        {"sweep": sweep, "name": r.name, "data": r.data, "metric": metric, "value": value}
        for sweep, references in found.items()
        for r in references
        for metric, value in asdict(r)["metrics"].items()
    ]
    return to_csv(pd.DataFrame(rows)) if rows else ""


def references_of(text: str, sweep: str) -> list[Reference]:
    """Those of one sweep, from what ``references_csv`` wrote."""
    if not text:
        return []
    frame = pd.read_csv(io.StringIO(text))
    own = frame[frame["sweep"] == sweep]
    return [
        Reference(str(name), str(data), dict(zip(rows["metric"], rows["value"], strict=True)))
        for (name, data), rows in own.groupby(["name", "data"], sort=False)
    ]


def _final(tuning: pd.DataFrame, reporting: pd.DataFrame) -> Final | None:
    if reporting.empty:
        return None
    return Final(
        sweeps=tuple(set(tuning["sweep"])),
        chosen=frozenset(zip(reporting["arm"], reporting["point"], strict=True)),
        metrics=(metric_of(tuning).select,),
        when=(float(reporting["frozen"].iloc[0]),),
        tuning=frozenset(tuning["id"]),
        runs=reporting,
    )


def _theory(c: Comparison) -> pd.DataFrame:
    """What the tables of gradient descent have of each run, and what made it."""
    measured = pd.concat([s.frame for s in c.sheets if "id" in s.frame], ignore_index=True)
    made = [n for n in ("id", "state", "code", "data", "hardware", "versions") if n in c.runs]
    planned = c.runs[made].assign(seed=c.runs["seed"])
    own = measured.drop(columns=["state", "seed"])
    joined: pd.DataFrame = planned.merge(own, on="id", how="left").dropna(axis=1, how="all")
    return joined


def _further(store: Store, row: Mapping[Any, Any]) -> dict[str, Any]:
    if row["state"] == MISSING:
        return {}
    run = store.run(row["id"])
    first = next((r for r in run.metrics() if r["kind"] == "epoch"), {})
    further = {f"first.{n}": _number(first[n]) for n in FIRST if n in first}
    monitor = (run.summary() or {}).get("monitor")
    return further | ({"monitor.scale": monitor["scale"]} if monitor else {})


def _number(value: float | None) -> float:
    """The store writes null for what is not finite."""
    return math.inf if value is None else float(value)
