"""A report as one HTML page that needs nothing but itself.

Its text, tables and figures are in it; a content security policy keeps everything else out. All
that users have named is escaped: by the template, by JSON without ``<``, and in the browser by
setting text, never HTML.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from lrscale.compare.answer import answer
from lrscale.compare.chart_values import Chart
from lrscale.compare.comparison import Comparison, plain
from lrscale.compare.load import is_share
from lrscale.compare.provenance import selection_rule, words
from lrscale.compare.render.cells import numbers, short_names, value_cell
from lrscale.compare.sheet import Sheet

PARTS = Path(__file__).parent / "page"
SCRIPTS = ("charts.js", "tables.js")
BROAD = 10  # columns of a table beyond which its paper is turned
FIRST_ROWS = 100  # of a table that stand in the page itself; the scripts bring the others


def page(
    comparison: Comparison,
    sheets: Sequence[Sheet],
    charts: Sequence[Chart],
    pictures: Mapping[str, Path],
    made: datetime,
) -> str:
    """The page.

    Args:
        charts: figures that answer the pointer.
        pictures: further figures, title to SVG file, which are taken in.
        made: when the report was.
    """
    c, shown = comparison, [*sheets, runs_sheet(comparison)]
    scripts = [(PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS]
    loader = Environment(
        loader=FileSystemLoader(PARTS), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return loader.get_template("page.html.j2").render(
        c=c,
        answer=answer(c),
        sheets=shown,
        charts=charts,
        pictures={title: _embedded(path) for title, path in pictures.items()},
        provenance=_provenance(c, made),
        first_rows=FIRST_ROWS,
        broad=BROAD,
        css=Markup((PARTS / "page.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        script_hashes=Markup(" ".join(map(_hash, scripts))),
        data=[
            ("charts", _json(charts)),
            ("tables", _json({sheet.name: sheet.rows for sheet in shown})),
            ("configs", _json(configurations(c.every_run))),
        ],
    )


def runs_sheet(c: Comparison) -> Sheet:
    """Every run, for a person, those that report chosen points as well; the configurations come
    beside it."""
    runs, keys = c.every_run, [f"config.{key}" for key in c.keys]
    metric = dict.fromkeys([c.metric.select, c.metric.report, *c.metric.also])
    measures = [name for name in (f"metrics.{m}" for m in metric) if name in runs]
    seconds = ["seconds.training"] if "seconds.training" in runs else []
    phase = [] if c.final is None else ["phase"]
    headers = ["run", "arm", *short_names(c.keys), "seed", *phase, "state"]
    headers += [f"{words(plain(m))}{' (%)' if is_share(m) else ''}" for m in measures]
    headers += ["training (s)"] if seconds else []
    columns = [
        runs["id"].str[:10],
        runs["arm"],
        *(runs[key].map(value_cell) for key in keys),
        runs["seed"].astype(str),
        *(runs[name] for name in phase),
        runs["state"].where(runs["cause"] == "", runs["state"] + ": " + runs["cause"]),
        *(_final(runs[measure], is_share(measure)) for measure in [*measures, *seconds]),
    ]
    rows = [list(row) for row in zip(*columns, strict=True)]
    note = "A run's id opens its whole configuration; what differs between runs is in bold."
    return Sheet("runs", "Runs and their configurations", note, headers, rows, runs)


def configurations(runs: pd.DataFrame) -> dict[str, Any]:
    """What all runs share as pairs, and for each run its values of the other keys, as text."""
    names = [str(column) for column in runs if str(column).startswith("config.")]
    text = {name: runs[name].map(value_cell).tolist() for name in names}
    varied = [name for name in names if len(set(text[name])) > 1]
    extra = {"code": runs["code"].map(value_cell).tolist()} if "code" in runs else {}
    columns = [text[name] for name in varied] + list(extra.values())
    return {
        "common": [[plain(n), text[n][0]] for n in names if n not in varied],
        "keys": [*map(plain, varied), *extra, "run"],
        "values": [[*row, run] for *row, run in zip(*columns, runs["id"], strict=True)],
    }


def _final(values: pd.Series[Any], percent: bool) -> list[str]:
    """``–`` for no result, ``diverged`` for one that is not finite."""
    return [
        "–" if pd.isna(v) else "diverged" if abs(v) == float("inf") else numbers([v], percent)[0]
        for v in values.astype(float)
    ]


def _provenance(c: Comparison, made: datetime) -> list[tuple[str, str]]:
    found = c.provenance
    references = [f"{r.name}, fitted once to the training split of {r.data}" for r in c.references]
    rule = selection_rule(c.metric, c.protocol, c.final)
    pairs = [
        ("Chosen and reported", rule.removeprefix("Chosen: ")),
        ("Data", found.data_title),
        ("Seeds", found.seeds_text),
        ("Code", "; ".join(found.code)),
        ("Plugins", "; ".join(found.plugins)),
        ("Hardware", "; ".join(found.hardware)),
        ("Software", "; ".join(found.software)),
        ("References", "; ".join(references)),
        ("Runs ended", _period(c.every_run)),
        ("Report made", f"{made:%Y-%m-%d %H:%M %Z}".strip()),
    ]
    return [(name, value) for name, value in pairs if value]


def _period(runs: pd.DataFrame) -> str:
    """``2026-11-26``, or the first and last day on which runs ended, in UTC."""
    ended = runs["ended"].dropna() if "ended" in runs else runs["id"].iloc[:0]
    if ended.empty:
        return ""
    days = [f"{pd.Timestamp(moment, unit='s'):%Y-%m-%d}" for moment in (ended.min(), ended.max())]
    return " to ".join(dict.fromkeys(days))


def _embedded(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
