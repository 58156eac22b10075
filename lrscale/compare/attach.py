"""The sheets of a comparison that need more than its runs' last metrics. Reads the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lrscale.compare.comparison import Comparison
from lrscale.compare.difference_sheet import difference_sheets
from lrscale.compare.gap_sheets import gap_sheet, minibatch_sheet
from lrscale.compare.gd_runs import is_gd, load_gd
from lrscale.compare.gd_sheets import sheets as gd_sheets
from lrscale.compare.mean_sheet import mean_sheet
from lrscale.compare.profile_sheet import profile_sheet, profiles
from lrscale.compare.samples import Sample
from lrscale.compare.search_sheet import search_sheet
from lrscale.compare.sensitivity_sheet import sensitivity_sheet
from lrscale.compare.sheet import Sheet
from lrscale.compare.target_sheet import target_costs, target_sheets
from lrscale.compare.training_sheet import training_sheets
from lrscale.predictions import unpack
from lrscale.store import Store


def attach_sheets(store: Store, comparison: Comparison) -> Comparison:
    """The comparison with every sheet that its runs have something for, in reading order."""
    found: list[Sheet | None] = [mean_sheet(comparison)]
    found += difference_sheets(comparison, partial(load_correct, store))
    theory = is_gd(comparison.runs)  # whose own tables say how far each run came
    costs = [] if theory else target_costs(comparison, partial(load_evaluations, store))
    over_workloads = profiles(costs)
    found += [*target_sheets(costs), profile_sheet(costs, over_workloads)]
    found += [] if theory else training_sheets(comparison)
    found += [sensitivity_sheet(comparison), search_sheet(comparison), gap_sheet(comparison)]
    found.append(minibatch_sheet(comparison, partial(load_evaluations, store)))
    found += gd_sheets(load_gd(store, comparison)) if theory else []
    sheets = [sheet for sheet in found if sheet is not None]
    return replace(comparison, sheets=sheets, profiles=over_workloads)


def load_evaluations(store: Store, run_id: str) -> list[Mapping[str, Any]]:
    """What a run has on record of each evaluation; nothing of one that cannot be read."""
    if store.unreadable(run_id):
        return []
    return [record for record in store.run(run_id).metrics() if record["kind"] == "epoch"]


def load_correct(store: Store, sample: Sample) -> np.ndarray | None:
    """Whether each seed had each test example right: (seeds, examples); None where that is not
    on record."""
    files = [store.run(run_id).predictions() for run_id in sample.reported["id"]]
    rows = [unpack(content).correct for content in files if content is not None]
    if len(rows) < len(files) or len({len(row) for row in rows}) > 1:
        return None
    return np.stack(rows)
