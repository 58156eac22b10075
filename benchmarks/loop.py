"""What the training loop costs beside a bare PyTorch loop.

    python benchmarks/loop.py [--json] [--repeats 40]

A perceptron 64-32-10 on scikit-learn's digits, batch 32, SGD with momentum, one thread: so small
a network that whatever surrounds the arithmetic shows. All loops train the same model
on the same arrays in memory; ours records every loss and learning rate, reseeds the generator
and listens for a stop at each step besides. Evaluation and start-up are left out everywhere.
Repeats are short and interleaved, and the median of the ratios of neighbours counts, so that a
machine busy with other things disturbs both sides alike. Beside it: Accelerate as its
documentation uses it (everything prepared), and Lightning where it is installed.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from operator import truediv
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from benchmarks._common import Result, carried_out, parser, report
from lrscale.config import decode
from lrscale.train_config import TrainConfig

TARGET = 1.10
BATCH = 32
CPU = torch.device("cpu")


def configuration(epochs: int) -> TrainConfig:
    config: TrainConfig = decode(
        {
            "workload": "digits_mlp",
            "epochs": epochs,
            "eval_every": epochs,
            "batch_size": BATCH,
            "device": "cpu",
        }
    )
    return config


def arrays() -> tuple[Tensor, Tensor]:
    """The training split, cut to whole batches: inputs (n, 1, 8, 8), targets (n,)."""
    source = configuration(1).data.open(CPU)
    everything = [torch.arange(source.size("train") // BATCH * BATCH)]
    return next(source.batches("train", everything, None))


def model_and_optimizer() -> tuple[nn.Module, torch.optim.Optimizer]:
    config = configuration(1)
    model = config.model.build((1, 8, 8), 10)
    return model, config.optimizer.build(model)


def ours(epochs: int) -> float:
    """Seconds of training, as the run itself accounts for them."""
    config = configuration(epochs)
    with carried_out(config) as run_dir:
        summary = run_dir.summary()
    assert summary is not None
    return float(summary["seconds"]["training"])


def bare(inputs: Tensor, targets: Tensor, epochs: int) -> float:
    model, optimizer = model_and_optimizer()
    start = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(inputs))
        for first in range(0, len(inputs), BATCH):
            rows = order[first : first + BATCH]
            optimizer.zero_grad()
            outputs = model(inputs.index_select(0, rows))
            loss = cross_entropy(outputs, targets.index_select(0, rows))
            loss.backward()
            optimizer.step()
    return time.perf_counter() - start


def in_accelerate(inputs: Tensor, targets: Tensor, epochs: int) -> float:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    schedule = torch.optim.lr_scheduler.ConstantLR
    model, optimizer = model_and_optimizer()
    loader: Any = DataLoader(TensorDataset(inputs, targets), batch_size=BATCH, shuffle=True)
    model, optimizer, loader, scheduler = accelerator.prepare(
        model, optimizer, loader, schedule(optimizer, factor=1.0)
    )
    start = time.perf_counter()
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(cross_entropy(model(x), y))
            optimizer.step()
            scheduler.step()
    return time.perf_counter() - start


def in_lightning(inputs: Tensor, targets: Tensor, epochs: int) -> float:
    from lightning import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.optimizer = model_and_optimizer()

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            loss = cross_entropy(self.model(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return self.optimizer

        def on_train_start(self) -> None:
            self.start = time.perf_counter()

        def on_train_end(self) -> None:
            self.seconds = time.perf_counter() - self.start

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module = Module()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=epochs,
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        ).fit(module, DataLoader(TensorDataset(inputs, targets), batch_size=BATCH, shuffle=True))
    return module.seconds


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--repeats", type=int, default=40, help="of each loop")
    arguments.add_argument("--epochs", type=int, default=20, help="per repeat; of 37 steps")
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    inputs, targets = arrays()
    epochs = chosen.epochs
    loops: dict[str, Callable[[], float]] = {
        "bare PyTorch": lambda: bare(inputs, targets, epochs),
        "lrscale": lambda: ours(epochs),
        "Accelerate, everything prepared": lambda: in_accelerate(inputs, targets, epochs),
    }
    skipped = {}
    try:
        import lightning  # noqa: F401

        loops["Lightning"] = lambda: in_lightning(inputs, targets, epochs)
    except ImportError:
        skipped["Lightning"] = "not installed: pip install lightning"
    steps = epochs * (len(inputs) // BATCH)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for repeat in range(-1, chosen.repeats):
        for name, loop in loops.items():
            took = loop()
            if repeat >= 0:  # the first round warms up
                seconds[name].append(took)
    micros = {name: statistics.median(took) / steps * 1e6 for name, took in seconds.items()}
    ratios = {
        name: statistics.median(map(truediv, took, seconds["bare PyTorch"]))
        for name, took in seconds.items()
        if name != "bare PyTorch"
    }
    details: dict[str, Any] = {f"{name}, µs a step": value for name, value in micros.items()}
    details |= {f"{name} / bare": value for name, value in ratios.items()}
    result = Result("loop / bare loop", ratios["lrscale"], TARGET, "×", details)
    result.details |= skipped
    report([result], chosen.json)


if __name__ == "__main__":
    main()
