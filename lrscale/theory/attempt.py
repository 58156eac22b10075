"""One process's work on a run: what it leaves in the store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from lrscale import checkpoint
from lrscale.control import Control, StopReason
from lrscale.store import RunDir, RunState, State
from lrscale.theory.epochs import measured_epochs, sharpness_epochs
from lrscale.theory.observables import measure
from lrscale.theory.provenance import digest, peak_memory_bytes, provenance, title
from lrscale.theory.setting import new_setting, restored, saved
from lrscale.workloads.gd import GDConfig

SHARE = 0.02  # of the time, at most, goes into checkpoints

_LEFT_AS: dict[StopReason, RunState] = {
    "preempted": "preempted",
    "timeout": "timeout",
    "interrupted": "interrupted",
    "max_steps": "interrupted",
}
_ONE_OF = {
    "layer_norms": "layer_norm",
    "layer_frobenius": "layer_frobenius",
    "imbalances": "imbalance",
}
# Of a record, what is not a metric.
_BOOKKEEPING = {"kind", "epoch", "step", "seconds", "evaluation_seconds"}


class Attempt:
    """A claim on a run, from the checkpoint that was found or from its start.

    Attributes:
        config: of the run.
        setting: where the run stands; its weights are those of the last ``record`` or ``save``.
        epoch: steps behind the checkpoint; 0 without one.
        recorded: the last epoch, up to ``epoch``, whose measurements are on record; −1 for none.
        seconds: in each phase, over all attempts up to the checkpoint and this one since.

    Raises:
        UserError: a problem, start or step size that cannot be had.
        Superseded: by every method that writes, once a later attempt has claimed the run.
    """

    def __init__(self, config: GDConfig, run_dir: RunDir, control: Control, device: str) -> None:
        started = time.perf_counter()
        self.config, self._run_dir = config, run_dir
        self._heartbeat_seconds = control.heartbeat_seconds
        self._save_interval = 60 * config.checkpoint_minutes
        attempt = run_dir.begin()
        self.epoch, state = self._load()
        kept = [r["step"] for r in run_dir.metrics() if r["kind"] == "epoch"]
        self.recorded = max((k for k in kept if k <= self.epoch), default=-1)
        self._metrics = run_dir.open_metrics(attempt, resumed_from=self.epoch)
        self._state = replace(
            run_dir.state() or State("running", attempt),
            state="running", attempt=attempt, step=self.epoch, epoch=self.epoch,
            total_steps=config.epochs, started=time.time(), job=control.job, cause="",
        )  # fmt: skip
        run_dir.write_state(self._state)
        self._provenances = [provenance(device)]
        self.seconds = {"startup": 0.0, "training": 0.0, "evaluation": 0.0, "checkpoint": 0.0}
        if state is None:
            self.setting = new_setting(config)
        else:
            self.setting = restored(config, state["setting"])
            self.seconds |= state["seconds"]
            earlier = [p for p in state["provenances"] if p != self._provenances[0]]
            self._provenances = earlier + self._provenances
        self.seconds["startup"] += time.perf_counter() - started
        self._beat = self._saved_at = time.monotonic()

    def _load(self) -> tuple[int, dict[str, Any] | None]:
        """The newest checkpoint all of whose measurements are on record."""
        if not checkpoint.checkpoints(self._run_dir.path):  # loading one imports torch
            return 0, None
        recorded = {r["step"] for r in self._run_dir.metrics() if r["kind"] == "epoch"}
        missing = [k for k in measured_epochs(self.config) if k not in recorded]
        up_to = missing[0] - 1 if missing else self.config.epochs
        return checkpoint.load(self._run_dir.path, up_to=up_to) or (0, None)

    def record(self, epoch: int) -> None:
        """Measure the setting's weights and write it down."""
        started = time.perf_counter()
        config, setting = self.config, self.setting
        with_sharpness = epoch in sharpness_epochs(config)
        found = measure(setting.problem, setting.weights, with_sharpness)
        found["eta"] = setting.step_sizes.at(epoch)
        if setting.theory["weight_bound"] is not None:
            largest = max(found["layer_norms"]) ** 2
            found["bound_holds"] = largest <= setting.theory["weight_bound"] * (1 + 1e-12)
        seconds = time.perf_counter() - started
        self.seconds["evaluation"] += seconds
        self._metrics.write(
            {
                "kind": "epoch", "epoch": epoch, "step": epoch, **_flat(found),
                "seconds": self.seconds["training"], "evaluation_seconds": seconds,
            }
        )  # fmt: skip
        self._state = replace(self._state, loss=found["loss"])

    def heartbeat(self, epoch: int) -> None:
        """Tell the store where the run is, unless it was told a moment ago."""
        self._state = replace(self._state, step=epoch, epoch=epoch)
        if time.monotonic() - self._beat >= self._heartbeat_seconds:
            self._metrics.flush()
            self._run_dir.write_state(self._state)
            self._beat = time.monotonic()

    def save_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._save_interval

    def save(self, epoch: int) -> None:
        """A checkpoint of the setting. The next is not due before this one's cost is 2 %."""
        started = time.monotonic()
        self._metrics.flush()
        self._run_dir.check_current(self._state.attempt)
        state = {
            "setting": saved(self.setting),
            "seconds": self.seconds,
            "provenances": self._provenances,
        }
        checkpoint.save(self._run_dir.path, epoch, state)
        self._saved_at = time.monotonic()
        cost = self._saved_at - started
        self.seconds["checkpoint"] += cost
        self._save_interval = max(60 * self.config.checkpoint_minutes, cost / SHARE)

    def leave(self, epoch: int, reason: StopReason) -> None:
        """The run stops here, to be resumed."""
        self._metrics.close()
        state = _LEFT_AS[reason]
        self._run_dir.write_state(replace(self._state, state=state, step=epoch, epoch=epoch))

    def finish(self, state: Literal["done", "diverged"], epoch: int) -> None:
        """The run has ended: write the summary, with the last measurements."""
        setting, cause = self.setting, ""
        if state == "diverged":
            cause = f"not finite at epoch {epoch}: eta {setting.step_sizes.eta_max:.3g}"
            if setting.theory["bound"]:
                ratio = setting.step_sizes.eta_max / setting.theory["bound"]
                cause += f" is {ratio:.3g} times the theorem's bound"
        self._metrics.close()
        records = [r for r in self._run_dir.metrics() if r["kind"] == "epoch"]
        last = records[-1]
        summary = {
            "step": epoch,
            "epoch": epoch,
            "metrics": {name: value for name, value in last.items() if name not in _BOOKKEEPING},
            "attempts": self._state.attempt,
            "seconds": self.seconds,
            "peak_memory_bytes": peak_memory_bytes(),
            "parameters": sum(w.size for w in setting.weights),
            "weights": digest(setting.weights),
            "data": title(self.config),
            "eta_max": setting.step_sizes.eta_max,
            "theory": setting.theory,
            **self._provenances[-1],
            "mixed": len(self._provenances) > 1,
        }
        ended = replace(self._state, state=state, step=epoch, epoch=epoch, cause=cause)
        self._run_dir.finish(ended, summary)
        checkpoint.remove(self._run_dir.path)


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    """``layer_norms: [a, b]`` as ``layer_norm_1: a, layer_norm_2: b``: tables take numbers."""
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, list):
            one = _ONE_OF[name]
            flat |= {f"{one}_{n}": entry for n, entry in enumerate(value, 1)}
        else:
            flat[name] = value
    return flat
