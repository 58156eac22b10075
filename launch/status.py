"""Where a sweep's runs are: how many in each state, what is under way, and why others failed.

Without a sweep: one line for each in the store. launch/survey.py says what the states mean.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from launch import status_view, terminal
from launch.failures import failure_groups
from launch.selection import Selection, add_arguments, configs, selection
from launch.survey import RunStatus, survey
from lrscale.errors import UserError
from lrscale.store import Store

EXAMPLE = "python launch/status.py quickstart optimizer.name=adam --state failed"
TABLE_ROWS = 40  # all of them are in --json
FIXED_LINES = 4  # of the live table's screen: headline, frame, last line
# States in which nothing more happens unless somebody does something.
AT_REST = frozenset(
    {
        "done", "diverged", "failed", "cancelled", "missing", "lost", "unreadable", "paused",
        "interrupted",
    }
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """What the command was asked to show.

    Attributes:
        sweeps: by name; one, or all of the store for an overview.
    """

    store: Store
    sweeps: Sequence[str]
    chosen: Selection
    overview: bool

    def look(self) -> tuple[dict[str, Sequence[RunStatus]], list[str]]:
        """All runs of each sweep as they are now, and warnings for the person."""
        found = survey(self.store, map(self.store.read_sweep, self.sweeps))
        return dict(found.runs), found.claims.warnings

    def select(self, runs: Sequence[RunStatus]) -> list[RunStatus]:
        return self.chosen.of(runs, configs(self.store))


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for the user's mistakes."""
    arguments = _parser().parse_intermixed_args(argv)
    if arguments.json and arguments.watch:
        raise UserError("--json is one object, --watch goes on: choose one")
    store = terminal.run_store(arguments.runs)
    if arguments.sweep is None:
        view = View(store, _all(store), Selection(), overview=True)
    else:
        view = View(store, [arguments.sweep], selection(arguments), overview=False)
    if arguments.watch:
        return _watch(view, terminal.console(), arguments.every)
    found, warnings = view.look()
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if arguments.json:
        objects = [_as_json(view, name, runs) for name, runs in found.items()]
        print(json.dumps(objects if view.overview else objects[0]))
    else:
        terminal.console().print(_render(view, found, TABLE_ROWS), soft_wrap=False)
    return 0


def _all(store: Store) -> list[str]:
    names = store.sweep_names()
    if not names:
        raise UserError(f"no sweep in the run store {store.root} yet; --runs DIR names another")
    return names


def _as_json(view: View, sweep: str, runs: Sequence[RunStatus]) -> dict[str, Any]:
    chosen = view.select(runs)
    ids = {run.id for run in chosen}
    return {
        "sweep": sweep,
        "store": str(view.store.root),
        "counts": status_view.counts(chosen),
        "failures": [
            vars(group) | {"text": str(group)}
            for group in failure_groups(runs)
            if ids.intersection(group.runs)
        ],
        "runs": [vars(run) for run in chosen],
    }


def _render(view: View, found: dict[str, Sequence[RunStatus]], most: int) -> RenderableType:
    if view.overview:
        return Group(*(status_view.headline(name, runs) for name, runs in found.items()))
    ((name, runs),) = found.items()
    chosen = view.select(runs)
    lines = status_view.shown(chosen, selected=not view.chosen.everything)
    parts: list[RenderableType] = [status_view.headline(name, chosen, len(runs))]
    kinds = {run.failure for run in chosen}
    parts += status_view.failures([run for run in runs if not run.failure or run.failure in kinds])
    if lines:
        parts.append(status_view.table(lines, most))
    return Group(*parts)


def _watch(view: View, console: Console, every: float) -> int:
    """Until nothing is queued or running any more, or Ctrl-C."""
    try:
        if console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                room = max(1, console.height - FIXED_LINES)
                _follow(
                    view, every, lambda found: live.update(_render(view, found, room), refresh=True)
                )
        else:
            _follow(view, every, _Lines(view, console).show)
    except KeyboardInterrupt:
        pass  # the way to leave; the runs go on
    return 0


def _follow(
    view: View, every: float, show: Callable[[dict[str, Sequence[RunStatus]]], None]
) -> None:
    warned: set[str] = set()
    while True:
        found, warnings = view.look()
        show(found)
        for warning in warnings:
            if warning not in warned:
                print(f"warning: {warning}", file=sys.stderr)
                warned.add(warning)
        if all(run.state in AT_REST for runs in found.values() for run in view.select(runs)):
            return
        time.sleep(every)


class _Lines:
    """For a file or a pipe: the headlines, when they have changed, with the time."""

    def __init__(self, view: View, console: Console) -> None:
        self._view = view
        self._console = console
        self._last: list[str] = []

    def show(self, found: dict[str, Sequence[RunStatus]]) -> None:
        lines = [status_view.headline(n, self._view.select(runs)) for n, runs in found.items()]
        if [line.plain for line in lines] != self._last:
            self._last = [line.plain for line in lines]
            now = time.strftime("%H:%M:%S ")
            for line in lines:
                self._console.print(Text(now) + line, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = terminal.parser(__doc__ or "", EXAMPLE)
    parser.add_argument("sweep", nargs="?", help="the sweep's name; all sweeps if left out")
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with every run")
    parser.add_argument(
        "--watch", action="store_true", help="look again and again until all have come to rest"
    )
    parser.add_argument(
        "--every",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="with --watch: between two looks (default: %(default)g)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
