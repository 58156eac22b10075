"""Send a sweep's runs from the run store to Weights & Biases: exactly what is not there yet.

For nodes without network, and for what a live run (track: wandb) could not send. Safe to repeat,
to cut off and to start twice. With --report also its comparison: tables, figures and a report on
W&B, which is private to the project until --share. Settings are W&B's own: `wandb login`,
WANDB_PROJECT (default: lrscale), WANDB_ENTITY, WANDB_BASE_URL.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from launch import terminal
from launch.wandb_login import OFFLINE, login_problem
from lrscale.errors import UserError
from lrscale.run_state import has_ended
from lrscale.store import Store
from lrscale.track.publisher import Outcome, Publisher
from lrscale.track.server import Server

EXAMPLE = "python launch/publish.py quickstart --watch"
EXIT_INCOMPLETE = 1
SHOWN = 20  # runs that are named one by one
WORDS = {
    "sent": "sent and read back",
    "unchanged": "had nothing new",
    "waiting": "not begun",
    "busy": "being mirrored by another process",
    "deleted": "deleted on the server: --again publishes them under a new id",
    "differs": "not what the server holds: --again publishes them under a new id",
    "failed": "failed: the same command tries again",
}
WRONG = ("deleted", "differs", "failed")


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0; 1 when not everything arrived; 2 for the user's mistakes."""
    arguments = _parser().parse_args(argv)
    if not arguments.every > 0:
        raise UserError("--every: expected a number of seconds greater than 0")
    store, console = terminal.run_store(arguments.runs), terminal.console()
    manifest = store.read_sweep(arguments.sweep)
    _check_login()
    wanted = arguments.report or arguments.share
    if wanted or arguments.unshare:
        from launch import publish_report  # pandas and matplotlib take a second to import

        publish_report.check_package()
        # A sweep that reports another's choices is a part of that one's comparison.
        subject = (manifest.get("selection") or {"sweep": arguments.sweep})["sweep"]
    if arguments.share:
        publish_report.check_consent(arguments.yes)
    server = Server()
    if arguments.unshare:
        publish_report.unshare(store, subject, server, console)
        return 0
    console.print(f"{arguments.sweep} → {server.target}", soft_wrap=True)
    complete = _publish(store, server, arguments, console)
    if wanted:
        publish_report.publish_report(
            store, subject, server, arguments.again, arguments.share, console
        )
    return 0 if complete else EXIT_INCOMPLETE


def _publish(store: Store, server: Server, arguments: argparse.Namespace, console: Console) -> bool:
    """Publish the runs, once or until all have ended; whether all of them arrived."""
    sweep, watch = arguments.sweep, arguments.watch
    with Publisher(store, server, sweep, arguments.again, keep_open=watch) as publisher:
        while True:
            # Before the pass: of what ends during it, rows are still to go.
            last = not watch or _at_rest(store, sweep)
            complete = _pass(store, sweep, publisher, console)
            if last:
                return complete
            time.sleep(arguments.every)


def _pass(store: Store, sweep: str, publisher: Publisher, console: Console) -> bool:
    """Publish what is new and print what that was; whether all of it arrived."""
    runs = _runs(store, sweep)
    started, rows = time.monotonic(), 0
    kinds: Counter[str] = Counter()
    named: list[Outcome] = []
    with console.status("publishing") as status:
        for number, outcome in enumerate(publisher.publish(runs), 1):
            kinds[outcome.kind] += 1
            rows += outcome.rows
            if outcome.kind in WRONG:
                named.append(outcome)
            status.update(f"publishing: {number:,} of {len(runs):,} runs")
    console.print(f"{len(runs):,} runs in {time.monotonic() - started:.1f} s: {rows:,} rows sent")
    for kind, text in WORDS.items():
        if kinds[kind]:
            console.print(f"{kinds[kind]:>7,} {text}", soft_wrap=True)
    for outcome in named[:SHOWN]:
        console.print(f"{outcome.kind}: {outcome.run[:10]}: {outcome.text}", soft_wrap=True)
    if len(named) > SHOWN:
        console.print(f"and {len(named) - SHOWN:,} more")
    return not any(kinds[kind] for kind in WRONG)


def _runs(store: Store, sweep: str) -> list[str]:
    """Ids, each once: equal runs of a sweep are one."""
    return list(dict.fromkeys(entry["id"] for entry in store.read_sweep(sweep)["runs"]))


def _at_rest(store: Store, sweep: str) -> bool:
    states = (store.run(run).state() for run in _runs(store, sweep))
    return all(has_ended(state) for state in states)


def _check_login() -> None:
    if os.environ.get("WANDB_MODE") in OFFLINE:
        raise UserError(f"WANDB_MODE is {os.environ['WANDB_MODE']}: unset it to publish")
    if problem := login_problem():
        raise UserError(f"Weights & Biases: {problem}: run `wandb login`")


def _parser() -> argparse.ArgumentParser:
    parser = terminal.parser(__doc__ or "", EXAMPLE)
    parser.add_argument("sweep", help="the sweep's name")
    parser.add_argument(
        "--watch", action="store_true", help="go on until all runs have ended, or Ctrl-C"
    )
    parser.add_argument(
        "--every",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="with --watch: between two passes (default: %(default)g)",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="publish runs that were deleted on the server, or done again since, as new ones",
    )
    parser.add_argument(
        "--report", action="store_true", help="also the comparison, as tables, figures and a report"
    )
    sharing = parser.add_mutually_exclusive_group()
    sharing.add_argument(
        "--share",
        action="store_true",
        help="also a link by which anybody can read the report and the project's runs",
    )
    sharing.add_argument(
        "--unshare", action="store_true", help="take that link back; sends nothing"
    )
    parser.add_argument("--yes", action="store_true", help="with --share: do not ask first")
    return parser


if __name__ == "__main__":
    sys.exit(main())
