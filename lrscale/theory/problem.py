"""The learning problem: data, target and network shape.

All arrays are float64 here; an engine rounds to its own precision. A sample is a column.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrscale.errors import UserError
from lrscale.workloads.gd import GaussianInput, GDConfig, GivenInput

Array = NDArray[np.float64]

DATA, START = range(2)  # independent random streams of one seed


@dataclass(frozen=True)
class Problem:
    """L(W_1, …, W_N) = ½‖Y − σ_N(W_N ⋯ σ_1(W_1 X))‖_F² + floor.

    Attributes:
        inputs: X, n_0 × m.
        targets: Y, n_N × m.
        widths: n_0, …, n_N; W_j is n_j × n_{j−1}.
        activations: names of σ_1, …, σ_N.
        floor: a constant that stands for samples compressed away; 0 otherwise.
    """

    inputs: Array
    targets: Array
    widths: tuple[int, ...]
    activations: tuple[str, ...]
    floor: float = 0.0

    @property
    def depth(self) -> int:
        return len(self.widths) - 1

    @property
    def linear(self) -> bool:
        return set(self.activations) == {"linear"}


def make_problem(config: GDConfig) -> Problem:
    """The problem of a run's configuration: a function of its data fields and seed alone.

    Raises:
        UserError: a given archive is missing, altered or of the wrong shape; whitening needs
            at least as many samples as dimensions.
    """
    random = np.random.default_rng([config.seed, DATA])
    widths = config.widths
    targets: Array | None = None
    if isinstance(config.input, GivenInput):
        inputs, targets = _read_given(config.input, widths)
    else:
        inputs = random.normal(size=(widths[0], config.input.samples)) / np.sqrt(widths[0])
        if not isinstance(config.input, GaussianInput):
            inputs = _whiten(inputs)
    if targets is None:
        target = partial_isometry(widths[-1], widths[0], config.rank, random)
        targets = target @ inputs
        if config.noise:
            targets = targets + config.noise * random.normal(size=targets.shape)
    hidden = config.activation if config.at != "output" else "linear"
    output = config.activation if config.at != "hidden" else "linear"
    return Problem(inputs, targets, widths, (hidden,) * (config.depth - 1) + (output,))


def partial_isometry(rows: int, cols: int, rank: int, random: np.random.Generator) -> Array:
    """A random rows × cols matrix with ``rank`` singular values 1 and the others 0."""
    left = orthonormal(rows, rank, random)
    return np.asarray(left @ orthonormal(cols, rank, random).T)


def orthonormal(rows: int, cols: int, random: np.random.Generator) -> Array:
    """A random rows × cols matrix with orthonormal columns, uniform (Haar)."""
    q, r = np.linalg.qr(random.normal(size=(rows, cols)))
    return np.asarray(q * np.sign(np.diag(r)))  # Mezzadri (2007): signs make it uniform


def compress(problem: Problem) -> tuple[Problem, Array]:
    """A linear problem with as few samples as dimensions, and the basis V that it is written in.

    With XXᵀ = V Λ Vᵀ and Q = YXᵀ(XXᵀ)^{−1/2}, the loss of W is
    ½‖WVΛ^{1/2} − QV‖_F² + ½(‖Y‖_F² − ‖Q‖_F²), in which W enters through WV alone. Gradient
    descent commutes with the orthogonal V: the weights W_1V, W_2, …, W_N of the compressed
    problem (X = Λ^{1/2}, Y = QV) follow those of the given one. The constant is computed as
    the residual of least squares, where the difference of squares would lose its digits.
    """
    spectrum, basis = np.linalg.eigh(problem.inputs @ problem.inputs.T)
    kept = spectrum > spectrum[-1] * len(spectrum) * np.finfo(np.float64).eps
    scale = np.sqrt(np.where(kept, spectrum, 0.0))
    rotated = basis.T @ problem.inputs
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=kept)
    targets = problem.targets @ rotated.T * inverse
    residual = problem.targets - targets @ (inverse[:, None] * rotated)
    floor = 0.5 * np.sum(residual**2)
    entry = 4 * np.finfo(np.float64).eps * np.abs(problem.targets).max()
    rounding = 0.5 * residual.size * entry**2
    compressed = Problem(
        np.diag(scale),
        targets,
        problem.widths,
        problem.activations,
        problem.floor + (float(floor) if floor > rounding else 0.0),
    )
    return compressed, basis


def _whiten(inputs: Array) -> Array:
    rows, samples = inputs.shape
    if samples < rows:
        raise UserError(
            f"input.samples: {samples} samples cannot be whitened in {rows} dimensions; "
            f"give at least {rows}"
        )
    left, _, right = np.linalg.svd(inputs, full_matrices=False)
    return np.asarray(left @ right)


def _read_given(given: GivenInput, widths: tuple[int, ...]) -> tuple[Array, Array | None]:
    path = Path(given.path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"input.path: cannot read '{given.path}': {error.strerror}") from None
    digest = hashlib.sha256(content).hexdigest()
    if not digest.startswith(given.sha256):
        raise UserError(
            f"input.sha256: {path} has the digest {digest[:16]}…, not {given.sha256}; "
            "another file makes another run, so state the new digest if that is meant"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        if "X" not in archive:
            raise UserError(f"input.path: {path} holds no array X (np.savez(path, X=…))")
        inputs = _matrix(archive["X"], "X", widths[0], path)
        targets = _matrix(archive["Y"], "Y", widths[-1], path) if "Y" in archive else None
    if targets is not None and targets.shape[1] != inputs.shape[1]:
        raise UserError(
            f"input.path: {path} has {inputs.shape[1]} samples in X and {targets.shape[1]} in Y"
        )
    return inputs, targets


def _matrix(values: NDArray[Any], name: str, rows: int, path: Path) -> Array:
    if values.ndim != 2 or values.shape[0] != rows or not np.isfinite(values).all():
        raise UserError(
            f"input.path: {name} in {path} is of shape {values.shape}; expected a finite matrix "
            f"of {rows} rows (dim, output_dim), one column a sample"
        )
    return np.asarray(values, dtype=np.float64)
