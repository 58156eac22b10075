"""The table of arms over several workloads: performance profiles and mean speed-ups. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lrscale.compare.comparable import why_not
from lrscale.compare.profiles import TAU_MAX, Costs, Profile, mean_speed_up, profile
from lrscale.compare.sheet import Sheet
from lrscale.compare.target_sheet import TargetCosts, times_text

NOTE = (
    "Over the median runs of {count} workloads ({workloads}), each with a target of its own. "
    "Profile area: of ρ(τ), the share of workloads on which an arm needs at most τ times what the "
    "best arm needs, from τ = 1 to {tau:g}, as a share of the greatest possible; it depends on "
    "which arms are compared.{speed_up}{left_out}{times}"
)
SPEED_UP = (
    " Speed-up over {baseline}: geometric mean over the workloads on which both reach the target; "
    "in brackets, how many of them."
)


def profiles(found: Sequence[TargetCosts]) -> list[Profile]:
    """In steps, and where times can be compared on every workload in seconds; none for a single
    workload."""
    made = [profile(cost, costs) for cost, costs in _costs(found).items()]
    return [one for one in made if one is not None]


def profile_sheet(found: Sequence[TargetCosts], made: Sequence[Profile]) -> Sheet | None:
    """An arm a row, ranked by the area of its profile in steps. None without a profile."""
    if not made:
        return None
    costs, first = _costs(found), made[0]
    named = {costs.arms[costs.baseline] for costs in found if costs.baseline is not None}
    baseline = min(named) if len(named) == 1 else None
    lines = [_line(arm, made, costs, baseline) for arm in first.ranked()]
    left = sorted({arm for own in costs["steps"].values() for arm in own} - set(first.ratios))
    against = [obstacle for one in found for obstacle in one.obstacles]
    cost_names = {"steps": "steps", "seconds": "time"}
    headers = ["arm", "reached"]
    headers += [f"{kind} in {cost_names[one.cost]}" for kind in ("best", "area") for one in made]
    headers += [f"speed-up in {cost_names[one.cost]}" for one in made] if baseline else []
    return Sheet(
        "profiles",
        "Performance profiles over workloads",
        NOTE.format(
            count=len(first.workloads),
            workloads=", ".join(first.workloads),
            tau=TAU_MAX,
            speed_up=SPEED_UP.format(baseline=baseline) if baseline else "",
            left_out=f" Not on every workload: {', '.join(left)}." if left else "",
            times=f" {why_not(list(dict.fromkeys(against)))}" if against else "",
        ),
        headers,
        [_cells(line, made, baseline) for line in lines],
        pd.DataFrame(lines),
    )


def _costs(found: Sequence[TargetCosts]) -> dict[str, Costs]:
    """The medians: cost to workload to arm. Seconds are unknown where they cannot be compared."""
    return {
        cost: {
            one.scope: {arm: one.median(label, cost) for label, arm in one.arms.items()}
            for one in found
        }
        for cost in ("steps", "seconds")
    }


def _line(
    arm: str, made: Sequence[Profile], costs: dict[str, Costs], baseline: str | None
) -> dict[str, Any]:
    line: dict[str, Any] = {"arm": arm, "workloads": len(made[0].workloads)}
    line["reached"] = sum(ratio < float("inf") for ratio in made[0].ratios[arm])
    for one in made:
        line[f"best_{one.cost}"] = sum(ratio == 1 for ratio in one.ratios[arm])
        line[f"area_{one.cost}"] = one.area(arm)
        if baseline is not None:
            speed_up = mean_speed_up(costs[one.cost], arm, baseline)
            line[f"speed_up_{one.cost}"] = speed_up.mean
            line[f"speed_up_{one.cost}_both"] = speed_up.both
    return line | {"tau_max": TAU_MAX}


def _cells(line: dict[str, Any], made: Sequence[Profile], baseline: str | None) -> list[str]:
    of = line["workloads"]
    cells = [line["arm"], f"{line['reached']}/{of}"]
    cells += [f"{line[f'best_{one.cost}']}/{of}" for one in made]
    cells += [f"{line[f'area_{one.cost}']:.3f}" for one in made]
    for one in made if baseline else ():
        mean, both = line[f"speed_up_{one.cost}"], line[f"speed_up_{one.cost}_both"]
        cells.append(f"{times_text(mean)} ({both} of {of})")
    return cells
