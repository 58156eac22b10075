"""What a run starts from, and what the theory says about it beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrscale.errors import UserError
from lrscale.theory.bounds import Bound, best_bound, constants, saddle_levels
from lrscale.theory.drift import drift_residual
from lrscale.theory.engine import StepSizes, engine_coordinates
from lrscale.theory.problem import Array, Problem, make_problem
from lrscale.theory.starts import make_start
from lrscale.theory.step_size import Bracket, resolve
from lrscale.workloads.gd import BoundStep, GDConfig


@dataclass
class Setting:
    """A run between two steps.

    Attributes:
        problem, weights: in the engine's coordinates.
        step_sizes: η_k.
        theory: what was known at the start, as plain values; see ``predictions``.
    """

    problem: Problem
    weights: list[NDArray[Any]]
    step_sizes: StepSizes
    theory: dict[str, Any]


def new_setting(config: GDConfig, look: Callable[[], None] = lambda: None) -> Setting:
    """The start of a run.

    Args:
        look: called every now and then where that takes long; may raise to leave.

    Raises:
        UserError: a problem, start or step size that cannot be had.
    """
    problem, weights = make_problem(config), make_start(config)
    step_sizes, bracket = resolve(config.step_size, problem, weights, config.dtype, look)
    theory = predictions(config, problem, weights, bracket)
    return Setting(*engine_coordinates(problem, weights), step_sizes, theory)


def predictions(
    config: GDConfig, problem: Problem, weights: Sequence[Array], bracket: Bracket | None
) -> dict[str, Any]:
    """What the theory says about a start, for the summary.

    Keys: ``bound``, ``delta``, ``alpha`` and ``weight_bound``, the theorem's step size for the
    rule's α and δ (the best, where the rule has none) and its constants; None where XXᵀ is
    rank-deficient. For linear networks ``saddle_levels``, greatest first, ``drift_residual`` and
    ``drift_increment``. For a scan, ``bracket``.
    """
    rule = config.step_size
    known: Bound | None
    try:
        start = constants(problem, weights)
        known = (
            best_bound(start, rule.alpha, rule.delta)
            if isinstance(rule, BoundStep)
            else (best_bound(start))
        )
    except UserError:  # a rule that needs the bound has refused by now
        known = None
    theory: dict[str, Any] = {
        "bound": known and known.eta,
        "delta": known and known.delta,
        "alpha": known and known.alpha,
        "weight_bound": known and known.weight_bound,
    }
    if problem.linear:
        residual, increment = drift_residual(*engine_coordinates(problem, weights))
        theory |= {
            "saddle_levels": saddle_levels(problem).tolist(),
            "drift_residual": residual,
            "drift_increment": increment,
        }
    if bracket is not None:
        theory["bracket"] = asdict(bracket)
    return theory


def saved(setting: Setting) -> dict[str, Any]:
    """A setting as a checkpoint holds it.

    A compressed problem goes in with it: another machine's eigenvectors may differ in sign, and
    W_1 is written in them. The data of other problems are drawn again.
    """
    import torch

    arrays = {f"weight_{n}": w for n, w in enumerate(setting.weights, 1)}
    if setting.problem.linear:
        arrays |= {"inputs": setting.problem.inputs, "targets": setting.problem.targets}
    return {
        "arrays": {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()},
        "floor": setting.problem.floor,
        "step_sizes": asdict(setting.step_sizes),
        "theory": setting.theory,
    }


def restored(config: GDConfig, state: dict[str, Any]) -> Setting:
    """The setting that ``saved`` made ``state`` of."""
    arrays = {name: tensor.numpy() for name, tensor in state["arrays"].items()}
    weights = [arrays[f"weight_{n}"] for n in range(1, config.depth + 1)]
    if "inputs" in arrays:
        names = ("linear",) * config.depth
        problem = Problem(arrays["inputs"], arrays["targets"], config.widths, names, state["floor"])
    else:
        problem = make_problem(config)
    return Setting(problem, weights, StepSizes(**state["step_sizes"]), state["theory"])
