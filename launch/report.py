"""Compare the runs of one sweep or several: tables, figures, and what there is to doubt about them.

Works on unfinished sweeps as well. Files go to reports/SWEEP in the run store.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from launch import terminal
from lrscale.compare.attach import attach_sheets
from lrscale.compare.charts import charts
from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.final import load_final
from lrscale.compare.gd_runs import is_gd
from lrscale.compare.load import join_sweeps, load_runs, metric_of
from lrscale.compare.moment import at_validation
from lrscale.compare.protocol import joint_protocol
from lrscale.compare.references import load_references
from lrscale.compare.render.cells import sheets
from lrscale.compare.render.csv import csv
from lrscale.compare.render.html import page
from lrscale.compare.render.json import as_json, to_text
from lrscale.compare.render.latex import latex
from lrscale.compare.render.markdown import markdown
from lrscale.compare.render.terminal import print_report
from lrscale.compare.sheet import Sheet
from lrscale.compare.spaces import drawn_spaces
from lrscale.errors import UserError, did_you_mean
from lrscale.files import make_folder, write_text
from lrscale.store import Store

Figures = Callable[[], Mapping[str, Sequence[Path]]]  # title to files, PNG first, once drawn
Writer = Callable[[Comparison, Sequence[Sheet], Figures], dict[str, str]]

EXAMPLE = "python launch/report.py quickstart --by optimizer.name --format terminal,csv"


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for the user's mistakes."""
    arguments = _parser().parse_args(argv)
    formats = _formats(arguments.format)
    store = terminal.run_store(arguments.runs)
    by = [key.strip() for key in arguments.by.split(",")]
    with _no_collection():
        comparison = load(store, arguments.sweep, arguments.metric, by, keep=not arguments.json)
        if arguments.json:
            print(to_text(as_json(comparison, sheets(comparison))), end="")
            return 0
        output = arguments.output
        folder = Path(output) if output else default_folder(store, comparison.sweep)
        _publish(store, comparison, folder, formats, terminal.console())
    return 0


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Of thousands of runs there are a million values, all kept to the end: to look through them
    for garbage again and again takes a tenth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def summarise(store: Store, sweep: str, console: Console) -> None:
    """Print a sweep's tables, write every form of the report and print where it is.

    Raises UserError when the store has no such sweep.
    """
    comparison = load(store, [sweep])
    folder = default_folder(store, comparison.sweep)
    _publish(store, comparison, folder, FORMATS, console)


def load(
    store: Store,
    sweeps: Sequence[str],
    metric: str | None = None,
    by: Sequence[str] = ("arm",),
    keep: bool = True,
) -> Comparison:
    """Everything that a report of these sweeps says. Raises UserError for an unknown one.

    Args:
        metric, by: see ``compare``.
        keep: false to write nothing.
    """
    manifests = [_chosen_from(store, store.read_sweep(name)) for name in dict.fromkeys(sweeps)]
    names = [m["name"] for m in manifests]
    joined = join_sweeps(manifests)
    runs = load_runs(store, joined, keep)
    protocol, final = joint_protocol(manifests), load_final(store, names, runs, keep)
    if protocol.at == "validation":
        runs, final = at_validation(store, runs, final, metric_of(runs, metric))
    references = load_references(store, runs, keep)
    spaces = drawn_spaces(manifests, joined)
    comparison = compare(runs, joined, metric, by, *references, protocol, final, spaces)
    return attach_sheets(store, comparison)


def _chosen_from(store: Store, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sweep itself, or that whose choices it reports."""
    selection = manifest.get("selection")
    return manifest if selection is None else store.read_sweep(selection["sweep"])


def default_folder(store: Store, sweep: str) -> Path:
    return store.root / "reports" / sweep


def write(
    store: Store,
    comparison: Comparison,
    made: Sequence[Sheet],
    folder: Path,
    formats: Iterable[str],
) -> list[Path]:
    """Write the report's files; their paths. Raises UserError when the folder cannot be made."""
    wanted = set(formats) - {"terminal"}
    if not wanted:
        return []
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_folder(folder)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; choose another with --output DIR") from None
    # Figures take as long as all the rest: they are drawn in a process beside this one.
    with ProcessPoolExecutor(1, get_context("fork")) as beside:
        figures: Figures = dict
        if "figures" in wanted:
            figures = beside.submit(_draw, store, comparison, folder).result
        texts: dict[str, str] = {}
        if "html" in wanted:
            # Theory's figures are its own, and do not answer the pointer.
            pictures = {t: p[-1] for t, p in figures().items()} if is_gd(comparison.runs) else {}
            now = datetime.now().astimezone()
            drawn = charts(store, comparison)
            texts["report.html"] = page(comparison, made, drawn, pictures, now)
        for name, writer in WRITERS.items():
            if name in wanted:
                texts |= writer(comparison, made, figures)
        for name, text in texts.items():
            write_text(folder / name, text)
        drawings = [path for paths in figures().values() for path in paths]
    return [*(folder / name for name in texts), *drawings]


def _draw(store: Store, comparison: Comparison, folder: Path) -> dict[str, list[Path]]:
    from lrscale.compare.figures import draw  # with matplotlib, which nothing else needs

    return draw(store, comparison, folder)


def _publish(
    store: Store, comparison: Comparison, folder: Path, formats: Sequence[str], console: Console
) -> None:
    made = sheets(comparison)
    if "terminal" in formats:
        print_report(comparison, made, console)
    paths = write(store, comparison, made, folder, formats)
    for path in paths:
        if path.suffix in (".png", ".md", ".html"):
            console.print(
                f"{'figure' if path.suffix == '.png' else 'report'}: {path}", soft_wrap=True
            )
    if paths:
        console.print(f"{len(paths)} files in {folder}", soft_wrap=True)
    console.print(f"run store: {store.root}", soft_wrap=True)


def _write_markdown(c: Comparison, made: Sequence[Sheet], figures: Figures) -> dict[str, str]:
    pictures = {title: paths[0].name for title, paths in figures().items()}
    return {"report.md": markdown(c, made, pictures)}


def _write_latex(c: Comparison, made: Sequence[Sheet], figures: Figures) -> dict[str, str]:
    return {
        f"{s.name}.tex": latex(s.name, s.title, s.note or c.caption, s.headers, s.rows)
        for s in made
    }


def _write_csv(c: Comparison, made: Sequence[Sheet], figures: Figures) -> dict[str, str]:
    files = {f"{sheet.name}.csv": csv(sheet, c) for sheet in made}
    return {**files, "runs.csv": c.every_run.to_csv(index=False)}


def _write_json(c: Comparison, made: Sequence[Sheet], figures: Figures) -> dict[str, str]:
    return {"report.json": to_text(as_json(c, made))}


WRITERS: dict[str, Writer] = {
    "latex": _write_latex,
    "csv": _write_csv,
    "json": _write_json,
    "markdown": _write_markdown,  # last, as it waits for the figures
}
FORMATS = ("terminal", "html", *WRITERS, "figures")


def _formats(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise UserError(f"--format: unknown format '{name}': {did_you_mean(name, FORMATS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = terminal.parser(__doc__ or "", EXAMPLE)
    parser.add_argument("sweep", nargs="+", help="names of sweeps, which are joined")
    parser.add_argument(
        "--by", default="arm", metavar="KEYS", help="what to compare (default: %(default)s)"
    )
    parser.add_argument("--metric", help="what to compare by (default: the workload's own)")
    parser.add_argument(
        "--format",
        default=",".join(FORMATS),
        metavar="NAMES",
        help="what to make (default: %(default)s)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="where files go (default: reports/SWEEP in the run store)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the report as JSON and write nothing"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
