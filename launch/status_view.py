"""What ``status`` shows: counts, failures by kind, and a table of what is under way or failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from launch.failures import failure_groups
from launch.survey import STATES, RunStatus

COLOURS = {
    "failed": "red",
    "lost": "red",
    "unreadable": "red",
    "silent": "yellow",
    "running": "cyan",
    "diverged": "magenta",
    "cancelled": "yellow",
    "timeout": "yellow",
    "preempted": "yellow",
    "killed": "yellow",
    "interrupted": "yellow",
    "paused": "yellow",
    "queued": "",
    "missing": "",
    "done": "green",
}
NOT_SHOWN = frozenset({"done", "queued", "missing"})  # run by run, unless they are asked for


def counts(runs: Iterable[RunStatus]) -> dict[str, int]:
    """Runs in each state that there are any of, finished ones first."""
    found = Counter(run.state for run in runs)
    return {state: found[state] for state in reversed(STATES) if found[state]}


def headline(sweep: str, runs: Sequence[RunStatus], of: int | None = None) -> Text:
    """``demo: 45 runs: 40 done, 5 running``; ``of`` how many, where they are a selection."""
    chosen = f"{len(runs):,}" + (f" of {of:,}" if of not in (None, len(runs)) else "")
    line = Text(f"{sweep}: {chosen} run" + ("" if chosen == "1" else "s"))
    states = [Text(f"{n:,} {state}", COLOURS[state]) for state, n in counts(runs).items()]
    return line + ": " + Text(", ").join(states) if states else line


def failures(runs: Sequence[RunStatus]) -> list[Text]:
    """Of each kind: how many, what they have in common, the line that decides it, what to try."""
    lines: list[Text] = []
    for group in failure_groups(runs):
        lines.append(Text(f"  {group}", "bold red"))
        lines.append(Text(f"      {group.runs[0][:8]}: {group.line}"))
        lines.append(Text(f"      try: {group.advice}", "italic"))
    return lines


def shown(runs: Sequence[RunStatus], selected: bool) -> list[RunStatus]:
    """Those that get a line: what wants attention first; all of a selection that was asked for."""
    order = {state: place for place, state in enumerate(STATES)}
    some = [run for run in runs if selected or run.failure or run.state not in NOT_SHOWN]
    return sorted(some, key=lambda run: order[run.state])  # stable: in the sweep's order within


def table(runs: Sequence[RunStatus], most: int) -> RenderableType:
    """One line a run, of the first ``most``; columns that would be empty are left out."""
    rows = [_cells(run) for run in runs[:most]]
    names = [name for name in rows[0] if any(str(row[name]) for row in rows)] if rows else []
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        folds = name in ("point", "cause")
        right = name in ("progress", "epoch", "loss", "steps/s", "to go", "restarts")
        made.add_column(
            name, justify="right" if right else "left", no_wrap=not folds, overflow="fold"
        )
    for row in rows:
        made.add_row(*(row[name] for name in names))
    rest = len(runs) - most
    more = [Text(f"… and {rest:,} more: --json lists all")] if rest > 0 else []
    return Group(made, *more) if rows else Group(*more)


def _cells(run: RunStatus) -> Mapping[str, str | Text]:
    point = ", ".join(f"{key.rsplit('.', 1)[-1]} {run.point[key]}" for key in run.point)
    return {
        "run": run.id[:8],
        "arm": run.arm,
        "point": point,
        "seed": str(run.seed),
        "state": Text(run.state, COLOURS[run.state]),
        "progress": "" if run.progress is None else f"{run.progress:.0%}",
        "epoch": str(run.epoch) if run.attempts else "",
        "loss": "" if run.loss is None else f"{run.loss:.4g}",
        "steps/s": "" if run.steps_per_second is None else f"{run.steps_per_second:,.1f}",
        "to go": "" if run.eta_seconds is None else clock(run.eta_seconds),
        "node": run.node,
        "restarts": str(run.restarts) if run.restarts else "",
        "cause": run.failure or run.cause,
    }


def clock(seconds: float) -> str:
    """``0:05``, ``12:40``, ``3:20:00``, ``2d 04:00``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d {hours % 24:02}:{minute:02}"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
