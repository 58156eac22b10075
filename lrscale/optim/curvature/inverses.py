"""(A ⊗ G + λI)⁻¹ times a layer's gradient, from decompositions of the two factors.

Two ways, each with ``decompose`` (of one factor, every few steps) and ``direction`` (at every
step). Since (A ⊗ G)⁻¹ vec(V) = vec(G⁻¹ V A⁻¹), the Kronecker product itself is never formed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

Inverse = Literal["cholesky", "eigen"]


class Method(Protocol):
    def decompose(self, factor: Tensor, shift: float) -> list[Tensor]:
        """What ``direction`` needs of a symmetric positive semi-definite (n, n) matrix.

        ``shift`` is its part of the damping, see ``split``.
        """
        ...

    def blank(self, factor: Tensor) -> list[Tensor]:
        """Room for the same, to receive another rank's."""
        ...

    def direction(
        self, gradient: Tensor, a: Sequence[Tensor], g: Sequence[Tensor], damping: float
    ) -> Tensor:
        """The preconditioned gradient, (outputs, inputs) like ``gradient``, from both
        decompositions."""
        ...


class Cholesky:
    """(G + √λ/π I)⁻¹ ∇ (A + π√λ I)⁻¹: damping split over the factors, two products a step.

    Martens and Grosse (2015), section 6.3.
    """

    def decompose(self, factor: Tensor, shift: float) -> list[Tensor]:
        damped = factor.clone()
        damped.diagonal().add_(shift)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if failed:  # positive definite, but not within the rounding of float32
            lower = torch.linalg.cholesky(damped.double())
        return [torch.cholesky_inverse(lower).to(factor).contiguous()]

    def blank(self, factor: Tensor) -> list[Tensor]:
        return [torch.empty_like(factor)]

    def direction(
        self, gradient: Tensor, a: Sequence[Tensor], g: Sequence[Tensor], damping: float
    ) -> Tensor:
        return g[0] @ gradient @ a[0]


class Eigen:
    """(A ⊗ G + λI)⁻¹ without the split, by A = Q_A D_A Q_Aᵀ and G = Q_G D_G Q_Gᵀ.

    Dearer to decompose (some 9n³ operations in place of n³), and four products a step.
    Grosse and Martens (2016), appendix B.
    """

    def decompose(self, factor: Tensor, shift: float) -> list[Tensor]:
        values, basis = torch.linalg.eigh(factor)
        return [values.clamp_(min=0.0), basis.contiguous()]

    def blank(self, factor: Tensor) -> list[Tensor]:
        return [torch.empty_like(factor[0]), torch.empty_like(factor)]

    def direction(
        self, gradient: Tensor, a: Sequence[Tensor], g: Sequence[Tensor], damping: float
    ) -> Tensor:
        (values_a, basis_a), (values_g, basis_g) = a, g
        rotated = basis_g.T @ gradient @ basis_a
        rotated /= torch.outer(values_g, values_a) + damping
        return basis_g @ rotated @ basis_a.T


METHODS: dict[Inverse, Method] = {"cholesky": Cholesky(), "eigen": Eigen()}


def split(a: Tensor, g: Tensor, damping: float) -> tuple[float, float]:
    """π√λ for A and √λ/π for G, with π² = (tr A / dim A) / (tr G / dim G).

    That π keeps small what (A + π√λI) ⊗ (G + √λ/π I) has beyond A ⊗ G + λI, and makes the product
    independent of how a scale is shared between the factors. 1 where a factor is all zero.
    """
    mean_a, mean_g = torch.stack([a.diagonal().mean(), g.diagonal().mean()]).tolist()
    pi = math.sqrt(mean_a / mean_g) if mean_a > 0 and mean_g > 0 else 1.0
    return pi * math.sqrt(damping), math.sqrt(damping) / pi
