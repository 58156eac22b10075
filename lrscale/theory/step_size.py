"""Step-size rules, and the scan for the greatest step that converges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from lrscale.errors import UserError
from lrscale.theory.bounds import best_bound, constants
from lrscale.theory.engine import GradientDescent, StepSizes, engine_coordinates
from lrscale.theory.observables import gradient, loss, sharpness
from lrscale.theory.problem import Array, Problem
from lrscale.workloads.gd import BoundStep, ConstantStep, DecreasingStep, EdgeStep

EndState = Literal["converged", "oscillating", "diverged"]
Trial = Callable[[float], EndState]

TAIL = 200  # last epochs of a trial, in which the loss may not rise


@dataclass(frozen=True)
class Bracket:
    """Where convergence ends, between two steps that were tried.

    Attributes:
        converges: the greatest step below which every step tried converged.
        fails: the next step tried, which did not.
        greatest: the greatest step tried that converged; above ``fails`` where the border is
            ragged.
        diverges: the least step tried that diverged; nan where none did.
        trials: every step tried and how it ended, in ascending order.
    """

    converges: float
    fails: float
    greatest: float
    diverges: float
    trials: tuple[tuple[float, EndState], ...]


def resolve(
    rule: object,
    problem: Problem,
    weights: Sequence[Array],
    dtype: DTypeLike = np.float64,
    look: Callable[[], None] = lambda: None,
) -> tuple[StepSizes, Bracket | None]:
    """η_k by a run's rule, and the scan's bracket where the rule is one.

    Args:
        problem, weights: as given, not in the engine's coordinates.
        look: called before each trial of a scan, which takes minutes; may raise to leave.

    Raises:
        UserError: the theorem's bound is asked for where it does not apply, or the scan finds
            no step that converges.
    """
    if isinstance(rule, ConstantStep):
        return StepSizes(rule.eta), None
    if isinstance(rule, BoundStep):
        bound = best_bound(constants(problem, weights), rule.alpha, rule.delta)
        return StepSizes(rule.factor * bound.eta), None
    if isinstance(rule, DecreasingStep):
        eta_max = rule.eta_max or rule.factor * best_bound(constants(problem, weights)).eta
        return StepSizes(eta_max, rule.exponent), None
    assert isinstance(rule, EdgeStep)

    def trial(eta: float) -> EndState:
        look()
        return end_state(problem, weights, eta, rule.scan_epochs, dtype)

    bracket = scan(trial, 2 / sharpness(problem, weights), rule.resolution)
    return StepSizes(rule.factor * bracket.converges), bracket


def end_state(
    problem: Problem, weights: Sequence[Array], eta: float, epochs: int, dtype: DTypeLike
) -> EndState:
    """How GD with the constant step ``eta`` stands after ``epochs``.

    ``converged``: over the last epochs the loss never rises by more than a millionth of itself,
    rounding at the floor aside; it may still be falling. ``oscillating``: it stays finite but
    does rise, or every gradient has become zero at some loss, as where all relu units are dead.
    ``diverged``: it is not finite any more.
    """
    descent = GradientDescent(*engine_coordinates(problem, weights), StepSizes(eta), dtype)
    descent.advance(max(epochs - TAIL, 0))
    tail = []
    for _ in range(min(TAIL, epochs)):
        descent.advance(1)
        if descent.diverged is not None:
            return "diverged"
        tail.append(loss(descent.problem, _double(descent)))
    epsilon = float(np.finfo(dtype).eps)
    relative = max(1e-6, 1e3 * epsilon)
    rounding = 1e4 * (epsilon * float(np.linalg.norm(problem.targets))) ** 2
    rises = np.diff(tail) > relative * np.array(tail[:-1]) + rounding
    dead = tail[-1] > rounding and not any(
        g.any() for g in gradient(descent.problem, _double(descent))
    )
    return "oscillating" if rises.any() or dead else "converged"


def _double(descent: GradientDescent) -> list[Array]:
    return [w.astype(np.float64) for w in descent.weights]


def scan(trial: Trial, guess: float, resolution: float) -> Bracket:
    """Bracket the border between steps that converge and steps that do not.

    Steps are tried on a geometric grid through ``guess``: first by factors of about 2, down to
    one that converges and up past two in a row that do not, then every point between these at
    ``resolution``. The border need not be a point, so nothing is bisected.

    Raises:
        UserError: no step down to 1e−12 of the guess converges, or some still do at 1e12 times it.
    """
    stride = max(1, round(math.log(2) / math.log(resolution)))
    ends: dict[int, EndState] = {}

    def converges(place: int) -> bool:
        if place * math.log(resolution) > math.log(1e12):
            raise UserError("step_size: the scan found no step from which on none converges")
        if place not in ends:
            ends[place] = trial(guess * resolution**place)
        return ends[place] == "converged"

    low = 0
    while not converges(low):
        low -= stride
        if resolution**low < 1e-12:
            raise UserError("step_size: the scan found no step that converges from this start")
    while converges(low + stride):
        low += stride
    high = low + 2 * stride
    while converges(high):
        high += stride
    for place in range(low, high):
        converges(place)
    places = sorted(ends)
    fails = min(place for place in places if ends[place] != "converged")
    good = [place for place in places if ends[place] == "converged"]

    def eta(place: int) -> float:
        return guess * resolution**place

    return Bracket(
        eta(max(place for place in good if place < fails)),
        eta(fails),
        eta(max(good)),
        min((eta(place) for place in places if ends[place] == "diverged"), default=math.nan),
        tuple((eta(place), ends[place]) for place in places),
    )
