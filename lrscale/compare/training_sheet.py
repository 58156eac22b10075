"""The table of what training takes in each arm, beside what it takes in the baseline. Pure.

Time, and energy where that of every run is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lrscale.compare.aggregate import TIMES, summarise
from lrscale.compare.comparable import obstacles, why_not
from lrscale.compare.comparison import Comparison
from lrscale.compare.intervals import ratio_interval
from lrscale.compare.render.cells import with_spread
from lrscale.compare.samples import Sample, samples, scope_name
from lrscale.compare.sheet import Sheet

SECONDS = "seconds.training"
ENERGY = "energy_joules"
NOTE = (
    "Of whole runs, without start-up and evaluations. Relative: the mean divided by that of "
    "{baseline}, with its 95 % interval (t on the log scale). No mean where a planned seed has not "
    "finished."
)
OF_ENERGY = (
    " Energy: of the GPUs alone, for whole runs with their evaluations, as the driver counts."
)


def training_sheets(c: Comparison) -> list[Sheet]:
    """A table for every workload (and joined sweep) in which the baseline has runs."""
    if c.protocol.baseline is None or "arm" not in c.by or SECONDS not in c.runs:
        return []
    found = samples(c)
    scopes = {sample.scope: sample for sample in found if sample.arm == c.protocol.baseline}
    made = []
    for scope, base in scopes.items():
        within = [sample for sample in found if sample.scope == scope]
        if len(within) > 1:
            sheet = _sheet(within, base)
            made.append(sheet.within(scope_name(scope)) if len(scopes) > 1 else sheet)
    return made


def _sheet(within: Sequence[Sample], base: Sample) -> Sheet:
    against = obstacles({sample.label: sample.reported for sample in within})
    lines = [_line(sample, base, against) for sample in within]
    cells = [_cells(line) for line in lines]
    headers = ["arm", "n", "training (s)", "relative", "interval (95 %)"]
    note = why_not(against) if against else NOTE.format(baseline=base.label)
    energies = [sample.complete(ENERGY, "min") for sample in within]
    if not against and all(energies):
        headers, note = [*headers, "energy (kJ)"], note + OF_ENERGY
        for line, cell, joules in zip(lines, cells, energies, strict=True):
            spent = summarise([value / 1e3 for value in joules or ()])
            line |= {"energy_kj": spent.mean, "energy_kj_sd": spent.sd}
            cell.append("–" if spent.mean is None else with_spread(spent.mean, spent.sd))
    return Sheet(
        "training_time",
        f"Training time relative to {base.label}",
        note,
        headers,
        cells,
        pd.DataFrame(lines).assign(baseline=base.label, times="; ".join(against)),
    )


def _line(sample: Sample, base: Sample, against: Sequence[str]) -> dict[str, Any]:
    summary = summarise(sample.values(SECONDS, TIMES[SECONDS]))
    own, theirs = (s.complete(SECONDS, TIMES[SECONDS]) for s in (sample, base))
    ratio, interval = None, None
    if own and theirs and not against:
        ratio = (sum(own) / len(own)) / (sum(theirs) / len(theirs))
        interval = None if sample is base else ratio_interval(own, theirs)
    return {
        "arm": sample.label,
        "n": summary.n,
        "planned": summary.planned,
        "mean": None if against else summary.mean,
        "sd": None if against else summary.sd,
        "relative": ratio,
        "interval_low": interval[0] if interval else None,
        "interval_high": interval[1] if interval else None,
    }


def _cells(line: dict[str, Any]) -> list[str]:
    mean = "–" if line["mean"] is None else with_spread(line["mean"], line["sd"])
    n = str(line["n"]) if line["n"] == line["planned"] else f"{line['n']}/{line['planned']}"
    relative, low, high = (
        None if line[name] is None else f"{line[name]:.2f}"
        for name in ("relative", "interval_low", "interval_high")
    )
    interval = f"{low}–{high}" if low else "–"
    return [line["arm"], n, mean, relative or "–", interval]
