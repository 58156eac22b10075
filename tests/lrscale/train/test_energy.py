"""Joules, where a driver counts them."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ranks import Runs

from lrscale.train import energy
from lrscale.train.energy import Meter

RUN: dict[str, Any] = {"workload": "digits_mlp", "epochs": 2, "checkpoint_minutes": 1e-9}


class NVMLError(Exception):
    pass


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A driver that has counted another 7.5 J whenever it is asked, on whatever device, while it
    ``works``."""
    driver = SimpleNamespace(millijoules=10**6, works=True)

    def total(board: str) -> int:
        if not driver.works:
            raise NVMLError
        driver.millijoules += 7_500
        return driver.millijoules

    module = SimpleNamespace(NVMLError=NVMLError, nvmlDeviceGetTotalEnergyConsumption=total)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr(energy, "_board", lambda device: "board")
    return driver


def test_counts_from_its_start(counter: SimpleNamespace) -> None:
    meter = Meter(torch.device("cuda"))
    assert [meter.joules(), meter.joules()] == [7.5, 15.0]
    counter.works = False
    assert math.isnan(meter.joules())
    assert math.isnan(Meter(torch.device("cpu")).joules())


def test_a_run_on_a_cpu_has_none(runs: Runs) -> None:
    run_dir = runs.new(RUN | {"device": "cpu"})
    runs.here(run_dir, cuts=[7])
    assert (run_dir.summary() or {"energy_joules": 0})["energy_joules"] is None


@pytest.mark.usefixtures("save_at_every_look")
def test_attempts_add_up(runs: Runs, counter: SimpleNamespace) -> None:
    """Each has its own meter; the last known sum is the one that its checkpoint holds."""
    whole, cut, shared, unknown = (runs.new(RUN, name) for name in ("w", "c", "s", "u"))
    before = counter.millijoules
    runs.here(whole)
    spent = (counter.millijoules - before) / 1e3
    assert (whole.summary() or {})["energy_joules"] == spent - 7.5  # its start is not its own
    before = counter.millijoules
    runs.here(cut, cuts=[7])
    spent = (counter.millijoules - before) / 1e3
    assert (cut.summary() or {})["energy_joules"] == spent - 2 * 7.5
    runs.once(shared, sharing=2)
    assert (shared.summary() or {})["energy_joules"] is None
    counter.works = False
    runs.once(unknown, max_steps=7)
    counter.works = True
    runs.once(unknown)
    assert (unknown.summary() or {})["energy_joules"] is None
