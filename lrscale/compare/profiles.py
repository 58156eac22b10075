"""Arms over several workloads: performance profiles and mean speed-ups. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from lrscale.compare.targets import speed_up

Costs = Mapping[str, Mapping[str, float | None]]
"""Workload to arm to what it takes to reach the target: infinite for never, None for unknown."""

TAU_MAX = 4.0  # as AlgoPerf has it (Dahl et al. 2023)


@dataclass(frozen=True)
class Profile:
    """Dolan and Moré's (2002) performance profile ρ(τ): the share of workloads on which an arm
    needs at most τ times what the best arm there needs.

    Attributes:
        cost: ``steps`` or ``seconds``.
        workloads: their names.
        ratios: of each arm, on each workload, its cost to the least of all arms'; infinite where
            it does not reach the target.
    """

    cost: str
    workloads: list[str]
    ratios: Mapping[str, list[float]]

    def share(self, arm: str, tau: float) -> float:
        """ρ(τ)."""
        return sum(ratio <= tau for ratio in self.ratios[arm]) / len(self.workloads)

    def corners(self, arm: str) -> list[tuple[float, float]]:
        """τ and ρ(τ) from 1 to τmax, before and after each rise: a line through them is ρ."""
        rises = sorted({ratio for ratio in self.ratios[arm] if 1 < ratio < TAU_MAX})
        found = [(1.0, self.share(arm, 1.0))]
        for tau in rises:
            found += [(tau, found[-1][1]), (tau, self.share(arm, tau))]
        return [*found, (TAU_MAX, found[-1][1])]

    def area(self, arm: str) -> float:
        """∫₁^τmax ρ(τ) dτ / (τmax − 1): 1 for the best arm everywhere. A workload of ratio r adds
        τmax − r to the integral, or nothing from τmax on."""
        over = sum(max(0.0, TAU_MAX - ratio) for ratio in self.ratios[arm])
        return over / (TAU_MAX - 1) / len(self.workloads)

    def ranked(self) -> list[str]:
        """The arms, that of the greatest area first."""
        return sorted(self.ratios, key=lambda arm: (-self.area(arm), arm))


def profile(cost: str, costs: Costs) -> Profile | None:
    """Of the arms that have a known cost on every workload; None for fewer than two of either."""
    workloads = sorted(costs)
    arms = [
        arm
        for arm in sorted({arm for own in costs.values() for arm in own})
        if all(costs[workload].get(arm) is not None for workload in workloads)
    ]
    if len(workloads) < 2 or len(arms) < 2:
        return None
    ratios: dict[str, list[float]] = {arm: [] for arm in arms}
    for workload in workloads:
        known = {arm: value for arm in arms if (value := costs[workload][arm]) is not None}
        least = min(known.values())
        for arm, value in known.items():
            ratios[arm].append(value / least if math.isfinite(value) else math.inf)
    return Profile(cost, workloads, ratios)


@dataclass(frozen=True)
class SpeedUp:
    """An arm's speed-up over the baseline.

    Attributes:
        mean: geometric, over the workloads on which both reach the target; None without any.
        both: how many these are.
        workloads: on how many the costs of both are known.
    """

    mean: float | None
    both: int
    workloads: int


def mean_speed_up(costs: Costs, arm: str, baseline: str) -> SpeedUp:
    """Over all workloads on which both were run."""
    pairs = [(own.get(baseline), own.get(arm)) for own in costs.values()]
    known = [pair for pair in pairs if None not in pair]
    found = [value for pair in known if (value := speed_up(*pair)) is not None]
    mean = statistics.geometric_mean(sorted(found)) if found else None
    return SpeedUp(mean, len(found), len(known))
