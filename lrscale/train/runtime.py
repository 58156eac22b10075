"""The process among its ranks: device, precision, averaging of gradients, random state.

Accelerate reads the environment that srun (through the job), ``torchrun`` or ``accelerate
launch`` set up. Only what gains from it is handed to it: it would step a prepared scheduler once
a rank, shuffle a prepared loader by a state that cannot be resumed, and slow a prepared
optimizer down.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar, cast

import torch
import torch._dynamo  # the first optimizer does, for 1.5 s: once for all runs forked from here
import torch.distributed.tensor  # likewise, Accelerate with the first model
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from lrscale.control import ForeignRanks
from lrscale.errors import UserError
from lrscale.train.order import STEP, derive, nth
from lrscale.train_config import TrainConfig

T = TypeVar("T")


class Runtime:
    """One process of a run; leaves the process group at the end of the ``with`` block.

    Attributes:
        rank, world: this process and their number.
        device: where it computes.
        scaler: of the loss under fp16; elsewhere None.

    Raises:
        UserError: the device or precision asked for is not there, or GPUs were allotted that
            torch cannot see.
    """

    def __init__(self, config: TrainConfig) -> None:
        use_cpu = _on_cpu(config)
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        if config.deterministic != torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(config.deterministic)
        if not use_cpu:
            _count_visible_gpus_only()
        self._accelerator = Accelerator(
            cpu=use_cpu,
            mixed_precision=config.precision,
            kwargs_handlers=[
                DistributedDataParallelKwargs(
                    broadcast_buffers=False,  # share_buffers does, before an evaluation
                    gradient_as_bucket_view=True,
                )
            ],
        )
        self.rank: int = self._accelerator.process_index
        self.world: int = self._accelerator.num_processes
        self.device: torch.device = self._accelerator.device
        self.scaler: torch.amp.GradScaler | None = self._accelerator.scaler
        self._step_seed = derive(config.seed, STEP, self.rank)
        self._generator = torch.default_generator
        if self.device.type == "cuda":
            index = torch.cuda.current_device()  # which also makes the generators
            self._generator = torch.cuda.default_generators[index]

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._accelerator.end_training()
        # Accelerate's state is global: the next run of this process may want another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    # --- the model and its gradients

    def prepare(self, model: nn.Module) -> nn.Module:
        """``model`` moved to the device, autocast and wrapped so that ranks average gradients.

        ``model`` itself stays usable beside the wrapper, without the averaging.
        """
        # What Accelerate calls evaluation mode is autocast without the wrapper.
        alone = self.world == 1
        with warnings.catch_warnings():
            # torch 2.14 calls broadcast_buffers forward_sync_buffers; Accelerate does not yet.
            warnings.simplefilter("ignore", FutureWarning)
            return cast(nn.Module, self._accelerator.prepare_model(model, evaluation_mode=alone))

    def settle(self, model: nn.Module, loss: Callable[[], Tensor]) -> None:
        """One backward pass that leaves ``model`` as it was, after which gradients are averaged
        in the same order for good.

        DistributedDataParallel lays its buckets anew after the first backward pass of a process,
        which changes the order of summation over four ranks and more: a run that was resumed
        would differ from one that was not in the last digit.
        """
        if self.world == 1:
            return
        buffers = [buffer.clone() for buffer in model.buffers()]
        torch.autograd.backward(loss())
        model.zero_grad()
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)

    def prepare_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Wrapped where fp16 scales the loss; elsewhere as it is."""
        if self.scaler is None:
            return optimizer
        return cast(Optimizer, self._accelerator.prepare_optimizer(optimizer))

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients to the parameters' own, averaged over ranks."""
        torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))

    def clip(self, model: nn.Module, norm: float) -> None:
        """Scale the gradients down to a global norm of at most ``norm``."""
        self._accelerator.clip_grad_norm_(model.parameters(), norm)

    def not_averaging(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside, gradients are not averaged: the first ``backward`` after it does for all."""
        return cast("AbstractContextManager[None]", self._accelerator.no_sync(model))

    # --- randomness

    def reseed(self, step: int) -> None:
        """What the step draws on the device (dropout) is a function of (seed, step, rank)."""
        self._generator.manual_seed(nth(self._step_seed, step))

    # --- the other ranks

    def gather(self, values: list[float]) -> list[list[float]]:
        """Every rank's ``values``, equally many, in the order of ranks. Collective.

        Not an all-reduce, whose order of summation depends on the number of values.
        """
        if self.world == 1:
            return [values]
        mine = torch.tensor(values, dtype=torch.float64, device=self.device)
        ranks = [torch.empty_like(mine) for _ in range(self.world)]
        distributed.all_gather(ranks, mine)
        return cast("list[list[float]]", torch.stack(ranks).tolist())

    def share(self, value: T) -> T:
        """Rank 0's ``value``. Collective."""
        if self.world == 1:
            return value
        return cast(T, broadcast_object_list([value])[0])

    def check_ranks(self, start: str) -> None:
        """All ranks must be of the same ``start`` of the same run. Collective.

        Raises:
            ForeignRanks: they are not.
        """
        starts = sorted(self.union({start}))
        if len(starts) > 1:
            raise ForeignRanks(f"ranks of different runs have found each other: {starts}")

    def union(self, values: set[str]) -> set[str]:
        """Every rank's ``values`` together. Collective."""
        if self.world == 1:
            return values
        return set(gather_object(sorted(values)))

    def share_buffers(self, model: nn.Module) -> None:
        """Rank 0's buffers to all, so that all evaluate the same model. Collective.

        Each rank's BatchNorm has averaged its own micro-batches; checkpoints hold rank 0's.
        """
        if self.world > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, src=0)


def _on_cpu(config: TrainConfig) -> bool:
    """Whether to compute on the CPU. Raises UserError."""
    visible = torch.cuda.is_available()
    allotted = _allotment()
    if config.device == "auto" and allotted and not visible:
        raise UserError(
            f"device: GPUs were allotted to this process ({allotted}) but torch "
            f"{torch.__version__} sees none; mend the driver or the installation, or set "
            "device: cpu to train without them"
        )
    if config.device == "cuda" and not visible:
        raise UserError("device: cuda was asked for, but torch sees no GPU; set device: cpu")
    use_cpu = config.device == "cpu" or not visible
    if use_cpu and config.precision == "fp16":
        raise UserError("precision: fp16 needs a GPU; on the CPU use bf16 or no")
    return use_cpu


def _allotment() -> str | None:
    """What in the environment says that this process was given GPUs."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS"):
        value = os.environ.get(name, "")
        if value not in ("", "-1", "NoDevFiles"):
            return f"{name}={value}"
    return None


def _count_visible_gpus_only() -> None:
    """Where each task sees its own GPU only, that GPU is number 0 whatever the local rank."""
    rank = os.environ.get("LOCAL_RANK")
    if rank is not None:
        os.environ["LOCAL_RANK"] = str(int(rank) % torch.cuda.device_count())
