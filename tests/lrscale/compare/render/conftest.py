from __future__ import annotations

from collections.abc import Callable

import pytest

from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.load import load_runs
from lrscale.store import Store

MakeSweep = Callable[..., Store]
STATES = {("sgd", 1.0, 0): "diverged", ("sgd", 1.0, 1): "diverged", ("adam", 1e-4, 2): "failed"}


@pytest.fixture
def comparison(make_sweep: MakeSweep) -> Comparison:
    store = make_sweep(states=STATES)
    manifest = store.read_sweep("demo")
    return compare(load_runs(store, manifest), manifest)
