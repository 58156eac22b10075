"""What a sweep file fixes in advance about its comparison: its key ``compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lrscale.config import decode_as
from lrscale.errors import ConfigError, Problem, did_you_mean


@dataclass(frozen=True)
class Protocol:
    """How arms are to be compared, said before there are results.

    Attributes:
        baseline: the arm that all others are tested against; no test when null.
        paired: runs of equal seeds are pairs: a t test of their differences.
        at: metrics are those of the ``last`` step, or of the evaluation at which ``validation``
            was best, chosen run by run.
        target: that which steps and time are measured to: the final validation metric of the
            ``baseline``'s median run (where no baseline is named the workload's target), or the
            ``workload``'s target.
    """

    baseline: str | None = None
    paired: bool = False
    at: Literal["last", "validation"] = "last"
    target: Literal["baseline", "workload"] = "baseline"


NOTHING_FIXED = Protocol()


def protocol_of(sweep: Mapping[str, Any]) -> Protocol:
    """The protocol of a sweep file's mapping, or of the ``text`` of a manifest.

    Raises:
        ConfigError: unknown keys, values of the wrong kind, or a baseline that is no arm.
    """
    protocol = decode_as(Protocol, sweep.get("compare") or {}, at="compare.")
    arms = sweep.get("arms") or {}
    if protocol.baseline is not None and protocol.baseline not in arms:
        hint = did_you_mean(protocol.baseline, arms) if arms else "the sweep has no arms"
        raise ConfigError(
            [Problem("compare.baseline", f"'{protocol.baseline}' is no arm of the sweep", hint)]
        )
    if protocol.paired and protocol.baseline is None:
        raise ConfigError(
            [Problem("compare.paired", "pairs need an arm to be compared with", "give a baseline")]
        )
    return protocol


def joint_protocol(manifests: Sequence[Mapping[str, Any]]) -> Protocol:
    """What several sweeps have fixed alike; nothing where they differ."""
    protocols = {protocol_of(manifest.get("text") or {}) for manifest in manifests}
    return protocols.pop() if len(protocols) == 1 else NOTHING_FIXED
