"""The report on Weights & Biases: text, tables, curves, sensitivity, run comparer; and its link.

Run sets are grouped as our tables are. W&B draws the median of a group and the range of its runs:
its mean would be one of survivors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lrscale.errors import UserError
from lrscale.track.cursor import ReportCursor
from lrscale.track.server import Server, asked
from lrscale.track.summary import Summary, Table

ROWS = 30  # of a table in the text; all of them are in the tables below it
TITLE = 128  # characters that W&B allows
WIDE, HALF = 24, 12  # of the 24 columns of a grid


def save_report(
    server: Server, cursor: ReportCursor, summary: Summary, ids: Callable[[str], str]
) -> str:
    """Make the sweep's report, or replace what it says; its address.

    It is known by the marker in its description, so that no cut and no repeat makes a second one.

    Args:
        ids: of a run of ours, its id there.

    Raises:
        UserError: the server refuses or does not answer.
    """
    import wandb_workspaces.reports.v2 as wr

    def save() -> str:
        report = wr.Report(
            entity=server.entity,
            project=server.project,
            title=f"{summary.sweep} compared"[:TITLE],
            description=f"{summary.notes} (lrscale, {cursor.marker})".strip(),
            blocks=_blocks(server, cursor.run, summary, ids),
            width="fluid",
        )
        report.id = server.report(cursor.marker) or ""
        report.save()
        return str(report.url)

    return asked(save)


def address(server: Server, marker: str) -> str | None:
    """Of the report; None where there is none."""
    report = _found(server, marker)
    return None if report is None else str(report.url)


def share(server: Server, marker: str) -> str | None:
    """Let everybody who has the link read the report and its project's runs; the link. None where
    there is no report."""
    report = _found(server, marker)
    return None if report is None else str(asked(report.enable_share_link))


def unshare(server: Server, marker: str) -> bool:
    """Take all links back; whether there were any. Raises UserError when one is still valid."""
    report = _found(server, marker)
    if report is None or asked(report.get_share_url) is None:
        return False
    asked(report.disable_share_link)
    if asked(report.get_share_url) is not None:
        raise UserError("Weights & Biases: the link is still valid; the same command tries again")
    return True


def _found(server: Server, marker: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    found = server.report(marker)
    if found is None:
        return None
    address = wr.Report(entity=server.entity, project=server.project)
    address.id = found
    return asked(lambda: wr.Report.from_url(address.url))


def _blocks(server: Server, run: str, summary: Summary, ids: Callable[[str], str]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    def grid(title: str, name: str, filters: str, panels: list[Any], *by: str) -> list[Any]:
        """A heading and panels over one run set; nothing without panels."""
        runs = wr.Runset(
            entity=server.entity,
            project=server.project,
            name=name,
            filters=filters,
            groupby=["JobType" if key == "arm" else f"config.{key}" for key in dict.fromkeys(by)],
        )
        return [wr.H2(title), wr.PanelGrid(runsets=[runs], panels=panels)] if panels else []

    own = f"ID in {[run]!r}"
    best = f"ID in {[ids(one) for one in summary.chosen]!r}"
    every = f"Tags in {[summary.sweep]!r}"
    comparer = wr.RunComparer(diff_only="split", layout=wr.Layout(w=WIDE, h=10))
    chosen = [_curve(key) for key in summary.curves] if summary.chosen else []
    return [
        *(wr.P(sentence) for sentence in summary.answer),
        *_doubts(summary),
        wr.H2("Tables"),
        *(wr.MarkdownBlock(_markdown(table)) for table in summary.tables),
        wr.P(summary.origin),
        *grid("In full precision, and figures", "comparison", own, _own_panels(summary)),
        *grid("Curves of the best points", "best points", best, chosen, *summary.by),
        *grid("Sensitivity", "runs", every, _sensitivity(summary)),
        *grid("Every point", "points", every, [_curve(summary.metric)], *summary.by, *summary.keys),
        *grid("Run comparer", "best points", best, [comparer] if chosen else []),
    ]


def _doubts(summary: Summary) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    warnings = [f"{warning}." for warning in summary.warnings]
    return [wr.H2("Reasons to doubt it"), wr.UnorderedList(items=warnings)] if warnings else []


def _own_panels(summary: Summary) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    figures = [
        wr.MediaBrowser(
            title=title,
            media_keys=[f"figures/{path.stem}"],
            num_columns=1,
            layout=wr.Layout(w=HALF, h=12),
        )
        for title, path in summary.figures.items()
    ]
    tables = [
        wr.WeavePanelSummaryTable(table_name=f"tables/{table.name}", layout=wr.Layout(w=WIDE, h=8))
        for table in summary.tables
    ]
    return [*figures, *tables]


def _curve(metric: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=metric,
        x="global_step",
        y=[metric],
        log_y="loss" in metric or None,
        groupby_aggfunc="median",
        groupby_rangefunc="minmax",
        smoothing_type="none",
        max_runs_to_show=100,
        layout=wr.Layout(w=HALF, h=8),
    )


def _sensitivity(summary: Summary) -> list[Any]:
    """The metric against each key that is a number; all keys at once where there are several."""
    import wandb_workspaces.reports.v2 as wr

    metric = wr.SummaryMetric(summary.metric)
    panels: list[Any] = [
        wr.ScatterPlot(
            title=f"{summary.metric} against {key}",
            x=wr.Config(key),
            y=metric,
            log_x=log or None,
            layout=wr.Layout(w=HALF, h=8),
        )
        for key, log in summary.scales.items()
    ]
    if len(summary.keys) > len(panels[:1]):  # several, or one that is no number
        axes = [
            wr.ParallelCoordinatesPlotColumn(wr.Config(key), log=summary.scales.get(key) or None)
            for key in summary.keys
        ]
        columns = [*axes, wr.ParallelCoordinatesPlotColumn(metric)]
        panels.append(wr.ParallelCoordinatesPlot(columns=columns, layout=wr.Layout(w=WIDE, h=8)))
    return panels


def _markdown(table: Table) -> str:
    lines = [table.headers, ["---"] * len(table.headers), *table.rows[:ROWS]]
    left = len(table.rows) - ROWS
    parts = [f"**{table.title}**", "\n".join(map(_line, lines))]
    parts += [f"… and {left:,} more rows"] if left > 0 else []
    parts += [f"*{table.note}*"] if table.note else []
    return "\n\n".join(parts)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
