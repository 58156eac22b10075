"""K-FAC against dense linear algebra, curvlinops and its papers' formulas, in float64."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from curvlinops import KFACLinearOperator
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from stepping import Bits, Classes, Squares, add_gradients, take_step
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from lrscale.errors import UserError
from lrscale.optim.curvature.kfac import KFACOptimizer
from lrscale.optim.curvature.layers import Layer, patches
from lrscale.optim.curvature.likelihood import LIKELIHOODS, vectors
from lrscale.optim.curvature.ranks import share_out
from lrscale.optim.kfac import KFAC
from lrscale.optim.micro_batch import MicroBatch
from lrscale.optim.sgd import SGD

PLAIN = KFAC(lr=0.1, momentum=0.0, fisher="type-2", kl_clip=None, damping=0.03)


pytestmark = pytest.mark.usefixtures("in_float64")


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4, bias=False), nn.Linear(4, 3))


def convolutional() -> nn.Module:
    """Padding, stride, dilation, a kernel that is not square, in-place activations."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, stride=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 4, (2, 3), dilation=(1, 2), padding=(0, 2), bias=False),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(36, 3),
    )


def example(model: nn.Module, workload: Any, size: int = 8) -> tuple[Tensor, Tensor]:
    convolves = any(isinstance(m, nn.Conv2d) for m in model.modules())
    inputs = torch.randn(size, *((2, 7, 6) if convolves else (5,)))
    targets = {
        Classes: torch.randint(3, (size,)),
        Bits: torch.randint(2, (size, 3)).double(),
        Squares: torch.randn(size, 3),
    }
    return inputs, targets[type(workload)]


def measured(
    model: nn.Module, workload: Any, batch: tuple[Tensor, Tensor], kfac: KFAC = PLAIN
) -> KFACOptimizer:
    """After a step that leaves the weights where they are."""
    optimizer = dataclasses.replace(kfac, lr=1e-300).build(model)
    assert isinstance(optimizer, KFACOptimizer)
    take_step(model, optimizer, workload, batch)
    return optimizer


def factors(optimizer: KFACOptimizer, layer: Layer) -> tuple[Tensor, Tensor]:
    state = optimizer.state[layer.module.weight]
    return state["a"], state["g"]


# The Kronecker factors ----------------------------------------------------------------------------


@pytest.mark.parametrize("fisher", ["type-2", "empirical"])
@pytest.mark.parametrize(
    ("build", "workload", "criterion", "scale"),
    [
        (perceptron, Classes(), nn.CrossEntropyLoss(), 1.0),
        (convolutional, Classes(), nn.CrossEntropyLoss(), 1.0),
        # Their mean squared error is 2/3 of ours, which sums over three outputs and halves; their
        # mean cross-entropy of bits is a third.
        (perceptron, Squares(), nn.MSELoss(), 3 / 2),
        (convolutional, Bits(), nn.BCEWithLogitsLoss(), 3.0),
    ],
)
def test_products_are_those_of_curvlinops(
    build: Any, workload: Any, criterion: nn.Module, scale: float, fisher: Any
):
    model = build()
    batch = example(model, workload)
    optimizer = measured(model, workload, batch, dataclasses.replace(PLAIN, fisher=fisher))
    if fisher == "empirical":
        # They multiply means over three outputs by √3, so that sampled and type-2 agree.
        scale = scale**2 / (1 if isinstance(criterion, nn.CrossEntropyLoss) else 3)
    operator = KFACLinearOperator(
        model,
        criterion,
        list(model.parameters()),
        [batch],
        fisher_type=fisher,
        separate_weight_and_bias=False,
    )
    v = [torch.randn_like(p) for p in model.parameters()]
    theirs = operator @ v
    for parameter, vector in zip(model.parameters(), v, strict=True):
        parameter.grad = vector
    for layer in optimizer._layers:
        a, g = factors(optimizer, layer)
        gradient = layer.gradient()
        assert gradient is not None
        layer.replace_gradient(g @ gradient @ a)
    for parameter, expected in zip(model.parameters(), theirs, strict=True):
        torch.testing.assert_close(parameter.grad, scale * expected, rtol=1e-8, atol=1e-10)


def dense_fisher(model: nn.Module, inputs: Tensor, workload: Any) -> dict[str, Tensor]:
    """Each layer's block over [W b], row by row, from Jacobians and ∇²_z of the loss."""
    named = dict(model.named_parameters())
    jacobian = vmap(
        jacrev(lambda p, x: functional_call(model, p, (x[None],))[0]), in_dims=(None, 0)
    )(named, inputs)
    targets = model(inputs).detach()
    blocks: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        j = jacobian[f"{name}.weight"]
        if module.bias is not None:
            j = torch.cat([j, jacobian[f"{name}.bias"][..., None]], dim=-1)
        j = j.flatten(2)
        hessians = [hessian(workload, z) for z in targets]
        blocks[name] = torch.stack([jn.T @ h @ jn for jn, h in zip(j, hessians, strict=True)]).mean(
            0
        )
    return blocks


def hessian(workload: Any, z: Tensor) -> Tensor:
    target = {Classes: torch.tensor([1]), Bits: torch.ones(1, 3), Squares: torch.zeros(1, 3)}
    result = torch.autograd.functional.hessian(
        lambda outputs: workload.loss(outputs[None], target[type(workload)]), z
    )
    assert isinstance(result, Tensor)
    return result


@pytest.mark.parametrize("workload", [Classes(), Bits(), Squares()])
def test_exact_for_a_batch_of_one(workload: Any):
    model = perceptron()
    batch = example(model, workload, size=1)
    optimizer = measured(model, workload, batch)
    blocks = dense_fisher(model, batch[0], workload).values()
    for layer, block in zip(optimizer._layers, blocks, strict=True):
        a, g = factors(optimizer, layer)
        torch.testing.assert_close(torch.kron(g, a), block, rtol=1e-10, atol=1e-12)


def test_exact_for_one_linear_layer_with_squared_loss():
    model = nn.Sequential(nn.Linear(5, 3))
    batch = example(model, Squares())
    optimizer = measured(model, Squares(), batch)
    (block,) = dense_fisher(model, batch[0], Squares()).values()
    a, g = factors(optimizer, optimizer._layers[0])
    torch.testing.assert_close(torch.kron(g, a), block, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("positions", ["a sequence", "calls"])
def test_shared_weights_are_positions(positions: str):
    """T positions of one call, or T calls, are Conv2d with a kernel of one pixel."""

    class Calls(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            if isinstance(self.layer, nn.Conv2d):
                return self.layer(x.mT[..., None]).tanh().sum((2, 3))
            if positions == "calls":
                return torch.stack([self.layer(x[:, t]).tanh() for t in range(x.shape[1])]).sum(0)
            return self.layer(x).tanh().sum(1)

    linear, conv = nn.Linear(5, 3), nn.Conv2d(5, 3, 1)
    conv.load_state_dict({"weight": linear.weight[..., None, None], "bias": linear.bias})
    batch = torch.randn(8, 4, 5), torch.randint(3, (8,))
    mine, other = (measured(Calls(layer), Classes(), batch) for layer in (linear, conv))
    for one, same in zip(
        factors(mine, mine._layers[0]), factors(other, other._layers[0]), strict=True
    ):
        torch.testing.assert_close(one, same, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("padding", ["valid", "same", (2, 1)])
@pytest.mark.parametrize("dilation", [1, (2, 1)])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_patches_give_the_convolution(padding: Any, dilation: Any):
    stride = 1 if padding == "same" else (1, 2)
    conv = nn.Conv2d(2, 3, (2, 3), stride, padding, dilation, bias=False)
    x = torch.randn(4, 2, 7, 8)
    expected = conv(x)
    found = conv.weight.flatten(1) @ patches(conv, x)
    torch.testing.assert_close(found, expected.transpose(0, 1).flatten(1))


# Labels from the model ----------------------------------------------------------------------------


def shown(z: Tensor, likelihood: str, seed: int = 0) -> MicroBatch:
    class Workload:
        pass

    workload: Any = Workload()
    workload.likelihood = likelihood
    everything = torch.arange(len(z))
    return MicroBatch(None, None, z, z.sum(), workload, everything, len(z), seed)


@pytest.mark.parametrize(
    ("name", "workload"),
    [("categorical", Classes()), ("bernoulli", Bits()), ("gaussian", Squares())],
)
def test_vectors_have_the_hessian_as_second_moment(name: str, workload: Any):
    z = torch.tensor([1.0, -0.5, 2.0])
    expected = hessian(workload, z)
    columns = torch.stack(list(LIKELIHOODS[name].columns(z[None])))[:, 0]
    torch.testing.assert_close(columns.T @ columns, expected, rtol=1e-12, atol=1e-14)
    many = 200_000
    (sampled,) = vectors("sampled", shown(z.expand(many, -1), name))
    torch.testing.assert_close(sampled.T @ sampled / many, expected, rtol=0, atol=5 / many**0.5)
    torch.testing.assert_close(sampled.mean(0), torch.zeros(3), rtol=0, atol=5 / many**0.5)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_labels_are_a_function_of_seed_and_place(name: str):
    z = torch.randn(12, 3)
    whole = shown(z, name, seed=7)
    (together,) = vectors("sampled", whole)
    assert torch.equal(together, next(vectors("sampled", whole)))
    for part in (slice(0, None, 2), slice(1, None, 2), slice(4, 6)):
        mine = dataclasses.replace(whole, outputs=z[part], places=whole.places[part])
        assert torch.equal(next(vectors("sampled", mine)), together[part])
    other = dataclasses.replace(whole, seed=8)
    assert not torch.equal(next(vectors("sampled", other)), together)


def test_what_the_fisher_cannot_be_had_of():
    micro_batch = shown(torch.randn(4, 3), "categorial")
    with pytest.raises(UserError, match=r"Workload .*likelihood.*did you mean 'categorical'"):
        list(vectors("sampled", micro_batch))
    with pytest.raises(UserError, match=r"\(examples, units\); those of Workload are \(4, 2, 3\)"):
        list(vectors("sampled", shown(torch.randn(4, 2, 3), "categorical")))


# What a step does with them -----------------------------------------------------------------------


@pytest.mark.parametrize("inverse", ["cholesky", "eigen"])
def test_direction_solves_the_damped_system(inverse: Any):
    model = perceptron()
    kfac = dataclasses.replace(PLAIN, inverse=inverse, lr=0.3)
    optimizer = kfac.build(model)
    assert isinstance(optimizer, KFACOptimizer)
    before = [p.detach().clone() for p in model.parameters()]
    batch = example(model, Classes())
    optimizer.zero_grad()
    add_gradients(model, optimizer, Classes(), batch)
    gradients = [layer.gradient().clone() for layer in optimizer._layers]
    optimizer.step()
    moved = [(b - p.detach()) / 0.3 for b, p in zip(before, model.parameters(), strict=True)]
    for parameter, direction in zip(model.parameters(), moved, strict=True):
        parameter.grad = direction
    for layer, gradient in zip(optimizer._layers, gradients, strict=True):
        a, g = factors(optimizer, layer)
        direction, damping = layer.gradient(), kfac.damping
        assert direction is not None
        if inverse == "cholesky":
            pi = math.sqrt((a.trace() / len(a)) / (g.trace() / len(g)))
            a = a + pi * math.sqrt(damping) * torch.eye(len(a))
            g = g + math.sqrt(damping) / pi * torch.eye(len(g))
            damping = 0.0
        product = g @ direction @ a + damping * direction
        torch.testing.assert_close(product, gradient, rtol=1e-9, atol=1e-12)


def test_averages_and_inverses_are_renewed_when_due():
    model = nn.Sequential(nn.Linear(5, 3))
    kfac = dataclasses.replace(PLAIN, factor_every=2, inverse_every=3, factor_decay=0.6)
    optimizer = kfac.build(model)
    assert isinstance(optimizer, KFACOptimizer)
    state = optimizer.state[model[0].weight]
    average, inverses = torch.zeros(6, 6), []
    for step in range(7):
        batch = example(model, Classes())
        take_step(model, optimizer, Classes(), batch, step)
        if step % 2 == 0:
            x = torch.cat([batch[0], torch.ones(8, 1)], dim=1)
            weight = (1.0, 0.5, 0.4, 0.4)[step // 2]  # 1/k, and 1 − decay from then on
            average += weight * (x.T @ x / 8 - average)
        torch.testing.assert_close(state["a"], average)
        inverses.append(state["a_inverse"][0])
    same = [earlier is later for earlier, later in itertools.pairwise(inverses)]
    assert same == [True, True, False, True, True, False]


@pytest.mark.parametrize("kl_clip", [1e-6, 1e6])
def test_kl_clip(kl_clip: float):
    moves = []
    for clip in (None, kl_clip):
        torch.manual_seed(1)
        model = perceptron()
        batch = example(model, Classes())
        optimizer = dataclasses.replace(PLAIN, kl_clip=clip).build(model)
        optimizer.zero_grad()
        add_gradients(model, optimizer, Classes(), batch)
        gradient = torch.cat([p.grad.flatten().clone() for p in model.parameters()])
        optimizer.step()
        moves.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    free, clipped = moves
    change = (0.1**2 * free.dot(gradient)).item()
    torch.testing.assert_close(clipped, free * min(1.0, math.sqrt(kl_clip / change)))


def test_how_the_batch_is_cut_makes_no_difference():
    results = []
    for cuts in ([12], [6, 6], [4, 4, 4], [3, 9]):
        torch.manual_seed(1)
        model = convolutional()
        kfac = dataclasses.replace(PLAIN, fisher="sampled", factor_batch=7)
        optimizer = kfac.build(model)
        inputs, targets = example(model, Classes(), size=12)
        optimizer.zero_grad()
        first = 0
        for x, y in zip(inputs.split(cuts), targets.split(cuts), strict=True):
            # fp16 scales the loss, and what is carried back with it
            shown: dict[str, Any] = {"first": first, "of": 12, "scale": torch.tensor(2.0**first)}
            add_gradients(model, optimizer, Classes(), (x, y), step=5, **shown)
            first += len(x)
        optimizer.step()
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-11, atol=1e-13)


def test_a_part_of_the_batch_is_measured():
    model = convolutional()
    inputs, targets = example(model, Classes(), size=12)
    part = measured(model, Classes(), (inputs[:5], targets[:5]))
    kfac = dataclasses.replace(PLAIN, factor_batch=5)
    whole = measured(model, Classes(), (inputs, targets), kfac)
    for one, same in zip(part._layers, whole._layers, strict=True):
        for expected, found in zip(factors(part, one), factors(whole, same), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)


def test_a_measurement_that_overflowed_is_left_out():
    """As fp16 may, in one layer; the step itself is dropped by the scaler elsewhere."""
    model = perceptron()
    optimizer = measured(model, Classes(), example(model, Classes()))
    before = [factor.clone() for factor in factors(optimizer, optimizer._layers[0])]
    optimizer.param_groups[0]["steps"] = 0
    optimizer.zero_grad()
    add_gradients(model, optimizer, Classes(), example(model, Classes()))
    sums = optimizer._layers[0].sums
    assert sums is not None
    sums[1][0, 0] = math.inf
    optimizer.step()
    assert all(map(torch.equal, before, factors(optimizer, optimizer._layers[0])))
    assert optimizer.state[optimizer._layers[1].module.weight]["updates"] == 2


def test_steps_that_the_scaler_of_fp16_drops():
    """The scaled step is the plain one; one whose gradients overflowed leaves everything as it
    was, and what was measured in it is forgotten."""
    torch.set_default_dtype(torch.float32)
    plain, scaled = perceptron(), perceptron()
    scaled.load_state_dict(plain.state_dict())
    kfac = dataclasses.replace(PLAIN, momentum=0.9, fisher="sampled")
    reference: Any = kfac.build(plain)
    optimizer: Any = kfac.build(scaled)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    batch = example(plain, Classes())
    for step, overflow in enumerate((False, True, False)):
        optimizer.zero_grad()
        outputs = scaled(batch[0])
        loss = Classes().loss(outputs, batch[1])
        scale = scaler.scale(torch.ones(()))
        places = torch.arange(8)
        shown = (*batch, outputs, loss, Classes(), places, 8, step)
        optimizer.observe(MicroBatch(*shown, scale=scale))
        scaler.scale(loss).backward()
        if overflow:
            scaled[0].weight.grad[0, 0] = math.inf
        scaler.step(optimizer)
        scaler.update()
        if not overflow:
            take_step(plain, reference, Classes(), batch, step)
        for mine, other in zip(scaled.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(mine, other)


# Layers without factors ---------------------------------------------------------------------------


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 5)
        self.lstm = nn.LSTM(5, 5, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(5) for _ in range(5))
        self.attend = nn.MultiheadAttention(5, 1, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x, _ = self.lstm(self.embed(tokens))
        for norm in self.norms:
            x = norm(x)
        x = x + self.attend(x, x, x)[0]
        return self.head(x.mean(1))


def test_other_layers_are_named_and_get_sgd_with_momentum():
    model, reference = Mixed(), Mixed()
    reference.load_state_dict(model.state_dict())
    kfac = KFAC(lr=0.1, momentum=0.9, weight_decay=0.01)
    optimizer = kfac.build(model)
    assert isinstance(optimizer, KFACOptimizer)
    assert optimizer.remarks == [
        "K-FAC preconditions 1 Linear and Conv2d layers; trained by SGD with momentum at the same "
        "learning rate: 1 × Embedding (embed), 1 × LSTM (lstm), 5 × LayerNorm (norms.0, norms.1, "
        "norms.2, …), 1 × MultiheadAttention (attend), 1 × NonDynamicallyQuantizableLinear "
        "(attend.out_proj)"
    ]
    sgd = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    batch = torch.randint(10, (4, 6)), torch.randint(3, (4,))
    for step in range(3):
        take_step(model, optimizer, Classes(), batch, step)
        take_step(reference, sgd, Classes(), batch, step)
        reference.head.load_state_dict(model.head.state_dict())
    for (name, mine), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, other, msg=name)


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "Conv2d with groups"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), "padding_mode circular"),
        (nn.Linear(3, 3).requires_grad_(False), None),
    ],
)
def test_why_a_layer_has_no_factors(layer: nn.Module, kind: str | None):
    optimizer: Any = KFAC(lr=0.1).build(nn.Sequential(layer, nn.Linear(3, 3)))
    assert len(optimizer._layers) == 1
    assert optimizer.remarks == [] if kind is None else kind in optimizer.remarks[0]


def test_shared_and_partly_frozen_parameters():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[2].bias.requires_grad_(False)
    optimizer: Any = KFAC(lr=0.1).build(model)
    (remark,) = optimizer.remarks
    assert "2 × Linear with shared parameters (0, 1)" in remark
    assert "1 × Linear, frozen in part (2)" in remark


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(UserError, match="Linear and Conv2d layers, and this model has none"):
        KFAC(lr=0.1).build(nn.Embedding(3, 3))


def test_a_step_that_was_not_observed_is_refused():
    model = perceptron()
    optimizer = KFAC(lr=0.1).build(model)
    model(torch.randn(2, 5)).sum().backward()
    with pytest.raises(RuntimeError, match="observe"):
        optimizer.step()


def test_an_evaluation_in_between_leaves_nothing_behind():
    model = perceptron()
    optimizer: Any = KFAC(lr=0.1).build(model)
    take_step(model, optimizer, Classes(), example(model, Classes()))
    with torch.no_grad():
        model(torch.randn(2, 5))
    assert all(layer.calls == [] for layer in optimizer._layers)


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=30), st.integers(1, 8))
def test_work_is_shared_out_evenly(costs: list[float], ranks: int):
    owners = share_out(costs, ranks)
    loads = [sum(c for c, o in zip(costs, owners, strict=True) if o == r) for r in range(ranks)]
    least = max(sum(costs) / ranks, max(costs))
    assert max(loads) <= 2 * least
    assert share_out(costs, ranks) == owners


# What it is for -----------------------------------------------------------------------------------


def autoencoder() -> nn.Module:
    """Deep, with a narrow middle: ill-conditioned."""
    torch.manual_seed(0)
    widths = (64, 48, 24, 8, 24, 48, 64)
    layers: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        linear = nn.Linear(inputs, outputs, dtype=torch.float32)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear] if place in (2, 5) else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


def losses_of(component: Any, steps: int) -> list[float]:
    model = autoencoder()
    optimizer = component.build(model)
    images = torch.from_numpy(load_digits().images[:500]).float().flatten(1) / 16
    batch = images, images
    return [take_step(model, optimizer, Bits(), batch, step).item() for step in range(steps)]


def test_half_the_steps_of_tuned_momentum_at_most():
    """See benchmarks/kfac.py for the larger one."""
    rates = (0.02, 0.05, 0.1)
    reached = min(losses_of(SGD(lr=lr, momentum=0.9), 300)[-1] for lr in rates)
    kfac = KFAC(lr=0.3, damping=0.1, kl_clip=0.1, factor_every=1, inverse_every=5)
    assert min(losses_of(kfac, 150)) < reached
