"""Performance profiles, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lrscale.compare.profiles import TAU_MAX, Profile
from lrscale.compare.style import legend, looks

TICKS = (1, 1.25, 1.5, 2, 2.5, 3, 4)


def profile_figure(profiles: Sequence[Profile]) -> Figure | None:
    """ρ(τ) of every arm, a panel for each kind of cost; None without a profile."""
    if not profiles:
        return None
    figure = Figure(figsize=(4.6 * len(profiles) + 1.0, 4.4), layout="constrained")
    panels = figure.subplots(1, len(profiles), sharey=True, squeeze=False)[0]
    for axes, profile in zip(panels, profiles, strict=True):
        count = len(profile.ratios)
        for i, (arm, look) in enumerate(zip(profile.ratios, looks(count, False), strict=True)):
            taus, shares = zip(*profile.corners(arm), strict=True)
            # Lines often lie on each other: those below are wider.
            axes.plot(taus, shares, label=arm, linewidth=1.5 + 4 * (count - 1 - i) / count, **look)
        axes.set_xscale("log")
        axes.set_xlim(1, TAU_MAX)
        axes.xaxis.set_major_locator(FixedLocator(TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel(f"τ, times the best arm's {profile.cost} to the target (log scale)")
    panels[0].set_ylabel("share of workloads, ρ(τ)")
    legend(figure)
    return figure
