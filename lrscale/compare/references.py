"""Reference lines: what a method without a network reaches on the data of a sweep."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from lrscale.config import decode_as, identity
from lrscale.data.reference import Reference
from lrscale.errors import UserError
from lrscale.files import make_folder, read_json, write_json
from lrscale.registry import datasets
from lrscale.store import Store


def load_references(
    store: Store, runs: pd.DataFrame, keep: bool = True
) -> tuple[list[Reference], list[str]]:
    """The references of every dataset of ``runs`` that offers one, and why some are missing.

    A dataset offers one by a method ``reference()``. It is asked once: the answer is kept in
    ``reports/.references`` of the store.

    Args:
        runs: from ``load_runs``.
        keep: false to write nothing.
    """
    found: dict[str, Reference] = {}
    missing = []
    for data in _datasets(store, runs):
        name = datasets.name_of(type(data))
        path = store.root / "reports" / ".references" / f"{name}-{identity(data)}.json"
        try:
            reference = _kept(path) or data.reference()
        except UserError as error:
            reason = str(error).partition("\n")[0]
            missing.append(f"the reference line for the data {name} is missing: {reason}")
            continue
        if keep:
            _keep(path, reference)
        found[repr(reference)] = reference  # the same one for data that differs in length only
    return list(found.values()), missing


def _datasets(store: Store, runs: pd.DataFrame) -> list[Any]:
    """Every dataset, as configured, that offers a reference."""
    columns = [column for column in runs if str(column).startswith("config.data.")]
    if "config.data.name" not in columns or "code" not in runs:
        return []
    started = runs[runs["config.data.name"].notna() & runs["code"].notna()]
    made = []
    for run_id in started.drop_duplicates(columns)["id"]:
        block = dict(store.run(run_id).record()["config"]["data"])
        name = block.pop("name")
        if name in datasets.names() and hasattr(datasets.get(name), "reference"):
            made.append(decode_as(datasets.get(name), block, at="data."))
    return made


def _kept(path: Path) -> Reference | None:
    kept = read_json(path)
    return Reference(**kept) if kept else None


def _keep(path: Path, reference: Reference) -> None:
    if path.exists():
        return
    with contextlib.suppress(OSError):  # a store that may only be read
        path.parent.parent.mkdir(exist_ok=True, mode=0o700)
        make_folder(path.parent)
        write_json(path, asdict(reference))
