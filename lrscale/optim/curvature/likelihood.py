"""The predictive distribution p(y | z) of a network's outputs z, and the Fisher's outer part.

Each likelihood gives vectors v of the outputs' shape with E[v vᵀ] = H = −∇²_z log p(y | z) for
every example by itself. Carried back through the network they become the gradients of which
the Fisher is the second moment:

- ``sampled``: v = −∇_z log p(ŷ | z) for one label ŷ ~ p(· | z) (Martens and Grosse 2015, 2.2);
- ``columns``: those of a square root of H, one backward pass each, without sampling error
  ("type-2": Kunstner, Balles and Hennig 2019).

Losses are sums over an example's outputs. A workload whose loss is c times that has c times the
curvature: a matter of the learning rate and the damping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import torch
from torch import Tensor

from lrscale.errors import UserError, did_you_mean
from lrscale.optim.micro_batch import MicroBatch

Fisher = Literal["sampled", "type-2", "empirical"]


class Likelihood(Protocol):
    """Outputs z are (examples, units), detached, and at least float32."""

    def sampled(self, z: Tensor, micro_batch: MicroBatch) -> Tensor:
        """v of labels drawn from the model, a function of the micro-batch's seed and places."""
        ...

    def columns(self, z: Tensor) -> Iterator[Tensor]:
        """One v for each output unit."""
        ...


class Categorical:
    """Logits: p = softmax(z), loss −log p_y; H = diag(p) − ppᵀ. Label smoothing has the same H."""

    def sampled(self, z: Tensor, micro_batch: MicroBatch) -> Tensor:
        p = z.softmax(dim=1)
        u = _drawn(torch.rand, micro_batch, 1).to(p)
        labels = (p.cumsum(dim=1) < u).sum(dim=1, keepdim=True)
        # rounding may leave the last cumulative probability below a draw near 1
        labels = labels.clamp_(max=p.shape[1] - 1)
        return p.scatter_add(1, labels, p.new_full(labels.shape, -1.0))

    def columns(self, z: Tensor) -> Iterator[Tensor]:
        """S = diag(√p) − p√pᵀ has SSᵀ = H."""
        p = z.softmax(dim=1)
        root = p.sqrt()
        for unit in range(z.shape[1]):
            column = -p * root[:, unit, None]
            column[:, unit] += root[:, unit]
            yield column


class Bernoulli:
    """Independent logits: p = σ(z), loss Σ_i −log p(y_i); H = diag(p(1 − p))."""

    def sampled(self, z: Tensor, micro_batch: MicroBatch) -> Tensor:
        p = z.sigmoid()
        return p - (_drawn(torch.rand, micro_batch, z.shape[1]).to(p) < p).to(p)

    def columns(self, z: Tensor) -> Iterator[Tensor]:
        p = z.sigmoid()
        yield from _axes((p * (1 - p)).sqrt())


class Gaussian:
    """Means of unit variance: loss ½‖z − y‖²; H = I."""

    def sampled(self, z: Tensor, micro_batch: MicroBatch) -> Tensor:
        return _drawn(torch.randn, micro_batch, z.shape[1]).to(z)

    def columns(self, z: Tensor) -> Iterator[Tensor]:
        yield from _axes(torch.ones_like(z))


LIKELIHOODS: dict[str, Likelihood] = {
    "categorical": Categorical(),
    "bernoulli": Bernoulli(),
    "gaussian": Gaussian(),
}


def vectors(fisher: Fisher, micro_batch: MicroBatch) -> Iterator[Tensor]:
    """What to carry back from the outputs: each as large as they are, per example (no mean).

    ``empirical`` is the gradient for the targets themselves: not the Fisher, and not its
    likeness far from the minimum (Kunstner, Balles and Hennig 2019).

    Raises:
        UserError: the workload names no likelihood, or outputs are not (examples, units).
    """
    outputs = micro_batch.outputs
    if fisher == "empirical":
        (gradient,) = torch.autograd.grad(micro_batch.loss, outputs, retain_graph=True)
        yield gradient * len(outputs)
        return
    likelihood = _likelihood_of(micro_batch)
    z = outputs.detach()
    z = z if z.dtype == torch.float64 else z.float()
    if fisher == "sampled":
        yield likelihood.sampled(z, micro_batch).to(outputs)
    else:
        yield from (column.to(outputs) for column in likelihood.columns(z))


def _likelihood_of(micro_batch: MicroBatch) -> Likelihood:
    name = getattr(micro_batch.workload, "likelihood", None)
    workload = type(micro_batch.workload).__name__
    if name not in LIKELIHOODS:
        raise UserError(
            f"optimizer: the Fisher needs the predictive distribution that the loss of {workload} "
            f"stands for; give it a class attribute `likelihood` (it has {name!r}): "
            f"{did_you_mean(str(name or ''), LIKELIHOODS)}"
        )
    if micro_batch.outputs.dim() != 2:
        raise UserError(
            f"optimizer: the Fisher needs outputs of shape (examples, units); those of {workload} "
            f"are {tuple(micro_batch.outputs.shape)}"
        )
    return LIKELIHOODS[name]


def _drawn(draw: Callable[..., Tensor], micro_batch: MicroBatch, units: int) -> Tensor:
    """(examples, units) float64 on the CPU: those of the micro-batch's places among the draws for
    the whole global batch."""
    generator = torch.Generator().manual_seed(micro_batch.seed)
    whole = draw(micro_batch.batch_size, units, generator=generator, dtype=torch.float64)
    return whole[micro_batch.places]


def _axes(scale: Tensor) -> Iterator[Tensor]:
    """diag(scale) of each example, column by column."""
    for unit in range(scale.shape[1]):
        column = torch.zeros_like(scale)
        column[:, unit] = scale[:, unit]
        yield column
