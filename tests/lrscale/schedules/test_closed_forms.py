"""Each schedule at points where its value is known."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from lrscale.schedules.constant import Constant
from lrscale.schedules.cosine import Cosine
from lrscale.schedules.cosine_restarts import CosineRestarts
from lrscale.schedules.exponential import Exponential
from lrscale.schedules.inverse_sqrt import InverseSqrt
from lrscale.schedules.linear import Linear
from lrscale.schedules.multi_step import MultiStep
from lrscale.schedules.one_cycle import OneCycle
from lrscale.schedules.plateau import Plateau
from lrscale.schedules.polynomial import Polynomial
from lrscale.schedules.step import Step
from lrscale.schedules.warmup import warm_up, warmup_steps
from lrscale.schedules.wsd import WSD


def factors(schedule: Any, total: int) -> list[float]:
    return [schedule.factor(step, total) for step in range(total)]


def torchs(make: Any, total: int) -> list[float]:
    """The factors of one of torch's own schedulers, which keep a state."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("ours", "make"),
    [
        (Cosine(), lambda o: lr_scheduler.CosineAnnealingLR(o, 90)),
        (Cosine(final=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, 90, eta_min=0.1)),
        (Step(), lambda o: lr_scheduler.StepLR(o, 30)),
        (Step(every=0.1, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 9, gamma=0.5)),
        (MultiStep(), lambda o: lr_scheduler.MultiStepLR(o, [30, 60, 80])),
        (
            Exponential(final=0.01),
            lambda o: lr_scheduler.ExponentialLR(o, gamma=0.01 ** (1 / 90)),
        ),
        (Polynomial(power=2), lambda o: lr_scheduler.PolynomialLR(o, 90, power=2)),
        (Linear(final=0.2), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, total_iters=90)),
        (
            CosineRestarts(cycles=2, t_mult=2),
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 30, T_mult=2),
        ),
        (Constant(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        (Plateau(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ],
    ids=lambda case: getattr(case, "__name__", str(case)[:40]),
)
def test_agrees_with_torch(ours: Any, make: Any) -> None:
    assert factors(ours, 90) == pytest.approx(torchs(make, 90), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "ours",
    [OneCycle(), OneCycle(0.25, 10.0, 100.0, max_momentum=0.9, base_momentum=0.5)],
    ids=["default", "other"],
)
@pytest.mark.parametrize("total", [10, 37, 100])
def test_one_cycle_agrees_with_torch_on_rate_and_momentum(ours: OneCycle, total: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    theirs = lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=total,
        pct_start=ours.pct_start,
        div_factor=ours.div_factor,
        final_div_factor=ours.final_div_factor,
        max_momentum=ours.max_momentum,
        base_momentum=ours.base_momentum,
    )
    (group,) = optimizer.param_groups
    for step in range(total):
        assert ours.factor(step, total) == pytest.approx(group["lr"], rel=1e-9, abs=1e-12)
        assert ours.momentum(step, total) == pytest.approx(group["momentum"], rel=1e-12)
        optimizer.step()
        if step < total - 1:
            theirs.step()


@given(total=st.integers(1, 500), pct_start=st.floats(0, 1))
def test_one_cycle_peaks_where_its_momentum_is_least(total: int, pct_start: float) -> None:
    schedule = OneCycle(pct_start=pct_start)
    rates = factors(schedule, total)
    momenta = [schedule.momentum(step, total) for step in range(total)]
    for (a, b), (m, n) in zip(itertools.pairwise(rates), itertools.pairwise(momenta), strict=True):
        assert m is not None
        assert n is not None
        assert (b - a) * (n - m) <= 1e-12
    assert OneCycle(cycle_momentum=False).momentum(0, total) is None


def test_wsd_is_constant_and_then_falls_as_one_minus_a_root() -> None:
    found = factors(WSD(cooldown=0.2, warmup=10.0), 100)
    assert found[:10] == pytest.approx([step / 11 for step in range(1, 11)])
    assert found[10:80] == [1.0] * 70
    assert found[80:] == pytest.approx([1 - math.sqrt(step / 20) for step in range(20)])
    assert factors(WSD(final=0.1), 100)[90] == pytest.approx(0.1 + 0.9 * (1 - math.sqrt(0.5)))


@given(total=st.integers(1, 300), cooldown=st.floats(0, 1), warmup=st.integers(0, 400).map(float))
def test_wsd_rises_stays_and_falls(total: int, cooldown: float, warmup: float) -> None:
    found = factors(WSD(cooldown=cooldown, warmup=warmup), total)
    peak = found.index(max(found))
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    if warmup < total:
        assert found[peak] == 1


def test_warm_up_then_the_whole_schedule() -> None:
    assert factors(Cosine(warmup=10.0), 100)[10:] == factors(Cosine(), 90)
    assert factors(Linear(warmup=0.1), 100)[:10] == pytest.approx(
        [step / 11 for step in range(1, 11)]
    )


def test_drops_are_counted_from_the_beginning_of_the_run() -> None:
    assert factors(Step(warmup=5.0), 90)[5:] == factors(Step(), 90)[5:]
    assert factors(MultiStep(warmup=5.0), 90)[5:] == factors(MultiStep(), 90)[5:]


@given(every=st.floats(0.01, 1), total=st.integers(1, 10_000))
def test_drops_fall_on_the_nearest_step(every: float, total: int) -> None:
    schedule = Step(every=every, gamma=0.5)
    boundary = math.floor(every * total + 0.5)  # the first drop
    if 1 <= boundary < total and abs(every * total % 1 - 0.5) > 1e-6:
        assert schedule.factor(boundary - 1, total) == 1
        assert schedule.factor(boundary, total) < 1


@given(total=st.integers(40, 5_000))
def test_inverse_square_root_is_vaswanis(total: int) -> None:
    """lr ∝ min(t^−½, t · w^−1.5), t from 1, scaled to 1 at its peak."""
    schedule = InverseSqrt(warmup=0.1)
    w = warmup_steps(0.1, total) + 1
    for step in range(total):
        t = step + 1
        vaswani = min(t**-0.5, t * w**-1.5) / w**-0.5
        assert schedule.factor(step, total) == pytest.approx(vaswani)


@given(cycles=st.integers(1, 5), t_mult=st.floats(0.5, 3), total=st.integers(1, 300))
def test_restarts_fill_the_run(cycles: int, t_mult: float, total: int) -> None:
    found = factors(CosineRestarts(cycles=cycles, t_mult=t_mult), total)
    assert found[0] == 1
    assert sum(f == 1 for f in found) <= cycles
    rises = sum(b > a for a, b in itertools.pairwise(found))
    assert rises <= cycles - 1


def test_the_shape_does_not_depend_on_the_length() -> None:
    for schedule in (Cosine(), Linear(), Polynomial(), Exponential(), Step()):
        assert schedule.factor(30, 90) == pytest.approx(schedule.factor(300, 900))


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 0), (0.05, 5), (0.999, 100), (7.0, 7)])
def test_warm_up_is_a_fraction_or_a_number_of_steps(warmup: float, steps: int) -> None:
    assert warmup_steps(warmup, 100) == steps


def test_a_warm_up_longer_than_the_run_only_rises() -> None:
    assert warm_up(20.0, 9, 10) == (10 / 21, 0, 1)
    found = factors(Cosine(warmup=20.0), 10)
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Step(every=30), "div:30,90"),
        (lambda: MultiStep(milestones=(0.5, 0.5)), "increase"),
        (lambda: Exponential(final=2.0), "at most 1"),
    ],
)
def test_times_that_are_not_fractions(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
