"""Compare a sweep's runs: tables, figures, and what there is to doubt about them.

Works on an unfinished sweep as well. Files go to reports/SWEEP in the run store.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from launch import terminal
from lrscale.compare import render
from lrscale.compare.attach import attach_sheets
from lrscale.compare.comparison import Comparison, compare, tables
from lrscale.compare.load import load_runs
from lrscale.compare.references import load_references
from lrscale.errors import UserError, did_you_mean
from lrscale.store import Store, write_text

FORMATS = ("terminal", "markdown", "csv", "json", "figures")
EXAMPLE = "python launch/report.py quickstart --by optimizer.name --format terminal,csv"


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for the user's mistakes."""
    arguments = _parser().parse_args(argv)
    formats = _formats(arguments.format)
    store = terminal.run_store(arguments.runs)
    manifest = store.read_sweep(arguments.sweep)
    by = [key.strip() for key in arguments.by.split(",")]
    comparison = load(store, manifest, arguments.metric, by, keep=not arguments.json)
    if arguments.json:
        print(render.to_text(render.as_json(comparison)), end="")
        return 0
    folder = Path(arguments.output) if arguments.output else default_folder(store, comparison.sweep)
    _publish(store, comparison, folder, formats, terminal.console())
    return 0


def summarise(store: Store, sweep: str, console: Console) -> None:
    """Print a sweep's tables, write every form of the report and print where it is.

    Raises UserError when the store has no such sweep.
    """
    comparison = load(store, store.read_sweep(sweep))
    _publish(store, comparison, default_folder(store, sweep), FORMATS, console)


def load(
    store: Store,
    manifest: Mapping[str, Any],
    metric: str | None = None,
    by: Sequence[str] = ("arm",),
    keep: bool = True,
) -> Comparison:
    """Everything that a report of a sweep says.

    Args:
        metric, by: see ``compare``.
        keep: false to write nothing.
    """
    runs = load_runs(store, manifest)
    references = load_references(store, runs, keep)
    return attach_sheets(store, compare(runs, manifest, metric, by, *references))


def default_folder(store: Store, sweep: str) -> Path:
    return store.root / "reports" / sweep


def write(store: Store, comparison: Comparison, folder: Path, formats: Iterable[str]) -> list[Path]:
    """Write the report's files; their paths. Raises UserError when the folder cannot be made."""
    wanted = set(formats)
    if not wanted - {"terminal"}:
        return []
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; choose another with --output DIR") from None
    texts: dict[str, str] = {}
    figures: dict[str, list[Path]] = {}
    if "figures" in wanted:
        from lrscale.compare.figures import draw  # matplotlib takes a second to import

        figures = draw(store, comparison, folder)
    if "markdown" in wanted:
        pictures = {title: paths[0].name for title, paths in figures.items()}
        texts["report.md"] = render.markdown(comparison, pictures)
    if "csv" in wanted:
        texts |= {
            f"{table.name}.csv": render.csv(table, comparison) for table in tables(comparison)
        }
        texts["runs.csv"] = comparison.runs.to_csv(index=False)
        texts |= {
            f"{sheet.name}.csv": sheet.frame.to_csv(index=False) for sheet in comparison.sheets
        }
    if "json" in wanted:
        texts["report.json"] = render.to_text(render.as_json(comparison))
    for name, text in texts.items():
        write_text(folder / name, text)
    return [*(folder / name for name in texts), *(p for paths in figures.values() for p in paths)]


def _publish(
    store: Store, comparison: Comparison, folder: Path, formats: Sequence[str], console: Console
) -> None:
    if "terminal" in formats:
        render.print_tables(comparison, console)
    paths = write(store, comparison, folder, formats)
    for path in paths:
        if path.suffix in (".png", ".md"):
            console.print(
                f"{'figure' if path.suffix == '.png' else 'report'}: {path}", soft_wrap=True
            )
    if paths:
        console.print(f"{len(paths)} files in {folder}", soft_wrap=True)
    console.print(f"run store: {store.root}", soft_wrap=True)


def _formats(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise UserError(f"--format: unknown format '{name}': {did_you_mean(name, FORMATS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = terminal.parser(__doc__ or "", EXAMPLE)
    parser.add_argument("sweep", help="the sweep's name")
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
