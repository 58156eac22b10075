"""A layer's block of the Fisher as a Kronecker product of two small matrices.

A Linear layer computes s = W̄ā for W̄ = [W b] and ā = [a; 1]; with g = ∂(−log p)/∂s its gradient
is gāᵀ, and (Martens and Grosse 2015, eq. 1) its block of the Fisher, over vec(W̄), is

    F = E[āāᵀ ⊗ ggᵀ] ≈ A ⊗ G,   A = E[āāᵀ],   G = E[ggᵀ].

A Conv2d layer is the same map at T positions t, with the patch of its input as a_t. Under the
assumptions of Grosse and Martens (2016, Theorem 1),

    A = E[Σ_t ā_t ā_tᵀ],   G = E[Σ_t g_t g_tᵀ] / T,

and so with a Linear layer that is applied at T positions of a sequence ("expand" in Eschenhagen
et al. 2023), or called several times.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.functional import pad


class Layer:
    """A Linear or Conv2d layer, what passed through it, and the sums of its factors.

    Attributes:
        calls: the input of each call in the last forward pass, and where in the graph its
            output is. Not the output itself, which an activation may since have overwritten.
        sums: Σ āāᵀ (inputs, inputs), the bias being the last input, and Σ ggᵀ / T (outputs,
            outputs), over what was measured in this step; None where nothing was.
    """

    def __init__(self, module: nn.Linear | nn.Conv2d) -> None:
        self.module = module
        self.calls: list[tuple[Tensor, GradientEdge]] = []
        self.sums: tuple[Tensor, Tensor] | None = None

    def record(self, x: Tensor, output: Tensor) -> None:
        """One call, as it happens."""
        if output.requires_grad:
            self.calls.append((x.detach(), get_gradient_edge(output)))

    def measure(self) -> None:
        """Sums begin at zero, on ranks without an example to measure too."""
        if self.sums is None:
            weight = self.module.weight.detach()
            inputs = weight[0].numel() + (self.module.bias is not None)
            self.sums = weight.new_zeros(inputs, inputs), weight.new_zeros(len(weight), len(weight))

    def add_inputs(self, part: float) -> None:
        """Add the first ``part`` of the examples in each call's input."""
        assert self.sums is not None
        a = self._columns([x for x, _ in self.calls], part, input_columns)
        self.sums[0].addmm_(a, a.T)

    def add_gradients(
        self, gradients: Sequence[Tensor], scale: Tensor | float, part: float, examples: int
    ) -> None:
        """Add the same of the gradients with respect to each call's output.

        They are ``scale`` times what they should be; ``part`` is that many ``examples``.
        """
        assert self.sums is not None
        g = self._columns(gradients, part, output_columns) / scale
        self.sums[1].addmm_(g, g.T, alpha=examples / g.shape[1])

    def _columns(
        self,
        tensors: Sequence[Tensor],
        part: float,
        columns_of: Callable[[nn.Linear | nn.Conv2d, Tensor], Tensor],
    ) -> Tensor:
        dtype = self.module.weight.dtype  # not that of mixed precision
        chosen = [x[: round(len(x) * part)].to(dtype) for x in tensors]
        columns = [columns_of(self.module, x) for x in chosen]
        return columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)

    def gradient(self) -> Tensor | None:
        """∇W̄, (outputs, inputs); None where the parameters have none."""
        weight, bias = self.module.weight.grad, self.module.bias
        if weight is None:
            return None
        if bias is None:
            return weight.flatten(1)
        assert bias.grad is not None
        return torch.cat([weight.flatten(1), bias.grad[:, None]], dim=1)

    def replace_gradient(self, direction: Tensor) -> None:
        """Write ``direction``, of the shape of ``gradient``, into the parameters' ``grad``."""
        weight, bias = self.module.weight.grad, self.module.bias
        assert weight is not None
        inputs = weight[0].numel()
        weight.copy_(direction[:, :inputs].reshape(weight.shape))
        if bias is not None:
            assert bias.grad is not None
            bias.grad.copy_(direction[:, inputs])


def input_columns(module: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    """ā of every example and position: (inputs, examples · T), with a row of ones for a bias."""
    a = patches(module, x) if isinstance(module, nn.Conv2d) else x.reshape(-1, x.shape[-1]).T
    return a if module.bias is None else torch.cat([a, a.new_ones(1, a.shape[1])])


def output_columns(module: nn.Linear | nn.Conv2d, g: Tensor) -> Tensor:
    """g of every example and position: (outputs, examples · T)."""
    if isinstance(module, nn.Conv2d):
        return g.transpose(0, 1).flatten(1)
    return g.reshape(-1, g.shape[-1]).T


def patches(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The input that each output position sees: (channels · k₁ · k₂, examples · T).

    Rows in the order of the weight's; positions of all examples side by side, which
    ``torch.nn.functional.unfold`` would need another copy for.
    """
    (top, bottom), (left, right) = (_padding(conv, axis) for axis in (0, 1))
    x = pad(x, (left, right, top, bottom))
    (k1, k2), (s1, s2), (d1, d2) = conv.kernel_size, conv.stride, conv.dilation
    height = (x.shape[2] - d1 * (k1 - 1) - 1) // s1 * s1 + 1  # from first to last position
    width = (x.shape[3] - d2 * (k2 - 1) - 1) // s2 * s2 + 1
    shifted = [
        x[:, :, i : i + height : s1, j : j + width : s2].transpose(0, 1)
        for i in range(0, d1 * k1, d1)
        for j in range(0, d2 * k2, d2)
    ]
    return torch.stack(shifted, dim=1).flatten(0, 1).flatten(1)


def _padding(conv: nn.Conv2d, axis: int) -> tuple[int, int]:
    """Zeros before and after an axis of the image."""
    if conv.padding == "valid":
        return 0, 0
    if conv.padding == "same":
        total = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
        return total // 2, total - total // 2
    return int(conv.padding[axis]), int(conv.padding[axis])


def layers_of(model: nn.Module) -> tuple[dict[str, Layer], dict[str, list[str]]]:
    """The layers that have Kronecker factors, by name; and the names of the others with trained
    parameters, by what they are."""
    uses = Counter(p for m in model.modules() for p in m.parameters(recurse=False))
    factored: dict[str, Layer] = {}
    others: dict[str, list[str]] = defaultdict(list)
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if not any(p.requires_grad for p in own):
            continue
        obstacle = _obstacle(module)
        if any(uses[p] > 1 for p in own):
            obstacle = f"{type(module).__name__} with shared parameters"
        elif not all(p.requires_grad for p in own):
            obstacle = f"{type(module).__name__}, frozen in part"
        if obstacle is None:
            factored[name] = Layer(module)
        else:
            others[obstacle].append(name or "the model itself")
    return factored, dict(others)


def _obstacle(module: nn.Module) -> str | None:
    """What kind of layer it is, if not one with Kronecker factors.

    Not a subclass either: its forward pass may be another, or never be called (the output
    projection of MultiheadAttention).
    """
    kind = type(module)
    if kind is nn.Conv2d and module.groups != 1:
        return "Conv2d with groups"
    if kind is nn.Conv2d and module.padding_mode != "zeros":
        return f"Conv2d with padding_mode {module.padding_mode}"
    return None if kind in (nn.Linear, nn.Conv2d) else kind.__name__
