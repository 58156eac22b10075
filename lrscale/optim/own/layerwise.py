"""LARS and LAMB: steps in proportion to each layer's weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class LARS(Optimizer):
    """Algorithm 1 of You, Gitman and Ginsburg (2017); the parameters are those of ``lars``."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float,
        trust_coefficient: float,
        weight_decay: float,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, defaults | {"trust_coefficient": trust_coefficient})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            parameters, gradients = with_gradients(group)
            if not parameters:
                continue
            velocities = buffers(self.state, parameters, "momentum_buffer")
            decay = group["weight_decay"]
            norms = list(torch._foreach_norm(gradients))
            torch._foreach_add_(norms, torch._foreach_norm(parameters), alpha=decay)
            steps = list(torch._foreach_add(gradients, parameters, alpha=decay))
            scale_to_weights(steps, parameters, norms, group["trust_coefficient"])
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, steps, alpha=group["lr"])
            torch._foreach_sub_(parameters, velocities)


class LAMB(Optimizer):
    """Algorithm 2 of You et al. (2020) with φ the identity; the parameters are ``lamb``'s."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "t": 0}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            parameters, gradients = with_gradients(group)
            if not parameters:
                continue
            group["t"] += 1
            steps = self._adam(group, parameters, gradients)
            torch._foreach_add_(steps, parameters, alpha=group["weight_decay"])
            scale_to_weights(steps, parameters, torch._foreach_norm(steps))
            torch._foreach_add_(parameters, steps, alpha=-group["lr"])

    def _adam(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]
    ) -> list[Tensor]:
        """m̂ / (√v̂ + ε)."""
        beta1, beta2 = group["betas"]
        m, v = (buffers(self.state, parameters, name) for name in ("m", "v"))
        torch._foreach_lerp_(m, gradients, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, gradients, gradients, 1 - beta2)
        roots = torch._foreach_div(v, 1 - beta2 ** group["t"])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, group["eps"])
        steps = torch._foreach_div(m, 1 - beta1 ** group["t"])
        torch._foreach_div_(steps, roots)
        return list(steps)


def with_gradients(group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    """A group's parameters that have a gradient, and the gradients."""
    parameters = [p for p in group["params"] if p.grad is not None]
    return parameters, [p.grad for p in parameters]


def buffers(
    state: Mapping[Tensor, dict[str, Tensor]], parameters: list[Tensor], name: str
) -> list[Tensor]:
    """What the optimizer's state holds under ``name`` for each parameter; zeros at first."""
    for p in parameters:
        if name not in state[p]:
            state[p][name] = torch.zeros_like(p)
    return [state[p][name] for p in parameters]


def scale_to_weights(
    steps: Sequence[Tensor],
    parameters: Sequence[Tensor],
    norms: Sequence[Tensor],
    coefficient: float = 1.0,
) -> None:
    """step ← coefficient · ‖w‖ / norm · step for each parameter w, in place.

    Vectors (biases, norms) keep their steps, as in the authors' code, and so does what has a norm
    of 0. Nothing is copied between devices, which would have a GPU wait.
    """
    layers = [place for place, parameter in enumerate(parameters) if parameter.ndim > 1]
    if not layers:
        return
    weights = torch.stack(torch._foreach_norm([parameters[place] for place in layers]))
    below = torch.stack([norms[place] for place in layers])
    ratios = torch.where((weights > 0) & (below > 0), coefficient * weights / below, 1.0)
    torch._foreach_mul_([steps[place] for place in layers], ratios.unbind())
