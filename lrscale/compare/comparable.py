"""Whether the times of some runs may be compared, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd


def obstacles(runs: Mapping[str, pd.DataFrame]) -> list[str]:
    """Why times of these runs (by arm or other group, like ``load_runs``) cannot be compared, a
    clause each; empty where they can.

    Only runs that have ended count: no other has a time. Whether something else computed on the
    same machine at the time is not on record, but for runs of the sweep that shared a GPU.
    """
    ended = {
        label: frame[frame["state"].isin(("done", "diverged"))] for label, frame in runs.items()
    }
    return [
        *_differing(ended, _machine, "arms ran on different hardware"),
        *_differing(ended, lambda run: str(run["versions"]), "arms ran with different software"),
        *_some(ended, lambda run: run["sharing"] > 1, "runs shared their GPU with others"),
        *_some(
            ended,
            lambda run: run["mixed"] is True,
            "runs were resumed on other hardware or software",
        ),
    ]


def why_not(obstacles: Sequence[str]) -> str:
    """The sentence that a table has instead of times."""
    return f"No comparison of times: {'; '.join(obstacles)}."


def _machine(run: Mapping[Any, Any]) -> str:
    """``cpu AMD EPYC, 2 processes, 4 threads``: what a run computed on."""
    parts = [str(run["hardware"])]
    for column, noun in (("world_size", "processes"), ("threads", "threads")):
        if run[column] > 1:
            parts.append(f"{run[column]:.0f} {noun}")
    return ", ".join(parts)


def _differing(
    ended: Mapping[str, pd.DataFrame], of: Callable[[Mapping[Any, Any]], str], what: str
) -> list[str]:
    """``…: cpu A (adam, sgd); cpu B (lion)``, where there are several."""
    found: dict[str, set[str]] = {}
    for label, frame in ended.items():
        for run in frame.to_dict("records"):
            found.setdefault(of(run), set()).add(label)
    if len(found) < 2:
        return []
    each = (f"{name} ({', '.join(sorted(labels))})" for name, labels in sorted(found.items()))
    return [f"{what}: {'; '.join(each)}"]


def _some(
    ended: Mapping[str, pd.DataFrame], affected: Callable[[Mapping[Any, Any]], bool], what: str
) -> list[str]:
    """``…: adam 3 of 5, sgd 1 of 5``, where there are any."""
    counts = {label: sum(map(affected, frame.to_dict("records"))) for label, frame in ended.items()}
    each = [f"{label} {n} of {len(ended[label])}" for label, n in sorted(counts.items()) if n]
    return [f"{what}: {', '.join(each)}"] if each else []
