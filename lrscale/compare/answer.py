"""What a comparison says, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lrscale.compare.comparison import Comparison
from lrscale.compare.curves import place
from lrscale.compare.difference_sheet import p_text
from lrscale.compare.load import NAMELESS, is_share
from lrscale.compare.mean_sheet import span, texts
from lrscale.compare.provenance import words
from lrscale.compare.render.cells import point_text, statistic_cell
from lrscale.compare.samples import label_of, samples
from lrscale.compare.sheet import Sheet
from lrscale.compare.target_sheet import cost_text, times_text

MOST_NAMED = 5  # arms in one sentence


def answer(comparison: Comparison) -> list[str]:
    """Sentences for the top of a report: the best group of each workload, which differences to
    the baseline can be shown, who reaches the target first, and who does over all workloads."""
    c, chosen = comparison, [row for row in comparison.groups.to_dict("records") if row["selected"]]
    if not chosen:
        return [_no_result(c.runs)]
    scopes = {sample.label: sample.scope for sample in samples(c)}
    best: dict[tuple[str, str], str] = {}
    for row in chosen:  # in order of their worth
        best.setdefault(scopes[label_of(row, c.by)], _best(row, len(chosen), c))
    said = list(best.values())
    for sheet in c.sheets:
        if sheet.name.startswith("differences"):
            said += _differences(sheet, is_share(c.metric.report))
        elif sheet.name.startswith("time_to_target"):
            said += _first_to_target(sheet)
        elif sheet.name.startswith("training_time"):
            said += _training_times(sheet)
        elif sheet.name == "profiles":
            said.append(_profile(sheet))
    return said


def _no_result(runs: pd.DataFrame) -> str:
    """``None of 15 runs has a result: 12 diverged, 3 missing.``"""
    counts = [f"{n} {state}" for state, n in sorted(runs["state"].value_counts().items())]
    return f"None of {len(runs)} runs has a result: {', '.join(counts)}."


def _best(row: Mapping[Any, Any], groups: int, c: Comparison) -> str:
    measure = f"metrics.{c.metric.report}"
    value, unit = statistic_cell(row, measure), " %" if is_share(measure) else ""
    text = f"{_name(row, c)} reached {value}{unit} {words(c.metric.report)}"
    how = [_seeds(row, measure)]
    if row["points"] > 1 or groups > 1:
        how.append(f"chosen by {words(c.metric.select)}")
    return f"{text} ({'; '.join(how)})."


def _name(row: Mapping[Any, Any], c: Comparison) -> str:
    """``adam at lr 0.003``."""
    keys = [f"config.{key}" for key in c.keys if f"config.{key}" not in c.by]
    point, group = point_text(row, keys), place(row, c.by)
    group = c.sweep if group == NAMELESS else group
    return f"{group} at {point}" if point != "–" else group


def _seeds(row: Mapping[Any, Any], measure: str) -> str:
    n, planned = row[f"{measure}.n"], row["planned"]
    if n < planned:
        return f"{n} of {planned} seeds finished"
    return f"mean ± standard deviation over {n} seeds" if n > 1 else "one seed"


def _differences(sheet: Sheet, percent: bool) -> Iterator[str]:
    """Each arm by its verdict, and how large a difference would have to be to be shown."""
    lines = sheet.frame.to_dict("records")
    what = sheet.title.replace(" (points)", ", in points")
    shown = [_shown(line, percent) for line in lines if line["shown"] is True]
    hidden = [line for line in lines if line["shown"] is False]
    untested = [f"{line['arm']} ({line['verdict']})" for line in lines if line["shown"] is None]
    if shown:
        yield f"{what}: {'; '.join(shown)}."
    if hidden:
        none = "None" if shown else f"{what}: none"
        least = [line["detectable"] for line in hidden if pd.notna(line["detectable"])]
        yield (
            f"{none} can be shown for {_listed([line['arm'] for line in hidden])}, which is not to "
            f"say that there is none{_limit(least, percent)}."
        )
    if untested:
        yield f"Without a test: {', '.join(untested)}."


def _limit(least: Sequence[float], percent: bool) -> str:
    """What would have been found, by the least such differences of some arms."""
    possible = [value for value in least if not percent or value <= 1]
    if not possible:
        return ": with so few seeds no difference would be found" if least else ""
    ends = dict.fromkeys(texts([min(possible), max(possible)], percent))
    return f": to be found four times out of five it has to be {' to '.join(ends)} or more"


def _shown(line: Mapping[Any, Any], percent: bool) -> str:
    size, low, high = (abs(line[key]) for key in ("difference", "interval_low", "interval_high"))
    interval = span((min(low, high), max(low, high)), percent)
    by = texts([size], percent)[0]
    p = p_text(line["p_holm"])
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    return f"{line['arm']} is {line['verdict']} by {by} ({interval}, {p})"


def _first_to_target(sheet: Sheet) -> Iterator[str]:
    """Who needs the fewest steps to the target, and who the least time."""
    lines = sheet.frame.to_dict("records")
    to = sheet.title.removeprefix("Steps and time ")
    kinds = {"steps": "the fewest steps", "seconds": "the least training time"}
    first = [f"{most} {found}" for cost, most in kinds.items() if (found := _first(lines, cost))]
    if first:
        yield f"{to[0].upper()}{to[1:]}: {', '.join(first)}."
    else:
        yield f"No median run comes {to}."
    if lines[0]["times"]:
        yield f"Times are not compared: {lines[0]['times']}."


def _training_times(sheet: Sheet) -> Iterator[str]:
    """From the shortest to the longest; nothing where times cannot be compared."""
    lines = sheet.frame.to_dict("records")
    known = [line for line in lines if pd.notna(line["interval_low"])]
    if known:
        ends = [pick(known, key=lambda line: line["relative"]) for pick in (min, max)]
        each = [
            f"{line['relative']:.2f} ({line['interval_low']:.2f}–{line['interval_high']:.2f}) of "
            f"{line['arm']}"
            for line in (ends if len(known) > 1 else ends[:1])
        ]
        yield f"{sheet.title}: {'from ' if len(each) > 1 else ''}{' to '.join(each)}."


def _first(lines: Sequence[Mapping[Any, Any]], cost: str) -> str | None:
    """``adam (40, a speed-up of 2.00 ×)``; arms that need as much are named together."""
    medians = [line[f"{cost}_median"] for line in lines]
    least = min((m for m in medians if m is not None and m < float("inf")), default=None)
    if least is None:
        return None
    best = [line for line in lines if line[f"{cost}_median"] == least]
    size = cost_text(least) if cost == "steps" else f"{cost_text(least, exact=False)} s"
    speed_up = best[0][f"speed_up_{cost}"]
    if pd.notna(speed_up) and speed_up != 1:
        size += f", a speed-up of {times_text(speed_up)}"
    return f"{_listed([line['arm'] for line in best])} ({size})"


def _profile(sheet: Sheet) -> str:
    best = sheet.frame.to_dict("records")[0]
    return (
        f"Over {best['workloads']} workloads {best['arm']} has the greatest area of the "
        f"performance profile in steps, {best['area_steps']:.2f}."
    )


def _listed(names: Sequence[str]) -> str:
    """``a, b and c``; more than a sentence can bear by their number."""
    if len(names) > MOST_NAMED:
        return f"{len(names)} arms"
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
