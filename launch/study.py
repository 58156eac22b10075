"""Make a study's page: run what is missing, then write its data, figures and Markdown.

A study file (docs/studies/*.yaml) names sweeps, claims and sections. The page lies beside it under
the same name, its CSV files and figures in a folder of that name.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from launch import report, submit, summary, terminal
from launch.resources import decode_resources
from launch.sweep import Sweep, expand, read
from launch.sweep_yaml import parse_yaml, read_file
from lrscale.compare.comparison import Comparison
from lrscale.compare.study.data import (
    SweepData,
    from_csv,
    load,
    references_csv,
    references_of,
    take,
    to_csv,
)
from lrscale.compare.study.file import Study, study_of
from lrscale.compare.study.page import page
from lrscale.compare.study.queries import narrowed
from lrscale.compare.study.tables import Cost
from lrscale.config import decode, identity
from lrscale.data.reference import Reference
from lrscale.errors import ConfigError, UserError, did_you_mean
from lrscale.files import write_text
from lrscale.store import Store

EXAMPLE = "python launch/study.py docs/studies/mnist.yaml --data ~/datasets"
PLACE = "DIR"  # in a study's commands, the folder of the data


@dataclass(frozen=True)
class Work:
    """A study file and what is made of it.

    Attributes:
        path: of the file. The page lies beside it, CSV files and figures in ``folder``.
        data: what DIR stands for in its commands; None where that is not said.
    """

    path: Path
    study: Study
    data: str | None = None

    @property
    def folder(self) -> Path:
        return self.path.with_suffix("")

    @property
    def page(self) -> Path:
        return self.path.with_suffix(".md")

    @property
    def references(self) -> Path:
        """What methods without a network reach."""
        return self.folder / "references.csv"

    @property
    def command(self) -> str:
        """That makes the page again, typed where the repository is."""
        place, root = self.path.resolve(), Path(__file__).resolve().parents[1]
        shown = place.relative_to(root) if place.is_relative_to(root) else self.path
        needs = any(_needs_data(c) for c in chain(*self.study.sweeps.values()))
        return f"python launch/study.py {shown}" + (f" --data {PLACE}" if needs else "")

    def runs(self, key: str) -> Path:
        """The CSV file of a sweep's runs."""
        return self.folder / f"{key}.csv"

    def words(self, command: str) -> list[str] | None:
        """The arguments of ``submit.py``; None where they need data that were not given."""
        if self.data is None and _needs_data(command):
            return None
        return [word.replace(f"={PLACE}", f"={self.data}") for word in shlex.split(command)]

    def sweep(self, key: str) -> Sweep:
        """As the first command of a key asks for it."""
        arguments = arguments_of(self.study.sweeps[key][0])
        return read(arguments.sweep, arguments.overrides, arguments.quick)


def arguments_of(command: str) -> argparse.Namespace:
    """The arguments of ``submit.py`` by name. Raises UserError for what it would not take."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            return submit.parse(shlex.split(command))
        except ValueError as error:  # of quotes that are not closed
            raise UserError(f"'{command}': {error}") from None
        except SystemExit:
            reason = said.getvalue().strip().rpartition("error: ")[2]
            raise UserError(f"submit.py does not take '{command}': {reason}") from None


def _needs_data(command: str) -> bool:
    return any(word.endswith(f"={PLACE}") for word in shlex.split(command))


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, 1 while runs are missing, 2 for the user's mistakes."""
    arguments = _parser().parse_args(argv)
    path = Path(arguments.study)
    work = Work(path, read_study(path), arguments.data)
    console = terminal.console()
    if not arguments.page:
        store = terminal.run_store(arguments.runs)
        backend = ["--backend", arguments.backend] if arguments.backend else []
        ready = []
        for key, commands in work.study.sweeps.items():
            if any(work.words(command) is None for command in commands):
                console.print(f"{key}: needs --data {PLACE}; what ships of it stays as it is")
                continue
            for command in commands:
                if why := _unfinished(work, store, command, backend):
                    console.print(f"{key}: {why}; the page stays as it is", soft_wrap=True)
                    return 1
            ready.append(key)
        _take(work, store, ready, console)
    write_text(work.page, render(work))
    console.print(f"page: {work.page}", soft_wrap=True)
    return 0


def read_study(path: Path) -> Study:
    """A study file. Raises UserError for one that cannot be read or is not right."""
    if not path.is_file():
        near = did_you_mean(str(path), map(str, path.parent.glob("*.yaml")))
        raise UserError(f"{path}: no such study: {near}")
    values = parse_yaml(read_file(path), str(path))
    if not isinstance(values, Mapping):
        raise UserError(f"{path}: a study is a mapping of title, sweeps, claims and sections")
    try:
        study = study_of(values)
        for command in chain(*study.sweeps.values()):
            arguments_of(command)
    except ConfigError as error:
        raise UserError("\n".join(f"{path}: {problem}" for problem in error.problems)) from None
    except UserError as error:
        raise UserError(f"{path}: sweeps: {error}") from None
    return study


def render(work: Work) -> str:
    """The page, from the runs that ship with it. Raises UserError where the file asks for what
    they do not have."""
    try:
        return page(work.path.stem, work.command, work.study, shipped(work), partial(cost, work))
    except UserError as error:
        raise UserError(f"{work.path}: {error}") from None


def shipped(work: Work) -> dict[str, SweepData]:
    """The runs in the study's folder; a sweep without a file is left out."""
    references = _text(work.references)
    return {
        key: load(
            key,
            from_csv(_text(work.runs(key))),
            work.sweep(key).protocol,
            references_of(references, key),
        )
        for key in work.study.sweeps
        if work.runs(key).exists()
    }


def cost(work: Work, key: str, arm: str) -> Cost:
    """Of an arm's runs at full size, which is the sweep file without ``--quick``; equal runs once.

    Args:
        arm: all of them if empty.
    """
    sweep = read(shlex.split(work.study.sweeps[key][0])[0])
    runs = {identity(decode(r.config)): r for r in expand(sweep) if arm in ("", r.arm)}
    shapes = [decode_resources(run.resources) for run in runs.values()]
    if not shapes:
        raise UserError(f"{sweep.path} has no arm '{arm}'")
    return Cost(len(shapes), sum(shape.gpu_hours(shape.minutes) for shape in shapes))


def _unfinished(work: Work, store: Store, command: str, backend: Sequence[str]) -> str:
    """Run what the store lacks of a command's runs; why some have not ended, empty if all have.

    Args:
        backend: options of ``submit.py`` that say where.
    """
    words = work.words(command)
    assert words is not None
    argv = [*words, "--runs", str(store.root)]
    # Any backend would do to see what is asked for; this one needs no cluster.
    request = submit.request_of([*argv, "--backend", "local"])
    if not summary.unfinished(store, request.checked.runs) and not request.checked.refusals:
        return ""
    if code := submit.main([*argv, *backend]):
        return f"`submit.py {command}` ended with exit code {code}"
    left = len(summary.unfinished(store, request.checked.runs))
    queued = f"{left:,} runs are queued or under way; the same command goes on once they have ended"
    return queued if left else ""


def _take(work: Work, store: Store, keys: Sequence[str], console: Console) -> None:
    """Runs, references and figures of some sweeps, from the store into the study's folder."""
    work.folder.mkdir(exist_ok=True)
    known = _text(work.references)
    references: dict[str, Sequence[Reference]] = {
        key: references_of(known, key) for key in work.study.sweeps
    }
    for key in keys:
        console.print(f"{key}: runs and figures")
        comparison = report.load(store, [work.sweep(key).name])
        write_text(work.runs(key), to_csv(take(store, comparison)))
        references[key] = comparison.references
        _draw(work, store, key, comparison)
    if text := references_csv(references):
        write_text(work.references, text)


def _draw(work: Work, store: Store, key: str, comparison: Comparison) -> None:
    """The figures that the page shows of a sweep's report, as KEY_NAME.png."""
    shown = chain(*(section.figures.items() for section in work.study.sections))
    own = {name: spec for name, spec in shown if name.partition("/")[0] == key}
    if not own:
        return
    from lrscale.compare.figures import draw  # matplotlib takes a second to import

    for where in dict.fromkeys(spec.where for spec in own.values()):
        with tempfile.TemporaryDirectory() as folder:
            drawn = draw(store, narrowed(comparison, where), Path(folder))
            files = {path.stem: path for paths in drawn.values() for path in paths[:1]}
            for name, spec in own.items():
                if spec.where == where:
                    to = work.folder / f"{name.replace('/', '_')}.png"
                    shutil.copyfile(_found(work, key, spec.figure, files), to)


def _found(work: Work, key: str, figure: str, files: Mapping[str, Path]) -> Path:
    if figure in files:
        return files[figure]
    near = did_you_mean(figure, files)
    raise UserError(f"{work.path}: the report of {key} has no figure '{figure}': {near}")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _parser() -> argparse.ArgumentParser:
    parser = terminal.parser(__doc__ or "", EXAMPLE)
    parser.add_argument("study", help="the study file, docs/studies/NAME.yaml")
    parser.add_argument(
        "--data", metavar=PLACE, help=f"the folder that {PLACE} stands for in the study's commands"
    )
    parser.add_argument(
        "--backend", choices=("slurm", "local"), help="where to run what is missing"
    )
    parser.add_argument(
        "--page",
        action="store_true",
        help="write the page alone, from the runs that ship with it; no run store is needed",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
