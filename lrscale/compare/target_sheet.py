"""The table of what it takes each arm to reach a target: steps, epochs and training time. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrscale.compare.comparable import obstacles, why_not
from lrscale.compare.comparison import Comparison
from lrscale.compare.load import Direction, is_share, targets_of
from lrscale.compare.provenance import words
from lrscale.compare.render.cells import numbers
from lrscale.compare.samples import Sample, samples, scope_name
from lrscale.compare.sheet import Sheet
from lrscale.compare.targets import COSTS, Spent, Target, cost_of, speed_up, spent

Evaluations = Callable[[str], Sequence[Mapping[str, Any]]]
"""The evaluations that the run of an id has on record."""

NOTE = (
    "Reached at the first evaluation whose {metric} is {bound} {value}, which evaluations tell no "
    "finer than they are apart. Medians over the seeds that {phase} each point, and their range; "
    "a run that did not reach it, or diverged, is ∞. Training time is without start-up and "
    "evaluations."
)
SPEED_UP = " Speed-up: the median of {baseline} divided by the arm's, where both reach it."


@dataclass(frozen=True)
class TargetCosts:
    """The arms of one workload on their way to one target.

    Attributes:
        scope: the workload, with its sweep's name where several are joined.
        target: the target.
        baseline: the label of the arm that speed-ups are over; None without.
        obstacles: why seconds cannot be compared; then they are nowhere told.
        arms: label to the arm's name, which other workloads may have as well.
        spent: label to what the arm spent, by the names of ``COSTS``.
        diverged: label to how many of its runs did.
        reporting: whether these seeds chose nothing.
    """

    scope: str
    target: Target
    baseline: str | None
    obstacles: list[str]
    arms: Mapping[str, str]
    spent: Mapping[str, Mapping[str, Spent]]
    diverged: Mapping[str, int]
    reporting: bool

    def median(self, label: str, cost: str) -> float | None:
        """Infinite where the median run misses; None where nothing is known, or to be told."""
        return None if cost == "seconds" and self.obstacles else self.spent[label][cost].median

    def speed_up(self, label: str, cost: str) -> float | None:
        if self.baseline is None:
            return None
        return speed_up(self.median(self.baseline, cost), self.median(label, cost))


def target_costs(c: Comparison, evaluations: Evaluations) -> list[TargetCosts]:
    """For every workload (and joined sweep) for which there is a target."""
    if c.metric.select.startswith("test_"):  # nothing else was recorded
        return []
    found = samples(c)
    made = []
    for scope in dict.fromkeys(sample.scope for sample in found):
        within = [sample for sample in found if sample.scope == scope]
        base = next((s for s in within if s.arm == c.protocol.baseline and "arm" in c.by), None)
        target = _target(c, within, base)
        if target is not None:
            made.append(_costs(scope_name(scope), target, base, within, evaluations))
    return made


def target_sheets(found: Sequence[TargetCosts]) -> list[Sheet]:
    """A table for each of them."""
    return [
        target_sheet(costs).within(costs.scope) if len(found) > 1 else target_sheet(costs)
        for costs in found
    ]


def target_sheet(costs: TargetCosts) -> Sheet:
    """An arm a row, the one with the fewest steps first."""
    target, base = costs.target, costs.baseline
    value = _value(target)
    lines = [_line(costs, label) for label in costs.spent]
    lines.sort(key=lambda line: (line["steps_median"] is None, line["steps_median"], line["arm"]))
    metric = words(target.metric)
    note = NOTE.format(
        metric=metric,
        bound="at least" if target.direction == "max" else "at most",
        value=value,
        phase="report" if costs.reporting else "chose",
    )
    note += SPEED_UP.format(baseline=base) if base else ""
    note += f" {why_not(costs.obstacles)}" if costs.obstacles else ""
    headers = ["arm" if base else "group", "reached", "steps", "steps range", "epochs"]
    headers += ["training (s)", "range (s)"]
    return Sheet(
        "time_to_target",
        f"Steps and time to {value} {metric}, {target.source}",
        note,
        [*headers, *(["speed-up in steps", "speed-up in time"] if base else [])],
        [_cells(line, base is not None) for line in lines],
        pd.DataFrame(lines),
    )


def _target(c: Comparison, within: Sequence[Sample], base: Sample | None) -> Target | None:
    """The baseline's median, where it has one and the sweep does not want the workload's."""
    metric, direction = c.metric.select, c.metric.direction
    if base is not None and c.protocol.target == "baseline":
        median = _median_run(base.values(f"metrics.{metric}", direction), direction)
        if median is not None:
            return Target(metric, median, direction, f"the median of {base.label}")
    stated = targets_of(pd.concat([sample.tuning for sample in within])).get(metric)
    return None if stated is None else Target(metric, stated, direction, "the workload's target")


def _median_run(values: Sequence[float], direction: Direction) -> float | None:
    """The metric of the median run; of an even number the worse of the two in the middle, so that
    most runs of the baseline reach it. None where that run diverged, or none has ended."""
    ended = [value for value in values if not math.isnan(value)]
    middle = statistics.median_low if direction == "max" else statistics.median_high
    median = middle(ended) if ended else math.inf
    return median if math.isfinite(median) else None


def _costs(
    scope: str,
    target: Target,
    base: Sample | None,
    within: Sequence[Sample],
    evaluations: Evaluations,
) -> TargetCosts:
    every: dict[str, dict[str, Spent]] = {}
    for sample in within:
        runs = zip(sample.reported["id"], sample.reported["state"], strict=True)
        costs = [
            cost_of(state, evaluations(run) if state == "done" else (), target)
            for run, state in runs
        ]
        every[sample.label] = {name: spent(getattr(cost, name) for cost in costs) for name in COSTS}
    return TargetCosts(
        scope=scope,
        target=target,
        baseline=base.label if base is not None else None,
        obstacles=obstacles({sample.label: sample.reported for sample in within}),
        arms={sample.label: sample.arm for sample in within},
        spent=every,
        diverged={s.label: int((s.reported["state"] == "diverged").sum()) for s in within},
        reporting=not any(sample.shared for sample in within),
    )


def _line(costs: TargetCosts, label: str) -> dict[str, Any]:
    steps = costs.spent[label]["steps"]
    line: dict[str, Any] = {
        "arm": label,
        "planned": steps.planned,
        "ended": steps.ended,
        "reached": steps.reached,
        "metric": costs.target.metric,
        "target": costs.target.value,
        "target_source": costs.target.source,
    }
    for cost in COSTS:
        told = costs.spent[label][cost] if cost != "seconds" or not costs.obstacles else None
        for part in ("median", "low", "high"):
            line[f"{cost}_{part}"] = getattr(told, part) if told else None
    for cost in ("steps", "seconds"):
        line[f"speed_up_{cost}"] = costs.speed_up(label, cost)
    return line | {"misses": _misses(costs, label), "times": "; ".join(costs.obstacles)}


def _misses(costs: TargetCosts, label: str) -> str:
    """Why a number that JSON has as null is not there."""
    steps, diverged = costs.spent[label]["steps"], costs.diverged[label]
    parts = []
    if steps.ended - steps.reached:
        lost = f", {diverged} diverged" if diverged else ""
        count = f"{steps.ended - steps.reached} of {steps.planned}"
        parts.append(f"{count} runs did not reach the target{lost}")
    if steps.ended < steps.planned:
        parts.append(f"{steps.planned - steps.ended} of {steps.planned} runs have no result")
    return "; ".join(parts)


def _cells(line: Mapping[str, Any], compared: bool) -> list[str]:
    cells = [line["arm"], f"{line['reached']}/{line['planned']}"]
    cells += [cost_text(line["steps_median"]), _range(line, "steps")]
    cells += [cost_text(line["epochs_median"])]
    cells += [cost_text(line["seconds_median"], exact=False), _range(line, "seconds", exact=False)]
    if compared:
        cells += [times_text(line["speed_up_steps"]), times_text(line["speed_up_seconds"])]
    return cells


def _range(line: Mapping[str, Any], cost: str, exact: bool = True) -> str:
    ends = [cost_text(line[f"{cost}_{part}"], exact) for part in ("low", "high")]
    return ends[0] if ends[0] == ends[1] else "–".join(ends)


def cost_text(value: float | None, exact: bool = True) -> str:
    """``∞`` for never, ``–`` for unknown; steps and epochs to the last digit."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:,.10g}" if exact else numbers([value], digits=3)[0]


def times_text(value: float | None) -> str:
    """``1.52 ×``."""
    return "–" if value is None else f"{value:.2f} ×"


def _value(target: Target) -> str:
    """``95.00 %``."""
    percent = is_share(target.metric)
    return numbers([target.value], percent)[0] + (" %" if percent else "")
