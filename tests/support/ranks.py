"""Runs of one or more ranks, in processes of their own.

They are forked from a server that has imported torch once, and find the environment that srun
or torchrun would give them.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lrscale.config import decode, encode, identity
from lrscale.control import Control, Outcome
from lrscale.run_dir import RunDir
from lrscale.store import Store
from lrscale.train import run

_FORKED = multiprocessing.get_context("forkserver")
# Not this module: the server of older Pythons does not see the path that leads to it.
_FORKED.set_forkserver_preload(
    ["torch._dynamo", "torch.distributed.tensor", "accelerate", "torchvision.transforms.v2"]
)

Prepare = Callable[[], None]


@dataclass
class Runs:
    """A store of the test's own, and runs in it."""

    store: Store

    def new(self, raw: dict[str, Any], name: str = "") -> RunDir:
        """A run of a configuration; ``name`` sets runs of the same configuration apart."""
        config = decode(raw)
        run_dir = self.store.run(identity(config) + name)
        run_dir.create({"config": encode(config)})
        return run_dir

    def here(self, run_dir: RunDir, cuts: Sequence[int] = (), **control: Any) -> list[Outcome]:
        """Carry a run out in this process; see ``finish``."""
        return [self.once(run_dir, max_steps=cut, **control) for cut in [*cuts, None]]

    def once(self, run_dir: RunDir, **control: Any) -> Outcome:
        """One attempt in this process."""
        return run(decode(run_dir.record()["config"]), run_dir, Control(**control))

    def start(
        self,
        run_dir: RunDir,
        world: int = 1,
        cuts: Sequence[int] = (),
        prepare: Prepare | None = None,
        to_end: bool = True,
        **control: Any,
    ) -> Ranks:
        """Start every rank; see ``finish``. Not ``to_end``: leave it at the last cut."""
        stops = [*cuts, None] if to_end else [*cuts]
        ports = [free_port() for _ in stops]
        what = (ports, stops, prepare, control)
        return Ranks([_started(run_dir.path, rank, world, *what) for rank in range(world)])

    def start_rank(
        self, run_dir: RunDir, rank: int, world: int, port: int, **control: Any
    ) -> Ranks:
        """Start one rank alone, which meets the others at a port."""
        return Ranks([_started(run_dir.path, rank, world, [port], [None], None, control)])

    def finish(self, run_dir: RunDir, world: int = 1, **how: Any) -> list[Outcome]:
        """Carry a run out; rank 0's outcomes, one for each time that it was cut and resumed.

        ``cuts``: steps after which each process but the last stops; ``prepare``: called first in
        each rank; all else goes into the rank's Control.
        """
        return self.start(run_dir, world, **how).outcomes()


@dataclass
class Ranks:
    """Processes under way."""

    ranks: list[tuple[Any, Any]]

    @property
    def pids(self) -> list[int]:
        return [process.pid for process, _ in self.ranks]

    def outcomes(self) -> list[Outcome]:
        """Wait for all; rank 0's outcomes. Raises what a rank raised."""
        answers = []
        for process, receiver in self.ranks:
            try:
                answers.append(receiver.recv() if receiver.poll(120) else "silent for 120 s")
            except EOFError:
                answers.append("died")
            process.join(10)
            process.kill()
        for answer in answers:
            if isinstance(answer, str):
                raise RankFailed(answer)
        return answers[0]


def results(run_dir: RunDir) -> dict[str, Any]:
    """All that must not depend on interruptions: everything but time, place and attempts."""
    summary, state, records = run_dir.summary(), run_dir.state(), run_dir.metrics()
    assert summary is not None
    assert state is not None
    steps = [record for record in records if record["kind"] == "steps"]
    bookkeeping = ("kind", "seconds", "evaluation_seconds", "data_wait")
    return {
        **{key: summary[key] for key in ("step", "epoch", "metrics", "weights", "parameters")},
        "state": (state.state, state.step, state.total_steps, state.epoch, state.loss),
        "losses": [loss for record in steps for loss in record["loss"]],
        "rates": [rate for record in steps for rate in record["lr"]],
        "last": [record["step"] for record in steps][-1:],
        "epochs": [
            {key: value for key, value in record.items() if key not in bookkeeping}
            for record in records
            if record["kind"] == "epoch"
        ],
    }


class RankFailed(Exception):
    """With the rank's traceback."""


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    store = Store(tmp_path / "runs")
    store.create()
    return Runs(store)


def in_float64() -> None:
    """For ``prepare``: weights, data and losses in double precision."""
    import torch

    from lrscale.data.source import InMemory

    single = InMemory.batches

    def double(*args: Any, **kwargs: Any) -> Any:
        return ((inputs.double(), targets) for inputs, targets in single(*args, **kwargs))

    torch.set_default_dtype(torch.float64)
    InMemory.batches = double  # type: ignore[method-assign]


def _started(*what: Any) -> tuple[Any, Any]:
    """A process that is at it, as ``_rank`` has it, and what will hold its answer."""
    receiver, sender = _FORKED.Pipe(duplex=False)
    process = _FORKED.Process(target=_rank, args=(*what, sender))
    process.start()
    sender.close()
    return process, receiver


def _rank(
    path: Path,
    rank: int,
    world: int,
    ports: list[int],
    stops: list[int | None],
    prepare: Prepare | None,
    control: dict[str, Any],
    answer: Any,
) -> None:
    try:
        if prepare is not None:
            prepare()
        run_dir = RunDir(path)
        config = decode(run_dir.record()["config"])
        outcomes = []
        for port, stop in zip(ports, stops, strict=True):
            if world > 1:
                os.environ.update(
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    WORLD_SIZE=str(world),
                    LOCAL_WORLD_SIZE=str(world),
                    MASTER_ADDR="127.0.0.1",
                    MASTER_PORT=str(port),
                )
            asked = Control(max_steps=stop, **control)
            asked.listen()
            outcomes.append(run(config, run_dir, asked))
            if outcomes[-1].reason not in (None, "max_steps"):
                break
        answer.send(outcomes)
    except BaseException:
        answer.send(traceback.format_exc())


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
