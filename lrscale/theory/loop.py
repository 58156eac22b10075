"""Runs of gradient descent: one on a core, or many at once on a GPU."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lrscale.control import Control, Outcome, Stopped, StopReason
from lrscale.errors import UserError
from lrscale.run_dir import RunDir
from lrscale.theory.attempt import GDAttempt
from lrscale.theory.engine import BLOCK, GradientDescent, StepSizes, engine_coordinates
from lrscale.theory.epochs import measured_epochs
from lrscale.theory.problem import make_problem
from lrscale.theory.starts import make_start
from lrscale.workloads.gd import GDConfig

LOOK_SECONDS = 0.25  # between two looks at the outside: a stop is heeded about that soon


def run(config: GDConfig, run_dir: RunDir, control: Control) -> Outcome:
    """Carry the run on from where it is to its end, or until ``control`` asks for a stop.

    A run that was interrupted, however often, ends with the weights and measurements of one
    that was not, bit for bit (wall-clock apart), given the same hardware and libraries.

    Raises:
        UserError: a problem, start, step size or device that cannot be had.
        Superseded: another process has claimed the run.
    """
    (outcome,) = run_together([config], [run_dir], control)
    return outcome


def prepare(config: GDConfig) -> None:
    """Load the compiled steps: processes forked from this one need not, half a second each."""
    with threadpool_limits(1):
        problem, weights = engine_coordinates(make_problem(config), make_start(config))
        GradientDescent(problem, weights, StepSizes(0.0), config.dtype).advance(1)


def run_together(
    configs: Sequence[GDConfig], run_dirs: Sequence[RunDir], control: Control
) -> list[Outcome]:
    """``run`` for several runs: on a GPU those of one shape at once, else one after another.

    Runs go together that differ in nothing but seed, start, step size and noise, and stand at
    the same epoch.
    """
    device = _device(configs)
    groups: dict[tuple[Any, ...], list[int]] = {}
    outcomes: dict[int, Outcome] = {}
    with threadpool_limits(1):  # the matrices are small: more threads would only get in the way
        attempts: list[GDAttempt] = []
        try:
            for config, run_dir in zip(configs, run_dirs, strict=True):
                attempts.append(GDAttempt(config, run_dir, control, device))
        except Stopped as stopped:
            for attempt in attempts:
                attempt.leave(attempt.epoch, stopped.reason)
            return [Outcome("stopped", 0, stopped.reason) for _ in configs]
        for number, attempt in enumerate(attempts):
            alone = number if device == "cpu" else None
            groups.setdefault((alone, *_shape(attempt)), []).append(number)
        for numbers in groups.values():
            group = [attempts[number] for number in numbers]
            outcomes |= zip(
                numbers, carry_on(group, _descents(group, device), control), strict=True
            )
    return [outcomes[number] for number in range(len(attempts))]


class Descents(Protocol):
    """Some runs that step together: ``BatchedGradientDescent``, or ``Solo``."""

    @property
    def epoch(self) -> int: ...

    @property
    def diverged(self) -> list[int | None]: ...

    @property
    def weights(self) -> list[list[NDArray[Any]]]: ...

    def advance(self, steps: int) -> None: ...

    def at_floor(self) -> list[bool]: ...


class Solo:
    """One ``GradientDescent`` as ``Descents``."""

    def __init__(self, descent: GradientDescent) -> None:
        self._descent = descent
        self.advance = descent.advance

    @property
    def epoch(self) -> int:
        return self._descent.epoch

    @property
    def diverged(self) -> list[int | None]:
        return [self._descent.diverged]

    @property
    def weights(self) -> list[list[NDArray[Any]]]:
        return [self._descent.weights]

    def at_floor(self) -> list[bool]:
        return [self._descent.at_floor()]


def carry_on(attempts: Sequence[GDAttempt], descents: Descents, control: Control) -> list[Outcome]:
    """Step, measure and save until every run has ended or ``control`` asks for a stop."""
    group = _Group(attempts, descents)
    group.start()
    config = attempts[0].config
    measured = measured_epochs(config)
    stop_at = min(config.epochs, descents.epoch + (control.max_steps or config.epochs))
    stride = 10
    while True:
        now = descents.epoch
        reason: StopReason | None = "max_steps" if now >= stop_at else None
        try:
            group.look(now, config, now in measured)
        except Stopped as stopped:  # by a run that waited for room to write its results
            reason = stopped.reason
        if not group.running:
            return group.outcomes()
        reason = control.stop or reason
        if reason is not None:
            group.leave(now, reason)
            return group.outcomes()
        group.keep(now)
        ends = [measured[bisect_right(measured, now)], stop_at, now + stride]
        if config.stop_at_floor:  # looked for at the same epochs however the run is cut
            ends.append((now // BLOCK + 1) * BLOCK)
        steps = min(ends) - now
        seconds = group.advance(steps)
        stride = max(1, min(2 * stride, int(LOOK_SECONDS * steps / seconds)))


class _Group:
    """The runs of one ``Descents``, each with its own record."""

    def __init__(self, attempts: Sequence[GDAttempt], descents: Descents) -> None:
        self._attempts, self._descents = attempts, descents
        self._outcomes: dict[int, Outcome] = {}

    @property
    def running(self) -> list[int]:
        return [n for n in range(len(self._attempts)) if n not in self._outcomes]

    def outcomes(self) -> list[Outcome]:
        return [self._outcomes[n] for n in range(len(self._attempts))]

    def start(self) -> None:
        """A step that is undone: compilation is no part of the training."""
        for attempt in self._attempts:
            attempt.sharing = max(attempt.sharing, len(self._attempts))
        started = time.perf_counter()
        self._descents.at_floor()
        for attempt in self._attempts:
            attempt.seconds["startup"] += time.perf_counter() - started

    def advance(self, steps: int) -> float:
        """Take steps; the seconds that took, of which each run is charged its share."""
        started = time.perf_counter()
        self._descents.advance(steps)
        seconds = time.perf_counter() - started
        for n in self.running:
            self._attempts[n].seconds["training"] += seconds / len(self.running)
        return seconds

    def look(self, epoch: int, config: GDConfig, due: bool) -> None:
        """Measure if that is ``due``; end the runs that have diverged or have nothing to do."""
        last = epoch == config.epochs
        at_block = config.stop_at_floor and epoch > 0 and epoch % BLOCK == 0
        floor = self._descents.at_floor() if at_block and not last else None
        self._read_weights()
        for n in self.running:
            attempt, diverged = self._attempts[n], self._descents.diverged[n]
            if diverged is not None:
                attempt.finish("diverged", diverged)
                self._outcomes[n] = Outcome("diverged", diverged)
                continue
            still = floor is not None and floor[n]
            if (due or still) and epoch > attempt.recorded:
                attempt.record(epoch)
            if last or still:
                attempt.finish("done", epoch)
                self._outcomes[n] = Outcome("done", epoch)

    def keep(self, epoch: int) -> None:
        """Heartbeats, and checkpoints where they are due."""
        for n in self.running:
            if self._attempts[n].save_due():
                self._attempts[n].save(epoch)
            self._attempts[n].heartbeat(epoch)

    def leave(self, epoch: int, reason: StopReason) -> None:
        for n in self.running:
            self._attempts[n].save(epoch)
            self._attempts[n].leave(epoch, reason)
            self._outcomes[n] = Outcome("stopped", epoch, reason)

    def _read_weights(self) -> None:
        for attempt, weights in zip(self._attempts, self._descents.weights, strict=True):
            attempt.setting.weights = weights


def _shape(attempt: GDAttempt) -> tuple[Any, ...]:
    """Runs that agree in this can step together and are measured at the same epochs."""
    config, problem = attempt.config, attempt.setting.problem
    return (
        attempt.epoch, config.epochs, tuple(measured_epochs(config)), config.stop_at_floor,
        config.dtype, problem.widths, problem.activations, problem.inputs.shape,
    )  # fmt: skip


def _descents(attempts: Sequence[GDAttempt], device: str) -> Descents:
    settings, config = [a.setting for a in attempts], attempts[0].config
    if device == "cpu":
        (setting,) = settings
        return Solo(
            GradientDescent(
                setting.problem, setting.weights, setting.step_sizes, config.dtype,
                attempts[0].epoch,
            )
        )  # fmt: skip
    import torch

    from lrscale.theory.batched import BatchedGradientDescent

    return BatchedGradientDescent(
        [s.problem for s in settings],
        [s.weights for s in settings],
        [s.step_sizes for s in settings],
        getattr(torch, config.dtype),
        device,
        attempts[0].epoch,
    )


def _device(configs: Sequence[GDConfig]) -> str:
    """``cuda`` where that is asked for, or where several runs can share a GPU."""
    wishes = {config.device for config in configs}
    if "cuda" not in wishes and ("cpu" in wishes or len(configs) == 1):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if "cuda" in wishes:
        raise UserError("device: cuda was asked for, but torch sees no GPU; set device: cpu")
    return "cpu"
