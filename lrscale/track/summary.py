"""A sweep's comparison on the W&B server: one run of its own that holds the tables and figures.

The run's id is made once and written down before it is used, so that whoever comes again, after a
cut as well, finds the same run. Its tables (``wandb.Table``, in full precision) are
``tables/NAME``, its figures ``figures/NAME``; of several versions the last counts.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lrscale.errors import UserError
from lrscale.track.cursor import Cursors, ReportCursor
from lrscale.track.mirror import client_settings
from lrscale.track.server import DELETED, Server, first_line, of_client

JOB_TYPE = "comparison"
TRIES = 3
READ_BACK_SECONDS = 20.0


@dataclass(frozen=True)
class Table:
    """A table as a person reads it, and in full precision.

    Attributes:
        headers, rows: as text.
        records: plain values by column; None where a number does not exist.
    """

    name: str
    title: str
    note: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    records: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Summary:
    """What a comparison says, in plain values.

    Attributes:
        sweep, notes: from the sweep file.
        answer: sentences.
        warnings: reasons to doubt it.
        origin: how points were chosen and what the numbers come from.
        tables: all of them.
        figures: title to PNG file; the file's stem names it.
        by: what a group shares: ``arm``, or dotted keys of the configuration.
        keys: the keys in which points differ; ``scales``, those that are numbers, and whether on a
            logarithmic scale.
        curves: recorded metrics worth a plot against the step.
        metric: the recorded metric that is compared.
        chosen: ids of the runs of each group's chosen point.
    """

    sweep: str
    notes: str
    answer: Sequence[str]
    warnings: Sequence[str]
    origin: str
    tables: Sequence[Table]
    figures: Mapping[str, Path]
    by: Sequence[str]
    keys: Sequence[str]
    scales: Mapping[str, bool]
    curves: Sequence[str]
    metric: str
    chosen: Sequence[str] = field(default=())

    @property
    def digest(self) -> str:
        """Of everything but the figures, which are drawn from the same numbers."""
        view = asdict(replace(self, figures=dict.fromkeys(self.figures, Path())))
        text = json.dumps(view, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def send_summary(
    server: Server, cursors: Cursors, summary: Summary, folder: Path, again: bool
) -> tuple[ReportCursor, bool]:
    """Send tables and figures unless the server holds them; where they are, and whether they were
    sent now.

    Args:
        folder: for the client's files.
        again: a run that was deleted on the server becomes a new one.

    Raises:
        UserError: it was deleted, or not everything arrived.
    """
    known = cursors.read_report(summary.sweep, server.target)
    cursor = known or _first(server, cursors, summary.sweep)
    held = bool(known and server.held([cursor.run]))
    if held and cursor.digest == summary.digest:
        return cursor, False
    if known and not held and (cursor.digest or again):
        cursor = _next(cursor, again)
        cursors.write_report(summary.sweep, cursor)
    _deliver(server, cursor.run, summary, folder)
    cursor = replace(cursor, digest=summary.digest)
    cursors.write_report(summary.sweep, cursor)
    return cursor, True


def _first(server: Server, cursors: Cursors, sweep: str) -> ReportCursor:
    """Written down before it is used: no cut leaves a run that nobody knows of."""
    marker = f"{sweep}-{JOB_TYPE}-{secrets.token_hex(4)}"
    cursor = ReportCursor(server.target, marker, marker)
    cursors.write_report(sweep, cursor)
    return cursor


def _next(cursor: ReportCursor, again: bool) -> ReportCursor:
    """Another run in place of one that was deleted, whose id is not given again."""
    if not again:
        raise UserError(
            f"{cursor.run}, the run with the tables, was deleted on the server: "
            "--again makes a new one"
        )
    number = int(cursor.run[len(cursor.marker) + 1 :] or 1) + 1
    return replace(cursor, run=f"{cursor.marker}-{number}", digest="")


def _deliver(server: Server, run_id: str, summary: Summary, folder: Path) -> None:
    """Send and read back, several times if need be. Raises UserError in the end."""
    text = ""
    for number in range(TRIES):
        if number:
            server.restart()
        try:
            _send(server, run_id, summary, folder)
            _read_back(server, run_id, summary)
            return
        except Exception as error:
            if not isinstance(error, (TimeoutError, UserError)) and not of_client(error):
                raise
            text = first_line(error)
    hint = "--again makes a new run" if DELETED in text else "the same command tries again"
    raise UserError(f"Weights & Biases: the tables did not arrive: {text}; {hint}")


def _send(server: Server, run_id: str, summary: Summary, folder: Path) -> None:
    import wandb

    run = wandb.init(
        entity=server.entity,
        project=server.project,
        id=run_id,
        name=f"{summary.sweep}: {JOB_TYPE}",
        resume="allow",
        reinit="create_new",
        group=summary.sweep,
        job_type=JOB_TYPE,
        dir=str(folder),
        settings=client_settings(None),
    )
    tables = {f"tables/{table.name}": _table(table) for table in summary.tables}
    figures = {
        f"figures/{path.stem}": wandb.Image(str(path), caption=title)
        for title, path in summary.figures.items()
    }
    run.log({**tables, **figures, "digest": summary.digest})
    run.finish(0)


def _table(table: Table) -> Any:
    import wandb

    columns: list[Any] = list(dict.fromkeys(key for record in table.records for key in record))
    rows: list[Any] = [[record.get(column) for column in columns] for record in table.records]
    # A column may hold a number in one arm and a name in another.
    return wandb.Table(columns=columns, data=rows, allow_mixed_types=True)


def _read_back(server: Server, run_id: str, summary: Summary) -> None:
    """Returns once every table and figure is there, whole. Raises TimeoutError."""
    wanted = {f"tables/{table.name}" for table in summary.tables}
    wanted |= {f"figures/{path.stem}" for path in summary.figures.values()}
    deadline = time.monotonic() + READ_BACK_SECONDS
    while True:
        held = server.media(run_id)
        if held.digest == summary.digest and wanted <= held.whole:
            return
        if time.monotonic() > deadline:
            raise TimeoutError("not all of them are there")
        time.sleep(0.5)
