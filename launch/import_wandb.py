"""Turn a W&B sweep file (grid or random) into a sweep file of lrscale.

What means exactly the same is translated; anything else is refused with what would be right. Keys
keep their names unless --rename says what they are here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from launch import terminal
from launch.sweep import expand, read
from launch.sweep_yaml import parse_yaml, read_file, to_yaml
from launch.wandb_sweep import translate
from lrscale.errors import UserError

EXAMPLE = (
    "python launch/import_wandb.py sweep.yaml --workload mnist_mlp "
    "--rename learning_rate=optimizer.lr -o sweeps/mine.yaml"
)


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for the user's mistakes."""
    arguments = _parser().parse_args(argv)
    output = Path(arguments.output) if arguments.output else None
    if output is not None and output.exists():
        raise UserError(f"{output}: is there already: choose another with -o FILE")
    raw = read_wandb(Path(arguments.file))
    renamed = dict(map(_pair, arguments.rename))
    made, notices = translate(raw, arguments.file, arguments.trials, arguments.workload, renamed)
    text = to_yaml(made)
    runs = _count(text, output or Path(arguments.file))
    for notice in notices:
        print(f"note: {notice}", file=sys.stderr)
    if output is None:
        print(text, end="")
        return 0
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output}: {error.strerror}") from None
    print(f"{output}: {runs:,} runs; look at them: python launch/submit.py {output} --dry-run")
    return 0


def read_wandb(path: Path) -> Any:
    """The file's values as W&B reads them, which is by YAML 1.1: ``no`` is false.

    But for ``1e-3``, which is text there and can only be meant as a number. Raises UserError.
    """
    try:
        text = read_file(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    ours = parse_yaml(text, str(path))
    try:
        return _agreed(yaml.safe_load(text), ours)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None


def _agreed(theirs: Any, ours: Any) -> Any:
    """Keys are text, as here; so are dates."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and len(ours) == len(theirs):
        pairs = zip(ours, theirs.values(), ours.values(), strict=True)
        return {key: _agreed(there, here) for key, there, here in pairs}
    if isinstance(ours, list) and isinstance(theirs, list):
        return [_agreed(there, here) for there, here in zip(theirs, ours, strict=True)]
    return theirs if isinstance(theirs, (bool, int, float)) else ours


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise UserError(f"--rename {text}: write OLD=NEW, as learning_rate=optimizer.lr")
    return old, new


def _count(text: str, path: Path) -> int:
    """How many runs it asks for. Raises UserError where it is no sweep file after all."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.yaml"
        file.write_text(text, encoding="utf-8")
        try:
            return len(expand(read(file)))
        except UserError as error:
            raise UserError(str(error).replace(str(file), str(path))) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"example: {EXAMPLE}")
    parser.add_argument("file", help="a W&B sweep file")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    parser.add_argument("--workload", metavar="NAME", help="what the runs train")
    parser.add_argument(
        "--trials", type=int, metavar="N", help="of a random search (default: its run_cap)"
    )
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="a key of W&B's file and what it is called here (repeatable)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
