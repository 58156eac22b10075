"""Full-batch gradient descent on deep linear, tanh, relu and sigmoid networks.

The defaults are the reconstruction of "Analysis of Training Neural Networks", after Nguegnang,
Rauhut and Terstiege (arXiv 2108.02040): 10⁶ epochs on a rank-35 target in 70 dimensions, from
an exactly balanced start, at the step size of the convergence theorem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from lrscale.config import (
    Decay,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
    added,
    block,
    unhashed,
)
from lrscale.registry import Registry, workloads

Activation = Literal["linear", "tanh", "relu", "sigmoid"]
MAX_DEPTH = 1_000  # layers, whose widths are all listed

inputs = Registry("input", "lrscale.workloads")
starts = Registry("start", "lrscale.workloads")
step_sizes = Registry("step-size rule", "lrscale.workloads")


@inputs.register("gaussian")
@dataclass(frozen=True)
class GaussianInput:
    """X with independent entries N(0, 1/d), d × ``samples``."""

    samples: PositiveInt = 210


@inputs.register("whitened")
@dataclass(frozen=True)
class WhitenedInput:
    """(XXᵀ)^{−1/2} X of a Gaussian X, so that XXᵀ = I; ``samples`` ≥ d."""

    samples: PositiveInt = 210


@inputs.register("given")
@dataclass(frozen=True)
class GivenInput:
    """X, and Y if there is one, from a NumPy archive: ``np.savez(path, X=…, Y=…)``.

    Attributes:
        sha256: the file's digest, at least 12 digits: what makes two runs the same, for the
            path is not part of a run's identity.
        path: where the archive lies.
    """

    sha256: str
    path: str = unhashed("")

    def __post_init__(self) -> None:
        if len(self.sha256) < 12 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError("sha256 takes 12 to 64 hexadecimal digits (sha256sum FILE)")


@starts.register("balanced")
@dataclass(frozen=True)
class BalancedStart:
    """W_j = U_j diag(s) U_{j−1}ᵀ with random orthonormal U_j: W_{j+1}ᵀW_{j+1} = W_jW_jᵀ exactly.

    Attributes:
        singular_values: s; one number for all of them. Those not given are zero.
    """

    singular_values: NonNegative | tuple[NonNegative, ...] = 1.0


@starts.register("perturbed")
@dataclass(frozen=True)
class PerturbedStart:
    """A balanced start, moved in a random direction until max_j ‖D_j‖ = ``alpha`` · ``delta``."""

    alpha: Decay
    delta: Positive
    singular_values: NonNegative | tuple[NonNegative, ...] = 1.0


@starts.register("gaussian")
@dataclass(frozen=True)
class GaussianStart:
    """Independent entries N(0, ``scale``²)."""

    scale: Positive


@starts.register("identity")
@dataclass(frozen=True)
class IdentityStart:
    """Rectangular identities times ``scale``."""

    scale: Positive = 1.0


@step_sizes.register("constant")
@dataclass(frozen=True)
class ConstantStep:
    """η_k = ``eta``."""

    eta: Positive


@step_sizes.register("bound")
@dataclass(frozen=True)
class BoundStep:
    """η_k = ``factor`` times the theorem's bound, maximised over δ.

    Attributes:
        factor: 1 is the bound itself.
        alpha: α of the theorem; when null, the least that the start allows, ‖D_j(0)‖/δ.
        delta: δ of the theorem; when null, the best one.
    """

    factor: Positive = 1.0
    alpha: Decay | None = None
    delta: Positive | None = None


@step_sizes.register("decreasing")
@dataclass(frozen=True)
class DecreasingStep:
    """η_k = η_max (k + 1)^{−``exponent``}.

    Attributes:
        exponent: a, 0 < a ≤ 1, so that the sum of the steps is infinite.
        eta_max: the first step; when null, ``factor`` times the theorem's bound.
        factor: see ``eta_max``.
    """

    exponent: Positive
    eta_max: Positive | None = None
    factor: Positive = 1.0

    def __post_init__(self) -> None:
        if self.exponent > 1:
            raise ValueError(
                f"exponent {self.exponent} is above 1: the steps would sum to a finite length"
            )
        if self.eta_max is not None and self.factor != 1:
            raise ValueError("give eta_max, or factor to scale the theorem's bound, not both")


@step_sizes.register("edge")
@dataclass(frozen=True)
class EdgeStep:
    """η_k = ``factor`` times the greatest step found to converge, by a scan from this start.

    Attributes:
        factor: of the lower end of the bracket.
        resolution: ratio of neighbouring steps in the scan, the width of the bracket.
        scan_epochs: length of each trial.
    """

    factor: Positive = 1.0
    resolution: float = 1.05
    scan_epochs: PositiveInt = 3000

    def __post_init__(self) -> None:
        if not 1 < self.resolution <= 2:
            raise ValueError(f"resolution {self.resolution} must be above 1 and at most 2")


@dataclass(frozen=True)
class GDConfig:
    """One run of gradient descent on ½‖Y − σ(W_N ⋯ σ(W_1 X))‖_F².

    Attributes:
        workload: registered name; its defaults fill what is not given.
        epochs: steps (each sees all samples).
        depth: N, the number of layers, 2 to 1,000.
        dim: rows of X.
        rank: of the target W* in Y = W*X + noise, a random partial isometry.
        input, start, step_size: ``{name: …, parameters…}``, see the classes above.
        output_dim: rows of Y; ``dim`` when null.
        hidden: width of the hidden layers, or of each; ``rank`` when null.
        noise: standard deviation of the noise on each entry of Y.
        activation: σ; ``at`` says where: ``hidden`` layers, ``output`` or ``both``.
        dtype: precision of the training; measurements are always in float64.
        seed: replicate; decides X, W*, noise and start.
        records_per_decade: measured epochs, log-spaced.
        sharpness_per_decade: epochs at which the largest Hessian eigenvalue is measured too.
        record_at: further epochs to measure, sharpness included.
        stop_at_floor: end once a step changes no bit of any weight (no later one would).
        quick: made by ``--quick``: something of the sweep was shrunk.
        device: ``auto`` (a GPU if one was allotted and the runs are batched), ``cpu``, ``cuda``.
        checkpoint_minutes: work that a killed run may lose.
        track: ``wandb`` mirrors the metrics live to Weights & Biases.
    """

    workload: str
    epochs: PositiveInt
    depth: PositiveInt
    dim: PositiveInt
    rank: PositiveInt
    input: Any = block(inputs)
    start: Any = block(starts)
    step_size: Any = block(step_sizes)
    output_dim: PositiveInt | None = None
    hidden: PositiveInt | tuple[PositiveInt, ...] | None = None
    noise: NonNegative = 0.0
    activation: Activation = "linear"
    at: Literal["hidden", "output", "both"] = "both"
    dtype: Literal["float64", "float32"] = "float64"
    seed: NonNegativeInt = 0
    records_per_decade: PositiveInt = 20
    sharpness_per_decade: NonNegativeInt = 2
    record_at: tuple[NonNegativeInt, ...] = ()
    stop_at_floor: bool = False
    quick: bool = added(False, as_before=False)
    device: Literal["auto", "cpu", "cuda"] = unhashed("auto")
    checkpoint_minutes: Positive = unhashed(10.0)
    track: Literal["wandb"] | None = unhashed(None)

    @property
    def widths(self) -> tuple[int, ...]:
        """n_0 = dim, hidden widths, n_N = output_dim."""
        hidden = self.rank if self.hidden is None else self.hidden
        between = hidden if isinstance(hidden, tuple) else (hidden,) * (self.depth - 1)
        return (self.dim, *between, self.output_dim or self.dim)

    def __post_init__(self) -> None:
        if self.depth < 2:
            raise ValueError("depth must be at least 2: the theory is of products of matrices")
        if self.depth > MAX_DEPTH:
            raise ValueError(f"depth must be at most {MAX_DEPTH:,}")
        if len(self.widths) != self.depth + 1:
            raise ValueError(
                f"hidden has {len(self.widths) - 2} widths; depth {self.depth} has "
                f"{self.depth - 1} hidden layers"
            )
        if self.rank > min(self.widths):
            raise ValueError(
                f"rank {self.rank} is above the narrowest width, {min(self.widths)}: no network "
                "of these widths can represent the target"
            )


@workloads.register("gd")
class GD:
    """Gradient descent on a deep network, full batch, measured against its convergence theory."""

    schema: ClassVar[type[Any]] = GDConfig
    runner: ClassVar[str] = "lrscale.theory"
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 1_000_000,
        "depth": 2,
        "dim": 70,
        "rank": 35,
        "input": {"name": "gaussian"},
        "start": {"name": "balanced"},
        "step_size": {"name": "bound"},
    }
    metric: ClassVar[str] = "loss"
    direction: ClassVar[str] = "min"
    target: ClassVar[Mapping[str, float]] = {"loss": 1e-20}
    budget: ClassVar[Mapping[str, float]] = {"epochs": 1_000_000, "minutes": 5}
