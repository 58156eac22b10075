"""Whether the times of some runs may be compared, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pandas as pd

MACHINE = ("hardware", "world_size", "threads")  # what a run computed on
CONDITIONS = (*MACHINE, "versions", "sharing", "mixed")
MOST_NAMED = 5  # arms in a clause


def obstacles(runs: Mapping[str, pd.DataFrame]) -> list[str]:
    """Why times of these runs (by arm or other group, like ``load_runs``) cannot be compared, a
    clause each; empty where they can.

    Only runs that have ended count: no other has a time. Whether something else computed on the
    same machine at the time is not on record, but for runs of the sweep that shared a GPU.
    """
    ended = {
        label: frame[frame["state"].isin(("done", "diverged"))].reindex(columns=CONDITIONS)
        for label, frame in runs.items()
    }
    return [
        *_differing(ended, MACHINE, _machine, "arms ran on different hardware"),
        *_differing(ended, ("versions",), _software, "arms ran with different software"),
        *_some(ended, lambda own: own["sharing"] > 1, "runs shared their GPU with others"),
        *_some(
            ended,
            lambda own: own["mixed"].eq(True),
            "runs were resumed on other hardware or software, or without deterministic kernels",
        ),
    ]


def why_not(obstacles: Sequence[str]) -> str:
    """The sentence that a table has instead of times."""
    return f"No comparison of times: {'; '.join(obstacles)}."


def _machine(run: Mapping[Any, Any]) -> str:
    """``cpu AMD EPYC, 2 processes, 4 threads``."""
    parts = [str(run["hardware"])]
    for column, noun in (("world_size", "processes"), ("threads", "threads")):
        if run[column] > 1:
            parts.append(f"{run[column]:.0f} {noun}")
    return ", ".join(parts)


def _software(run: Mapping[Any, Any]) -> str:
    return str(run["versions"])


def _differing(
    ended: Mapping[str, pd.DataFrame],
    columns: Sequence[str],
    of: Callable[[Mapping[Any, Any]], str],
    what: str,
) -> list[str]:
    """``…: cpu A (adam, sgd); cpu B (lion)``, where there are several."""
    found: dict[str, set[str]] = {}
    for label, frame in ended.items():
        for run in frame[list(columns)].drop_duplicates().to_dict("records"):
            found.setdefault(of(run), set()).add(label)
    if len(found) < 2:
        return []
    each = (f"{name} ({_named(labels)})" for name, labels in sorted(found.items()))
    return [f"{what}: {'; '.join(each)}"]


def _named(labels: Collection[str]) -> str:
    """The arms, or how many they are."""
    return ", ".join(sorted(labels)) if len(labels) <= MOST_NAMED else f"{len(labels)} arms"


def _some(
    ended: Mapping[str, pd.DataFrame],
    affected: Callable[[pd.DataFrame], pd.Series[bool]],
    what: str,
) -> list[str]:
    """``…: adam 3 of 5, sgd 1 of 5``, where there are any; of many arms all runs together."""
    counts = {label: (int(affected(frame).sum()), len(frame)) for label, frame in ended.items()}
    hit = {label: count for label, count in counts.items() if count[0]}
    if len(hit) > MOST_NAMED:
        hit = {f"{len(hit)} arms": (sum(n for n, _ in hit.values()), sum(map(len, ended.values())))}
    each = [f"{label} {n} of {all_}" for label, (n, all_) in sorted(hit.items())]
    return [f"{what}: {', '.join(each)}"] if each else []
