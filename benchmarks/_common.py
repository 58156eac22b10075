"""What benchmark scripts share: ``--json``, ratios against targets, the exit code, and a run."""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Result:
    """One claim.

    Attributes:
        name: what was measured.
        value: the figure, in ``unit``.
        target: the most it may be, or the least.
        details: whatever else was measured beside it.
        at_least: the target is the least.
    """

    name: str
    value: float
    target: float
    unit: str = "×"
    details: dict[str, Any] = field(default_factory=dict)
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target


def parser(description: str | None) -> argparse.ArgumentParser:
    """With ``--json``; a script adds what it needs."""
    arguments = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--json", action="store_true", help="one JSON object instead of text")
    return arguments


def report(results: list[Result], as_json: bool) -> None:
    """Print the results and leave: exit code 1 when any target is missed."""
    if as_json:
        print(
            json.dumps(
                {
                    "python": platform.python_version(),
                    "machine": platform.platform(),
                    "results": [asdict(r) | {"met": r.met} for r in results],
                }
            )
        )
    else:
        for r in results:
            for key, value in r.details.items():
                print(f"  {key:42} {_text(value)}")
            verdict = "met" if r.met else "MISSED"
            sign = "≥" if r.at_least else "≤"
            print(
                f"{r.name}: {r.value:.3g} {r.unit}, target {sign} {r.target:g} {r.unit}: {verdict}"
            )
    sys.exit(0 if all(r.met for r in results) else 1)


@contextlib.contextmanager
def carried_out(config: Any) -> Iterator[Any]:
    """The ``RunDir`` of a whole training run, in a store that is gone afterwards."""
    from lrscale.config import encode, identity  # most scripts do without torch
    from lrscale.control import Control
    from lrscale.store import Store
    from lrscale.train import run

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.create()
        run_dir = store.run(identity(config))
        run_dir.create({"config": encode(config)})
        run(config, run_dir, Control())
        yield run_dir


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
