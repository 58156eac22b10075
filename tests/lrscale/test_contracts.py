"""What every component must keep, run over whatever the registries hold."""

from __future__ import annotations

import dataclasses
import inspect
import io
import math
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stepping import Classes, Squares, take_step
from torch import nn

from lrscale.config import decode, encode, identity
from lrscale.contract import breaches
from lrscale.errors import UserError
from lrscale.registry import (
    REGISTRIES,
    Registry,
    datasets,
    models,
    optimizers,
    schedules,
    workloads,
)
from lrscale.train.task import spare_norms_and_biases
from lrscale.train_config import TrainConfig

BLOCKS = {"optimizer": optimizers, "schedule": schedules, "model": models, "data": datasets}
COMPONENTS = [(block, name) for block, registry in BLOCKS.items() for name in registry.names()]


def required(registry: Registry, name: str) -> dict[str, float]:
    """A value for each parameter without a default: learning rates, so far."""
    fields = dataclasses.fields(registry.get(name))
    return {f.name: 0.01 for f in fields if f.default is dataclasses.MISSING}


def component(registry: Registry, name: str) -> Any:
    return registry.get(name)(**required(registry, name))


# Every component --------------------------------------------------------------------------------


def test_listing_and_decoding_imports_nothing_heavy() -> None:
    code = """
import sys
from lrscale.config import decode, identity
from lrscale.registry import datasets, models, optimizers, schedules, workloads
for registry in (optimizers, schedules, models, datasets, workloads):
    assert registry.names()
for name in workloads.names():
    try:
        identity(decode({"workload": name}))
    except Exception:
        pass
heavy = {"torch", "torchvision", "accelerate", "pandas", "sklearn", "mlxtend", "scipy"}
print(*sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


@pytest.mark.parametrize(
    ("registry", "name"),
    [pytest.param(r, name, id=f"{r.kind}-{name}") for r in REGISTRIES for name in r.names()],
)
def test_what_preflight_asks_of_plugins(registry: Registry, name: str) -> None:
    assert not breaches(registry, name)


@pytest.mark.parametrize(("block", "name"), COMPONENTS)
def test_documented(block: str, name: str) -> None:
    cls = BLOCKS[block].get(name)
    document = inspect.getdoc(cls) or ""
    assert not document.startswith(f"{cls.__name__}("), "the dataclass's own signature"
    for f in dataclasses.fields(cls):
        assert f"{f.name}:" in document or f"{f.name}," in document, f"{f.name} is not described"


@pytest.mark.parametrize(("block", "name"), COMPONENTS)
def test_configuration_round_trips(block: str, name: str) -> None:
    raw = {"name": name, **required(BLOCKS[block], name)}
    tokens = getattr(BLOCKS[block].get(name), "inputs", "numbers") == "tokens"
    config = decode({"workload": "imdb_lstm" if tokens else "digits_mlp", block: raw})
    again = decode(encode(config))
    assert again == config
    assert identity(again) == identity(config)
    assert encode(config)[block]["name"] == name


@pytest.mark.parametrize(("block", "name"), COMPONENTS)
def test_parameters_are_immutable(block: str, name: str) -> None:
    instance = component(BLOCKS[block], name)
    for f in dataclasses.fields(instance):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(instance, f.name, None)


# Optimizers -------------------------------------------------------------------------------------


# Four inputs ±1 which, with the bias's 1, are orthogonal: the mean of ½‖Wx + b‖² over them is
# ½‖W‖² + ½‖b‖².
DESIGN = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


def quadratic() -> nn.Module:
    """0.1 away from the minimum of ½‖W‖² + ½‖b‖², in a matrix and a vector."""
    model = nn.Linear(3, 4)
    nn.init.constant_(model.weight, 0.1)
    nn.init.constant_(model.bias, -0.1)
    return model


def losses_on_the_quadratic(name: str, lr: float) -> list[float]:
    model = quadratic()
    optimizer = dataclasses.replace(component(optimizers, name), lr=lr).build(model)
    batch = DESIGN, torch.zeros(4, 4)
    return [take_step(model, optimizer, Squares(), batch, step).item() for step in range(101)]


@pytest.mark.parametrize("name", optimizers.names())
def test_optimizer_descends_a_quadratic(name: str) -> None:
    """At a rate of 0.01, or of 1 where the method scales it by itself."""
    losses = losses_on_the_quadratic(name, 0.01)
    assert losses[0] == pytest.approx(16 * 0.1**2 / 2)
    if losses[-1] >= losses[0] / 2:
        losses = losses_on_the_quadratic(name, 1.0)
    assert losses[-1] < losses[0] / 2


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, lr: float, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(16, 6, generator=generator)
        targets = torch.randint(3, (16,), generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / 40)
        take_step(model, optimizer, Classes(), (inputs, targets), step)


@pytest.mark.parametrize("cut", [1, 7, 20])
@pytest.mark.parametrize("name", optimizers.names())
def test_optimizer_resumes_bitwise(name: str, cut: int) -> None:
    configured = component(optimizers, name)
    whole, resumed = network(), network()
    optimizer = configured.build(whole)
    train(whole, optimizer, configured.lr, range(cut))
    file = io.BytesIO()
    torch.save({"model": whole.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(whole, optimizer, configured.lr, range(cut, 40))

    file.seek(0)
    state = torch.load(file, weights_only=True)
    optimizer = configured.build(resumed)
    resumed.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    train(resumed, optimizer, configured.lr, range(cut, 40))
    for expected, found in zip(
        whole.state_dict().values(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, found)


@pytest.mark.parametrize("name", optimizers.names())
def test_optimizer_begins_at_its_learning_rate(name: str) -> None:
    """The first group's is the one that metrics record; Muon's AdamW has one of its own."""
    configured = component(optimizers, name)
    rates = [group["lr"] for group in configured.build(network()).param_groups]
    stated = [f.name for f in dataclasses.fields(configured) if f.name.endswith("lr")]
    assert rates[0] == configured.lr
    assert set(rates) == {getattr(configured, field) for field in stated}


DECAYING = [
    n for n in optimizers.names() if "weight_decay" in optimizers.get(n).__dataclass_fields__
]


def after_three_steps(name: str, decay: float, spare: bool) -> torch.Tensor:
    """All weights, which begin away from zero."""
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.5
    configured = component(optimizers, name)
    rate = 0.01 / getattr(configured, "d0", 1.0)  # by which Prodigy scales its first steps down
    optimizer = dataclasses.replace(configured, lr=rate, weight_decay=decay).build(model)
    if spare:
        spare_norms_and_biases(optimizer)
        for group in optimizer.param_groups:
            assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == decay}
    train(model, optimizer, rate, range(3))
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", DECAYING)
def test_weight_decay_may_spare_norms_and_biases(name: str) -> None:
    spared = after_three_steps(name, 0.5, True)
    for other in (after_three_steps(name, 0.5, False), after_three_steps(name, 0.0, False)):
        assert (spared - other).abs().max() > 1e-5


# Schedules --------------------------------------------------------------------------------------

# One-cycle is a warm-up of its own kind.
WARMED = [n for n in schedules.names() if "warmup" in schedules.get(n).__dataclass_fields__]


@pytest.mark.parametrize("name", schedules.names())
@given(
    total=st.integers(1, 400),
    warmup=st.one_of(st.floats(0, 0.999), st.integers(1, 500).map(float)),
    order=st.randoms(use_true_random=False),
)
def test_schedule_is_a_pure_finite_factor(name: str, total: int, warmup: float, order: Any) -> None:
    schedule = component(schedules, name)
    if name in WARMED:
        schedule = dataclasses.replace(schedule, warmup=warmup)
    factors = [schedule.factor(step, total) for step in range(total)]
    assert all(isinstance(f, float) and math.isfinite(f) and 0 <= f <= 1 for f in factors)
    # a resumed run asks a fresh object, from the middle on
    fresh = dataclasses.replace(schedule)
    steps = list(range(total))
    order.shuffle(steps)
    assert [fresh.factor(step, total) for step in steps] == [factors[step] for step in steps]


@pytest.mark.parametrize(
    "name", [n for n in schedules.names() if hasattr(schedules.get(n), "momentum")]
)
@given(total=st.integers(1, 400))
def test_momentum_is_a_pure_decay_rate(name: str, total: int) -> None:
    momenta = [component(schedules, name).momentum(step, total) for step in range(total)]
    assert all(isinstance(m, float) and 0 <= m < 1 for m in momenta)
    fresh = component(schedules, name)
    assert [fresh.momentum(step, total) for step in reversed(range(total))] == momenta[::-1]


@pytest.mark.parametrize("name", WARMED)
@given(total=st.integers(10, 400), steps=st.integers(1, 9))
def test_warm_up_is_linear_and_ends_at_the_peak(name: str, total: int, steps: int) -> None:
    schedule = dataclasses.replace(component(schedules, name), warmup=float(steps))
    unwarmed = dataclasses.replace(schedule, warmup=0.0)
    ramp = [schedule.factor(step, total) for step in range(steps + 1)]
    if unwarmed.factor(steps, total) == 1:  # not within a drop counted from the beginning
        assert ramp == pytest.approx([(step + 1) / (steps + 1) for step in range(steps + 1)])


# Models -----------------------------------------------------------------------------------------


def inputs_for(name: str) -> tuple[tuple[int, ...], torch.Tensor]:
    """A shape that the model is built for, and five examples of it."""
    if getattr(models.get(name), "inputs", "numbers") == "tokens":
        tokens = torch.randint(1, 30, (5, 12), dtype=torch.int32)
        tokens[1:, 9:] = 0
        return (30, 16), tokens
    return (1, 28, 28), torch.randn(5, 1, 28, 28)


@pytest.mark.parametrize("name", models.names())
def test_model_learns(name: str) -> None:
    torch.manual_seed(0)
    shape, inputs = inputs_for(name)
    model = component(models, name).build(shape, 10)
    outputs = model(inputs)
    assert outputs.shape == (5, 10)
    assert outputs.isfinite().all()
    outputs.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", models.names())
def test_model_is_a_function_of_the_global_generator(name: str) -> None:
    built = []
    for _ in range(2):
        torch.manual_seed(3)
        shape, _ = inputs_for(name)
        built.append(component(models, name).build(shape, 10).state_dict())
    assert all(torch.equal(built[0][key], built[1][key]) for key in built[0])


# Datasets ---------------------------------------------------------------------------------------


def located(dataset: Any) -> str:
    """Its fingerprint; skips the test where the data must be fetched by hand."""
    try:
        return str(dataset.locate())
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", datasets.names())
def test_dataset_opens_as_a_source(name: str) -> None:
    dataset = component(datasets, name)
    fingerprint = located(dataset)
    assert dataset.locate() == fingerprint
    submitted = dataclasses.replace(dataset, fingerprint=fingerprint)
    source = submitted.open(torch.device("cpu"))
    assert source.title == submitted.title == dataset.title
    assert source.size("train") == submitted.train_size()
    for split in ("train", "val", "test"):
        indices = [torch.tensor([0, source.size(split) - 1]), torch.tensor([1])]
        batches = list(source.batches(split, indices, None if split == "test" else (0, 0)))
        tokens = getattr(dataset, "inputs", "numbers") == "tokens"
        for size, (inputs, _) in zip((2, 1), batches, strict=True):
            if tokens:
                vocabulary, length = source.input_shape
                assert len(inputs) == size
                assert inputs.shape[1] <= length
                assert inputs.max() < vocabulary
            else:
                assert inputs.shape == (size, *source.input_shape)
        for inputs, targets in batches:
            assert inputs.dtype == (torch.int32 if tokens else torch.float32)
            assert targets.dtype == torch.int64
            assert ((targets >= 0) & (targets < source.classes)).all()


@pytest.mark.parametrize("name", datasets.names())
def test_other_data_under_the_same_name_is_refused(name: str) -> None:
    dataset = component(datasets, name)
    found = located(dataset)
    other = found[:-1] + ("0" if found[-1] != "0" else "1")
    with pytest.raises(UserError, match=re.escape(other)):
        dataclasses.replace(dataset, fingerprint=other).open(torch.device("cpu"))


def test_the_fingerprint_is_part_of_the_identity_and_the_root_is_not() -> None:
    raw = {"workload": "mnist_mlp", "data": {"variant": "full"}}
    plain = identity(decode(raw))
    assert identity(decode({**raw, "data": {"variant": "full", "root": "/x"}})) == plain
    assert identity(decode({**raw, "data": {"variant": "full", "fingerprint": "1+1-x"}})) != plain


# Workloads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", workloads.names())
def test_workload_is_complete(name: str) -> None:
    cls = workloads.get(name)
    assert inspect.getdoc(cls)
    assert dataclasses.is_dataclass(cls.schema)
    assert isinstance(cls.runner, str)
    assert cls.direction in ("max", "min")
    assert cls.target
    assert all(isinstance(goal, (int, float)) for goal in cls.target.values())
    assert set(cls.budget) >= {"epochs", "minutes"} or cls.schema is not TrainConfig


@pytest.mark.parametrize("name", workloads.names())
def test_workload_decodes_by_its_name_alone(name: str) -> None:
    config = decode({"workload": name})
    assert config.workload == name
    again = decode(encode(config))
    assert again == config
    assert identity(again) == identity(config)


@pytest.mark.parametrize(
    "name", [n for n in workloads.names() if workloads.get(n).schema is TrainConfig]
)
def test_loss_is_the_mean_of_the_sums(name: str) -> None:
    workload = workloads.get(name)()
    torch.manual_seed(0)
    outputs = torch.randn(12, 10, requires_grad=True)
    targets = torch.randint(2, (12,))
    loss = workload.loss(outputs, targets)
    loss.backward()
    assert outputs.grad is not None
    whole = workload.sums(outputs, targets)
    assert set(whole) >= {"loss", workload.metric}
    assert whole["loss"].item() / 12 == pytest.approx(loss.item(), rel=1e-6)
    parts = [workload.sums(outputs[a:b], targets[a:b]) for a, b in ((0, 5), (5, 12))]
    for key, total in whole.items():
        assert sum(part[key].item() for part in parts) == pytest.approx(total.item(), rel=1e-12)
