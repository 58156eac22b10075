"""The K-FAC optimizer. Its parameters are described in ``lrscale.optim.kfac.KFAC``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lrscale.errors import UserError
from lrscale.optim.curvature import ranks
from lrscale.optim.curvature.inverses import METHODS, split
from lrscale.optim.curvature.layers import Layer, layers_of
from lrscale.optim.curvature.likelihood import vectors
from lrscale.optim.micro_batch import MicroBatch

if TYPE_CHECKING:
    from lrscale.optim.kfac import KFAC


class KFACOptimizer(torch.optim.SGD):
    """SGD with momentum, on gradients that are preconditioned first.

    Every ``factor_every`` steps it watches the forward pass, and carries vectors back from the
    outputs in ``observe``; sums of āāᵀ and ggᵀ gather over micro-batches as gradients do, and
    ``step`` sums them over ranks.

    State of a layer's weight, beside SGD's: running averages ``a`` and ``g``, the number of
    ``updates`` that made them, and their decompositions ``a_inverse`` and ``g_inverse``. Each
    group counts ``steps``.

    Raises:
        UserError: no layer of the model can be preconditioned.
    """

    def __init__(self, model: nn.Module, parameters: KFAC) -> None:
        super().__init__(
            model.parameters(),
            lr=parameters.lr,
            momentum=parameters.momentum,
            weight_decay=parameters.weight_decay,
        )
        for group in self.param_groups:
            group["steps"] = 0
        self._parameters = parameters
        self._method = METHODS[parameters.inverse]
        self._measured = 0  # examples of the global batch, in the step under way
        layers, others = layers_of(model)
        if not layers:
            raise UserError(
                "optimizer: kfac preconditions Linear and Conv2d layers, and this model has none; "
                "choose another optimizer"
            )
        self._layers = list(layers.values())
        self.remarks = [_remark(len(layers), others)] if others else []
        model.register_forward_pre_hook(lambda *_: self._forget_calls())
        for layer in self._layers:
            layer.module.register_forward_hook(self._recorder(layer))

    # --- measuring

    def _due(self, every: int) -> bool:
        steps: int = self.param_groups[0]["steps"]
        return steps % every == 0

    def _recorder(self, layer: Layer) -> Callable[..., None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if torch.is_grad_enabled() and self._due(self._parameters.factor_every):
                layer.record(inputs[0], output)

        return record

    def _forget_calls(self) -> None:
        for layer in self._layers:
            layer.calls = []

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        self._measured = 0
        for layer in self._layers:
            layer.sums = None

    @torch.no_grad()
    def observe(self, micro_batch: MicroBatch) -> None:
        """Measure the layers on this micro-batch, if this is a step to do so."""
        if not self._due(self._parameters.factor_every):
            return
        most = self._parameters.factor_batch or micro_batch.batch_size
        self._measured = min(most, micro_batch.batch_size)
        # Places ascend, so that those to measure come first.
        examples = int((micro_batch.places < self._measured).sum())
        called = [layer for layer in self._layers if layer.calls]
        for layer in called:
            layer.measure()
            if examples:
                layer.add_inputs(examples / len(micro_batch.outputs))
        if examples:
            self._add_gradients(micro_batch, called, examples)
        self._forget_calls()

    def _add_gradients(self, micro_batch: MicroBatch, called: list[Layer], examples: int) -> None:
        """Carry the likelihood's vectors back to the layers' outputs, and no further."""
        outputs = micro_batch.outputs
        edges = [edge for layer in called for _, edge in layer.calls]
        scale = micro_batch.scale / len(outputs)  # as of the mean loss, which fp16 has room for
        part = examples / len(outputs)
        for vector in vectors(self._parameters.fisher, micro_batch):
            found = iter(
                torch.autograd.grad(
                    outputs, edges, vector * scale, retain_graph=True, allow_unused=True
                )
            )
            for layer in called:
                gradients = [g for _ in layer.calls if (g := next(found)) is not None]
                if gradients:
                    layer.add_gradients(gradients, scale, part, examples)

    # --- stepping

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if self._due(self._parameters.factor_every):
            self._update_averages()
        if self._due(self._parameters.inverse_every):
            self._invert()
        self._precondition()
        for group in self.param_groups:
            group["steps"] += 1
        return super().step(closure)

    def _update_averages(self) -> None:
        """Bring what all ranks measured into the running averages. Collective.

        Martens and Grosse (2015), section 5: the k-th measurement enters with weight 1/k at
        first, so that nothing is left of an arbitrary beginning.
        """
        if not self._measured:
            raise RuntimeError("K-FAC saw no micro-batch: the training step must call observe()")
        measured = [(layer, layer.sums) for layer in self._layers if layer.sums is not None]
        ranks.sum_over([total for _, sums in measured for total in sums])
        traces = torch.stack([a.trace() + g.trace() for _, (a, g) in measured])
        finite = traces.isfinite().tolist()  # of the layers that did not overflow, in fp16
        for (layer, sums), usable in zip(measured, finite, strict=True):
            if not usable:
                continue
            state = self.state[layer.module.weight]
            state["updates"] = state.get("updates", 0) + 1
            weight = max(1 / state["updates"], 1 - self._parameters.factor_decay)
            for factor, total in zip(("a", "g"), sums, strict=True):
                mean = total.div_(self._measured)
                state[factor] = state[factor].lerp_(mean, weight) if factor in state else mean

    def _invert(self) -> None:
        """Decompose all factors anew, shared out among the ranks. Collective."""
        states = [self.state[layer.module.weight] for layer in self._layers]
        states = [state for state in states if "a" in state]
        factors = [state[name] for state in states for name in ("a", "g")]
        shifts = [
            shift for s in states for shift in split(s["a"], s["g"], self._parameters.damping)
        ]
        owners = ranks.share_out([float(len(factor)) ** 3 for factor in factors], ranks.count())
        inverses = [
            self._method.decompose(factor, shift)
            if owner == ranks.mine()
            else self._method.blank(factor)
            for factor, shift, owner in zip(factors, shifts, owners, strict=True)
        ]
        ranks.spread(
            [part for inverse in inverses for part in inverse],
            [owner for inverse, owner in zip(inverses, owners, strict=True) for _ in inverse],
        )
        for state, a, g in zip(states, inverses[::2], inverses[1::2], strict=True):
            state["a_inverse"], state["g_inverse"] = a, g

    def _precondition(self) -> None:
        """Replace the layers' gradients by their directions, within the bound on the KL."""
        directions: list[tuple[Layer, Tensor]] = []
        products: list[Tensor] = []  # pᵀ∇L, layer by layer
        for layer in self._layers:
            state, gradient = self.state[layer.module.weight], layer.gradient()
            if gradient is None or "a_inverse" not in state:
                continue
            direction = self._method.direction(
                gradient, state["a_inverse"], state["g_inverse"], self._parameters.damping
            )
            directions.append((layer, direction))
            products.append((direction * gradient).sum())
        if directions and self._parameters.kl_clip is not None:
            # F p ≈ ∇L, so that η²pᵀFp, twice the KL divergence of the step, is about η²pᵀ∇L.
            change = self.param_groups[0]["lr"] ** 2 * torch.stack(products).sum().clamp(min=0)
            shorten = (self._parameters.kl_clip / change).sqrt().clamp(max=1.0)
            for _, direction in directions:
                direction.mul_(shorten)
        for layer, direction in directions:
            layer.replace_gradient(direction)


def _remark(preconditioned: int, others: dict[str, list[str]]) -> str:
    """Which layers are left to SGD, three of each kind by name."""
    kinds = [
        f"{len(names)} × {kind} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for kind, names in others.items()
    ]
    return (
        f"K-FAC preconditions {preconditioned} Linear and Conv2d layers; trained by SGD with "
        f"momentum at the same learning rate: {', '.join(kinds)}"
    )
