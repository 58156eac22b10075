"""A sweep's comparison on Weights & Biases: ``publish.py --report``, ``--share`` and ``--unshare``.

What the report says is what ``launch/report.py`` says; lrscale.track knows how it gets there.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich.console import Console

from launch.report import load
from lrscale.compare.answer import answer
from lrscale.compare.comparison import Comparison, plain
from lrscale.compare.figures import draw
from lrscale.compare.provenance import is_rate
from lrscale.compare.render.cells import sheets
from lrscale.compare.render.json import as_json
from lrscale.errors import UserError
from lrscale.store import Store
from lrscale.track import report
from lrscale.track.cursor import Cursors
from lrscale.track.mirror import rows_of
from lrscale.track.server import Server
from lrscale.track.summary import Summary, Table, send_summary

PACKAGE = "wandb_workspaces"
WAIT_SECONDS = 60.0  # for another process that writes the same report


def check_package() -> None:
    """Raises UserError where reports cannot be made."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError("reports need wandb-workspaces: pip install 'lrscale[wandb]'")


def check_consent(yes: bool) -> None:
    """Ask whether the data may be made public, unless ``yes``. Raises UserError for a no."""
    print(
        "A link makes the report and the runs of its project readable for everybody who has it, "
        "without an account; --unshare takes it back."
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("--share: say --yes to make them public")
    if input("Make them public? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError("not shared, and nothing was sent")


def publish_report(
    store: Store, sweep: str, server: Server, again: bool, public: bool, console: Console
) -> None:
    """Send the comparison and print where it is.

    Args:
        again: what was deleted on the server is made anew.
        public: make a link that anybody can read it by.

    Raises:
        UserError: it did not arrive, or no run has come to a result yet.
    """
    cursors = Cursors(store)
    with cursors.claim(f"report-{sweep}", WAIT_SECONDS), cursors.scratch() as folder:
        summary = summary_of(store, sweep, folder)
        cursor, sent = send_summary(server, cursors, summary, folder, again)
        # One that says the same is left alone, with what a person has added to it.
        url = None if sent else report.address(server, cursor.marker)
        if url is None:
            url = report.save_report(server, cursor, summary, _ids(cursors, server))
    news = "sent and read back" if sent else "had nothing new"
    counts = f"{len(summary.tables)} tables and {len(summary.figures)} figures"
    console.print(f"{counts} {news}", soft_wrap=True)
    console.print(f"report: {url}", soft_wrap=True)
    if public:
        console.print(f"public link: {report.share(server, cursor.marker)}", soft_wrap=True)


def unshare(store: Store, sweep: str, server: Server, console: Console) -> None:
    """Take the report's link back, and say whether there was one."""
    cursor = Cursors(store).read_report(sweep, server.target)
    taken = cursor is not None and report.unshare(server, cursor.marker)
    console.print("the link is no longer valid" if taken else "there was no link")


def _ids(cursors: Cursors, server: Server) -> Callable[[str], str]:
    return lambda run: cursors.read(run, server.target).wandb_id


def summary_of(store: Store, sweep: str, folder: Path) -> Summary:
    """The comparison in plain values; figures are drawn into ``folder``.

    Raises UserError while there is nothing to compare.
    """
    comparison = load(store, [sweep], keep=False)
    made = sheets(comparison)
    records = as_json(comparison, made)["tables"]
    runs = comparison.runs
    chosen = _chosen(comparison)
    done = chosen[chosen["state"] == "done"]
    if not len(done):
        raise UserError(f"no run of {sweep} has come to a result yet: there is nothing to report")
    shown = _shown(store, done["id"].iloc[0])
    curves = ["loss", "train_loss", "val_loss", comparison.metric.select, "lr"]
    return Summary(
        sweep=comparison.sweep,
        notes=comparison.notes,
        answer=answer(comparison),
        warnings=comparison.warnings,
        origin=comparison.origin,
        tables=[
            Table(s.name, s.title, s.note, s.headers, s.rows, records[s.name]["rows"]) for s in made
        ],
        figures={title: paths[0] for title, paths in draw(store, comparison, folder).items()},
        by=[plain(c) for c in comparison.by if c != "arm" or runs["arm"].nunique() > 1],
        keys=comparison.keys,
        scales={key: is_rate(key) for key in comparison.keys if _is_number(runs, key)},
        curves=[name for name in dict.fromkeys(curves) if name in shown],
        metric=comparison.metric.select,
        chosen=list(dict.fromkeys(chosen["id"])),
    )


def _chosen(comparison: Comparison) -> pd.DataFrame:
    """Runs of each group's chosen point."""
    runs, best = comparison.runs, comparison.points[comparison.points["best"]]
    points = set(zip(best["arm"], best["point"], strict=True))
    wanted = [place in points for place in zip(runs["arm"], runs["point"], strict=True)]
    found: pd.DataFrame = runs[wanted]
    return found


def _shown(store: Store, run: str) -> set[str]:
    """What the rows of a run have on W&B; theory has no minibatches."""
    run_dir = store.run(run)
    rows, _ = rows_of(run_dir, run_dir.record()["config"])
    return {name for row in rows for name in row}


def _is_number(runs: pd.DataFrame, key: str) -> bool:
    return pd.api.types.is_numeric_dtype(runs[f"config.{key}"])
