"""Muon, with AdamW for what is no hidden weight.

torch.optim.Muon takes matrices only, one by one, and computes in bfloat16 on CPUs as well, which
costs 25 times the time of float32 on those without instructions for it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from lrscale.errors import UserError
from lrscale.optim.own.layerwise import buffers, with_gradients

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's: the steepest at 0
# Where products of the small side pay (n³ against n²m): 2.8 times faster for a 3×3 convolution.
GRAM_SHAPE = 3
GRAM_STEPS = 6  # rounding errors of 6e-8 grow by a² = 11.9 a step


class Muon(Optimizer):
    """Two groups: hidden weights, and the rest; the parameters are those of ``muon``."""

    def __init__(self, model: nn.Module, hidden: dict[str, Any], rest: dict[str, Any]) -> None:
        weights, others = hidden_weights(model)
        groups: list[dict[str, Any]] = [{"params": weights, **hidden}]
        if others:
            # fused is what load_state_dict looks for, to put the count of steps on the device
            groups.append({"params": others, "fused": True, **rest})
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            if "betas" in group:
                self._step_adamw(group)
            else:
                self._step_muon(group)

    def _step_muon(self, group: dict[str, Any]) -> None:
        parameters, gradients = with_gradients(group)
        if not parameters:
            return
        steps = buffers(self.state, parameters, "momentum_buffer")
        torch._foreach_lerp_(steps, gradients, 1 - float(group["momentum"]))
        if group["nesterov"]:
            steps = list(torch._foreach_lerp(gradients, steps, float(group["momentum"])))
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        alike = defaultdict(list)  # matrices of one shape are orthogonalised together
        for p, step in zip(parameters, steps, strict=True):
            alike[step.flatten(1).shape].append((p, step))
        for (rows, columns), pairs in alike.items():
            matrices = torch.stack([step.flatten(1) for _, step in pairs])
            orthogonal = orthogonalise(matrices, group["ns_steps"])
            rate = group["lr"] * max(1.0, rows / columns) ** 0.5
            for (p, _), update in zip(pairs, orthogonal, strict=True):
                p.add_(update.view(p.shape), alpha=-rate)

    def _step_adamw(self, group: dict[str, Any]) -> None:
        parameters, gradients = with_gradients(group)
        for p in parameters:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.zeros((), dtype=torch.float32, device=p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        states = [self.state[p] for p in parameters]
        adamw(
            parameters,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalise(matrices: Tensor, steps: int) -> Tensor:
    """Nearly UVᵀ of each matrix UΣVᵀ: (matrices, rows, columns), in ``steps`` of Newton-Schulz.

    The odd quintic polynomial aX + b(XXᵀ)X + c(XXᵀ)²X takes singular values in (0, 1] to within
    about 0.7 and 1.2. In bfloat16 on GPUs, as the author has it, else in the matrices' type.
    """
    a, b, c = COEFFICIENTS
    half = matrices.is_cuda and matrices.dtype == torch.float32
    x = matrices.bfloat16() if half else matrices
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    if not half and steps <= GRAM_STEPS and x.size(-1) >= GRAM_SHAPE * x.size(-2):
        x = _by_gram(x, steps)
    else:
        for _ in range(steps):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.mT if tall else x
    return x.to(matrices.dtype)


def _by_gram(x: Tensor, steps: int) -> Tensor:
    """The same for wide matrices, in products of the small side alone but for two.

    Each step is X ← QX with Q = aI + bG + cG² and G = XXᵀ, and then G ← QGQ: all polynomials of
    the first G, which commute. Rounding errors of G grow by a² a step.
    """
    a, b, c = COEFFICIENTS
    gram = x @ x.mT
    product: Tensor | None = None
    for left in reversed(range(steps)):
        q = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        q.diagonal(dim1=-2, dim2=-1).add_(a)
        product = q if product is None else q @ product
        if left:
            gram = q @ gram @ q
    return x if product is None else product @ x


def hidden_weights(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of two dimensions and more but for embeddings and the output layer; the rest.

    The output layer is the last Linear of the model, if that is not the only such weight. Raises
    UserError when there are none.
    """
    apart = {
        id(p)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for p in module.parameters()
    }
    matrices = [p for p in model.parameters() if p.ndim >= 2 and id(p) not in apart]
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    output = {id(module.weight) for module in linear[-1:]}
    hidden = [p for p in matrices if id(p) not in output] or matrices
    taken = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in taken]
    if not hidden:
        raise UserError(
            "optimizer: muon is for weights of two dimensions and more, and this model has none "
            "apart from embeddings; choose another optimizer, or another model"
        )
    return hidden, rest
