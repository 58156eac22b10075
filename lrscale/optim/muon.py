"""Muon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive, PositiveInt
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("muon")
@dataclass(frozen=True)
class Muon:
    """Muon (Jordan et al. 2024): momentum made orthogonal by iterations of Newton and Schulz.

    For weights of two dimensions, and those of convolutions as (out, in × height × width): the
    step is ηUVᵀ √max(1, rows/columns), where UΣVᵀ is the momentum. As its author advises, AdamW
    takes the rest: embeddings, the output layer (the model's last Linear), norms and biases.

    Attributes:
        lr: peak learning rate η of Muon; metrics record this one.
        momentum: of Muon.
        nesterov: the momentum looks one step ahead.
        ns_steps: iterations of Newton and Schulz.
        weight_decay: λ, decoupled, of both.
        adamw_lr: peak learning rate of AdamW.
        adamw_beta1: decay rate of AdamW's first moment.
        adamw_beta2: decay rate of its second moment.
        adamw_eps: ε, added to the root of the second moment.
    """

    lr: Positive = 0.02
    momentum: Decay = 0.95
    nesterov: bool = True
    ns_steps: PositiveInt = 5
    weight_decay: NonNegative = 0.0
    adamw_lr: Positive = 3e-4
    adamw_beta1: Decay = 0.9
    adamw_beta2: Decay = 0.95
    adamw_eps: Positive = 1e-10

    def build(self, model: nn.Module) -> Optimizer:
        """Raises UserError for a model without hidden weights."""
        from lrscale.optim.own import muon

        hidden = {
            "lr": self.lr,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "ns_steps": self.ns_steps,
            "weight_decay": self.weight_decay,
        }
        rest = {
            "lr": self.adamw_lr,
            "betas": (self.adamw_beta1, self.adamw_beta2),
            "eps": self.adamw_eps,
            "weight_decay": self.weight_decay,
        }
        return muon.Muon(model, hidden, rest)
