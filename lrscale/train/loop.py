"""The training loop."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from lrscale.attempt import Attempt, Record
from lrscale.control import Control, Outcome, Stopped
from lrscale.predictions import Predictions, pack
from lrscale.run_dir import RunDir
from lrscale.train.averaged import delivered_weights
from lrscale.train.clock import Clock
from lrscale.train.energy import Meter
from lrscale.train.evaluate import SPLITS, evaluate, predict
from lrscale.train.intake import Intake
from lrscale.train.provenance import digest, peak_memory_bytes, provenance
from lrscale.train.pulse import Pulse
from lrscale.train.runtime import Runtime
from lrscale.train.task import Task, build
from lrscale.train_config import TrainConfig


def run(config: TrainConfig, run_dir: RunDir, control: Control) -> Outcome:
    """Carry the run on from where it is to its end, or until ``control`` asks for a stop.

    Called by every rank. A run that was interrupted, however often, ends with the weights and
    metrics of one that was not, bit for bit (wall-clock apart), given the same hardware,
    libraries, number of ranks and threads, and on CUDA ``deterministic``.

    Raises:
        UserError: data, device or batch size that cannot be had.
        Superseded: another process has claimed the run.
        ForeignRanks: there are ranks among this run's that are not its own.
    """
    clock = Clock()
    with Runtime(config) as runtime:
        # Not by the run's path, which another node may mount elsewhere.
        runtime.check_ranks(f"run {run_dir.id}, job {control.job}, restart {control.requeues}")
        try:
            attempt = Attempt(
                run_dir,
                control,
                config.checkpoint_minutes,
                _recorded,
                writes=runtime.rank == 0,
                share=runtime.share,
            )
        except Stopped as stopped:
            return Outcome("stopped", 0, stopped.reason)
        task = build(config, runtime)
        return Trainer(config, task, attempt, control, clock).run()


class Diverged(Exception):
    """The loss at ``step`` is not finite."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class Trainer:
    """A task on its way from the attempt's step to its end.

    Steps are counted in optimizer steps taken: the loss of step s is that of the s-th batch,
    before the s-th update.
    """

    def __init__(
        self, config: TrainConfig, task: Task, attempt: Attempt, control: Control, clock: Clock
    ) -> None:
        self.config, self.task, self.attempt = config, task, attempt
        self.control, self.clock, self.runtime = control, clock, task.runtime
        self.step = self.saved_step = attempt.step
        self.evaluated = max(0, attempt.evaluated)  # there is nothing to evaluate at the start
        most = task.total_steps if control.max_steps is None else control.max_steps
        self.stop_at = self.step + most
        self.loss: float | None = None  # at the last look
        self.loss_sum = 0.0  # of the epoch under way, up to then
        self.evaluation_seconds = 0.0
        self.pending: list[tuple[Tensor, float]] = []  # loss and learning rate since then
        self.provenances = [provenance(self.runtime)]
        self.sharing = control.sharing  # the most of all attempts
        self.meter = Meter(self.runtime.device)
        self.pulse = Pulse(self.runtime, control, self.step)
        self.intake = Intake(task.source, self.runtime)
        self.predictions: Predictions | None = None  # of the test set, at the end
        if attempt.saved is not None:
            self._restore(attempt.saved)
        self._note_progress(self.step)

    def run(self) -> Outcome:
        try:
            return self._train_to_the_end()
        except Stopped as stopped:
            if stopped.reason != "max_steps":
                self.control.stop = stopped.reason  # also where only another rank was asked
            self._save()
            self.attempt.leave(stopped.reason)
            return Outcome("stopped", self.step, stopped.reason)

    def _train_to_the_end(self) -> Outcome:
        try:
            self._train()
            outcome = Outcome("done", self.step)
        except Diverged as diverged:
            outcome = Outcome("diverged", diverged.step)
        self._finish(outcome)
        return outcome

    def _train(self) -> None:
        """Every step and evaluation that is left."""
        per_epoch = self.task.order.steps_per_epoch
        while True:
            epoch, into_epoch = divmod(self.step, per_epoch)
            if self.evaluated < self.step == self._next_evaluation(self.step - 1):
                self._evaluate(epoch)
            if self.step == self.task.total_steps or self.task.watch.stop:
                with self._evaluating() as after_batch:
                    self.predictions = predict(self.task, after_batch)
                return
            self._train_epoch(epoch, into_epoch)

    def _train_epoch(self, epoch: int, first: int) -> None:
        """The steps of an epoch from its step ``first`` on."""
        task, runtime, pulse = self.task, self.runtime, self.pulse
        indices = task.order.batches(epoch, first)
        batches = task.source.batches("train", indices, (self.config.seed, epoch))
        self.clock.enter("training")
        for step in range(self.step, (epoch + 1) * task.order.steps_per_epoch):
            runtime.reseed(step)
            rate = task.set_rate(step)
            self.pending.append((task.take_step(batches, step), rate))
            self.step = step + 1
            if pulse.due(self.step):
                self._look_up()

    def _look_up(self) -> None:
        """Between two steps: record the losses since the last look; save or leave if need be."""
        self._record_steps()
        evaluation = self._next_evaluation(self.step - 1)
        ahead = self.evaluation_seconds if self.step == evaluation else 0.0
        limit = self._next_evaluation(self.step)
        if self.step < self.stop_at:
            limit = min(limit, self.stop_at)
        stop, save = self.pulse.agree(self.step, limit, self.attempt.save_due(ahead))
        if stop is None and self.stop_at <= self.step < self.task.total_steps:
            stop = "max_steps"
        if stop is not None:
            raise Stopped(stop)
        if save:
            self._save()
        self.attempt.heartbeat()

    def _next_evaluation(self, step: int) -> int:
        """The first step after ``step`` that is followed by an evaluation."""
        every = self.config.eval_every * self.task.order.steps_per_epoch
        return min((step // every + 1) * every, self.task.total_steps)

    def _record_steps(self) -> None:
        """Raises Diverged at the first loss that is not finite; what came after is dropped."""
        losses = self._mean_losses([loss for loss, _ in self.pending])
        rates = [rate for _, rate in self.pending]
        self.pending = []
        finite = list(itertools.takewhile(math.isfinite, losses))
        first = self.step - len(losses)
        for step, loss in enumerate(finite, first):
            # One by one, so that where the looks fall makes no difference.
            into_epoch = step % self.task.order.steps_per_epoch
            self.loss_sum = self.loss_sum + loss if into_epoch else loss
        kept = min(len(finite) + 1, len(losses))
        self.attempt.record(
            {"kind": "steps", "step": first + kept, "loss": losses[:kept], "lr": rates[:kept]}
        )
        self.loss = losses[kept - 1]
        self._note_progress(first + kept)
        if kept > len(finite):
            raise Diverged(first + kept)

    def _mean_losses(self, losses: list[Tensor]) -> list[float]:
        """Each step's loss over its global batch: the mean of the ranks' losses."""
        ranks = self.runtime.gather([self.meter.joules(), *torch.stack(losses).tolist()])
        self.meter.add_up([joules for joules, *_ in ranks])
        if len(ranks) == 1:
            return ranks[0][1:]
        _, *steps = zip(*ranks, strict=True)
        return [sum(step) / len(step) for step in steps]

    def _evaluate(self, epoch: int) -> None:
        """Evaluate after ``epoch`` epochs. Raises Stopped, to be repeated then, and Diverged."""
        started = time.perf_counter()
        with self._evaluating() as after_batch:
            metrics = evaluate(self.task, after_batch)
        self.evaluation_seconds = time.perf_counter() - started
        if not all(map(math.isfinite, metrics.values())):
            raise Diverged(self.step)
        monitored = self._monitor(self.step, metrics)
        training = self.clock.seconds()["training"]
        self.attempt.record(
            {
                "kind": "epoch",
                "epoch": epoch,
                "step": self.step,
                "minibatch_loss": self.loss_sum / self.task.order.steps_per_epoch,
                **metrics,
                **monitored,
                "seconds": training,
                "evaluation_seconds": self.evaluation_seconds,
                "data_wait": self.intake.wait(training, since_evaluation=True),
            }
        )
        self.evaluated = self.step
        self.pulse.rest(self.step)

    @contextmanager
    def _evaluating(self) -> Iterator[Callable[[], None]]:
        """Inside, the model is as it is delivered; what is given is to be called after every
        batch, and raises Stopped when it is time to leave."""
        pulse = Pulse(self.runtime, self.control)
        ticks = itertools.count(1)

        def after_batch() -> None:
            tick = next(ticks)
            if pulse.due(tick):
                stop, _ = pulse.agree(tick, limit=tick + 1_000)
                if stop is not None:
                    raise Stopped(stop)
                self.attempt.heartbeat()

        with self.clock.during("evaluation"), delivered_weights(self.task):
            yield after_batch

    def _monitor(self, step: int, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """Let the monitor act on an evaluation; what it did, for the record."""
        task, before = self.task, self.task.watch
        if task.monitor is None:
            return {}
        task.look_at(step, evaluation["val_loss"])
        acts = {"cut": task.watch.cut, "stop": task.watch.stop}
        done = [act for act, happened in acts.items() if happened]
        if done and task.best is not None:
            done.append(f"back to step {before.best_step}")
        return {"monitor": {"scale": task.watch.scale, "did": done}}

    # --- what outlives the process

    def _save(self) -> None:
        """A checkpoint of the step reached, unless there is one."""
        if self.step == self.saved_step:
            return
        with self.clock.during("checkpoint"):
            state = {
                "task": self.task.state(),
                "loss": self.loss,
                "loss_sum": self.loss_sum,
                "seconds": self.clock.seconds(),
                "provenances": self.provenances,
                "sharing": self.sharing,
                "joules": self.meter.total,
                "intake": self.intake.state(),
            }
            if self.attempt.save(self.step, state):
                self.saved_step = self.step

    def _restore(self, saved: dict[str, Any]) -> None:
        self.task.load_state(saved["task"])
        self.loss, self.loss_sum = saved["loss"], saved["loss_sum"]
        if self.attempt.evaluation is not None and self.task.watch.step < self.evaluated:
            self._monitor(self.evaluated, self.attempt.evaluation)  # killed before it was saved
        self.clock.carry(saved["seconds"])
        self.intake.load_state(saved["intake"])
        self.sharing = max(self.sharing, saved.get("sharing", 1))
        self.meter.carry(saved.get("joules"))
        here = self.provenances[0]
        self.provenances = [p for p in saved["provenances"] if p != here] + [here]

    def _finish(self, outcome: Outcome) -> None:
        """Provenance goes into the summary; mixed runs are no exact repeats."""
        done = outcome.state == "done"
        self.meter.add_up([joules for (joules,) in self.runtime.gather([self.meter.joules()])])
        seconds, damaged = self.clock.seconds(), self.intake.damaged()
        summary = {
            "seconds": seconds,
            "data_wait": self.intake.wait(seconds["training"]),
            **({"damaged_files": damaged} if damaged else {}),
            "peak_memory_bytes": peak_memory_bytes(self.runtime),
            "parameters": sum(p.numel() for p in self.task.model.parameters()),
            # Once a loss is not finite, the steps until it is noticed are nobody's.
            "weights": digest(self.task.model) if done else None,
            "data": self.task.source.title,
            "examples": {split: self.task.source.size(split) for split in SPLITS},
            "remarks": self.task.remarks,
            **self.provenances[-1],
            "mixed": len(self.provenances) > 1 or self._resumed_inexactly(),
            "sharing": self.sharing,
            "energy_joules": self.meter.total if self.sharing == 1 else None,
            **self._monitored(),
        }
        step, watch = outcome.step, self.task.watch
        epoch = step // self.task.order.steps_per_epoch
        back = done and watch.stop and self.task.best is not None
        evaluated = watch.best_step if back else None  # what it delivers was measured there
        answers = None if self.predictions is None else pack(self.predictions)
        state: Literal["done", "diverged"] = "done" if done else "diverged"
        self.attempt.finish(state, step, epoch, summary, evaluated=evaluated, predictions=answers)

    def _resumed_inexactly(self) -> bool:
        """Whether the same steps, taken again, may have come out different in the last digit."""
        on_gpu = self.runtime.device.type == "cuda"
        return self.attempt.saved is not None and on_gpu and not self.config.deterministic

    def _monitored(self) -> dict[str, Any]:
        """What the monitor has come to, where there is one."""
        if self.task.monitor is None:
            return {}
        watch = self.task.watch
        return {
            "monitor": {
                "scale": watch.scale,
                "best_val_loss": watch.best,
                "best_step": watch.best_step,
                "stopped_early": watch.stop and self.step < self.task.total_steps,
            }
        }

    def _note_progress(self, step: int) -> None:
        epoch = step // self.task.order.steps_per_epoch
        self.attempt.progress(step, self.task.total_steps, epoch, self.loss)


def _recorded(records: Sequence[Record]) -> int:
    """The step up to which every step's loss is on record."""
    recorded = 0
    for record in records:
        if record["kind"] == "steps":
            if record["step"] - len(record["loss"]) != recorded:
                break
            recorded = int(record["step"])
    return recorded
