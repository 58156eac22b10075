"""One process's work on a run of gradient descent: what it measures, saves and leaves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lrscale.attempt import Attempt
from lrscale.control import Control, Stopped, StopReason
from lrscale.host import peak_resident_bytes
from lrscale.run_dir import RunDir
from lrscale.theory.epochs import measured_epochs, sharpness_epochs
from lrscale.theory.observables import measure
from lrscale.theory.provenance import digest, provenance, title
from lrscale.theory.setting import new_setting, restored, saved
from lrscale.workloads.gd import GDConfig

_ONE_OF = {
    "layer_norms": "layer_norm",
    "layer_frobenius": "layer_frobenius",
    "imbalances": "imbalance",
}


class GDAttempt:
    """A claim on a run, from the checkpoint that was found or from its start.

    Attributes:
        config: of the run.
        setting: where the run stands; its weights are those of the last ``record`` or ``save``.
        epoch: steps behind the checkpoint; 0 without one.
        recorded: the last epoch, up to ``epoch``, whose measurements are on record; −1 for none.
        seconds: in each phase, over all attempts up to the checkpoint and this one since.
        sharing: runs that had the same device at the same time, the most of all attempts.

    Raises:
        UserError: a problem, start or step size that cannot be had.
        Stopped: asked to while the start was being worked out; the run has been left.
        Superseded: by every method that writes, once a later attempt has claimed the run.
    """

    def __init__(self, config: GDConfig, run_dir: RunDir, control: Control, device: str) -> None:
        started = time.perf_counter()
        self.config = config
        self._attempt = Attempt(run_dir, control, config.checkpoint_minutes, self._recorded)
        self.epoch, self.recorded = self._attempt.step, self._attempt.evaluated
        self._note_progress(self.epoch)
        self._provenances = [provenance(device)]
        self.sharing = control.sharing
        self.seconds = {"startup": 0.0, "training": 0.0, "evaluation": 0.0, "checkpoint": 0.0}
        state = self._attempt.saved
        if state is None:
            self.setting = new_setting(config, lambda: self._look(control))
        else:
            self.setting = restored(config, state["setting"])
            self.seconds |= state["seconds"]
            earlier = [p for p in state["provenances"] if p != self._provenances[0]]
            self._provenances = earlier + self._provenances
            self.sharing = max(self.sharing, state.get("sharing", 1))
        self.seconds["startup"] += time.perf_counter() - started

    def _look(self, control: Control) -> None:
        self._attempt.heartbeat()
        if control.stop:
            self._attempt.leave(control.stop)
            raise Stopped(control.stop)

    def _recorded(self, records: Sequence[Mapping[str, Any]]) -> int:
        """The epoch up to which every measurement is on record."""
        measured = {r["step"] for r in records if r["kind"] == "epoch"}
        missing = [k for k in measured_epochs(self.config) if k not in measured]
        return missing[0] - 1 if missing else self.config.epochs

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
        self._attempt.record(
            {
                "kind": "epoch", "epoch": epoch, "step": epoch, **_flat(found),
                "seconds": self.seconds["training"], "evaluation_seconds": seconds,
            }
        )  # fmt: skip
        self._note_progress(epoch, found["loss"])

    def heartbeat(self, epoch: int) -> None:
        """Tell the store where the run is, unless it was told a moment ago."""
        self._note_progress(epoch)
        self._attempt.heartbeat()

    def save_due(self) -> bool:
        return self._attempt.save_due()

    def save(self, epoch: int) -> None:
        """A checkpoint of the setting."""
        started = time.perf_counter()
        state = {
            "setting": saved(self.setting),
            "seconds": self.seconds,
            "provenances": self._provenances,
            "sharing": self.sharing,
        }
        self._attempt.save(epoch, state)
        self.seconds["checkpoint"] += time.perf_counter() - started

    def leave(self, epoch: int, reason: StopReason) -> None:
        """The run stops here, to be resumed."""
        self._note_progress(epoch)
        self._attempt.leave(reason)

    def finish(self, state: Literal["done", "diverged"], epoch: int) -> None:
        """The run has ended: write the summary, with the last measurements."""
        setting, cause = self.setting, ""
        if state == "diverged":
            cause = f"not finite at epoch {epoch}: eta {setting.step_sizes.eta_max:.3g}"
            if setting.theory["bound"]:
                ratio = setting.step_sizes.eta_max / setting.theory["bound"]
                cause += f" is {ratio:.3g} times the theorem's bound"
        summary = {
            "seconds": self.seconds,
            "peak_memory_bytes": peak_resident_bytes(),
            "parameters": sum(w.size for w in setting.weights),
            "weights": digest(setting.weights),
            "data": title(self.config),
            "eta_max": setting.step_sizes.eta_max,
            "theory": setting.theory,
            **self._provenances[-1],
            "mixed": len(self._provenances) > 1,
            "sharing": self.sharing,
        }
        self._attempt.finish(state, epoch, epoch, summary, cause)

    def _note_progress(self, epoch: int, loss: float | None = None) -> None:
        self._attempt.progress(epoch, self.config.epochs, epoch, loss)


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
