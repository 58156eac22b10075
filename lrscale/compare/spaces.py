"""How the trials of each arm were drawn, and from what: the sweep file's ``random``. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrscale.compare.load import NAMELESS

UNBOUNDED = ("normal", "lognormal")


@dataclass(frozen=True)
class Space:
    """What a random search draws from.

    Attributes:
        sampler: ``random``, independent draws, or ``sobol``.
        trials: how many the sweep file asks for.
        reach: dotted key to what it may be: both ends of an interval, or ``choice``'s values as a
            frozen set; None for a distribution without ends.
    """

    sampler: str
    trials: int
    reach: Mapping[str, tuple[float, float] | frozenset[Any] | None]


def drawn_spaces(
    manifests: Sequence[Mapping[str, Any]], joined: Mapping[str, Any]
) -> dict[str, Space]:
    """The space of every arm that has a random search, by the arm's name in ``joined``.

    Args:
        manifests, joined: the argument and the result of ``load.join_sweeps``.
    """
    entries = [(m.get("text") or {}, entry["arm"]) for m in manifests for entry in m["runs"]]
    spaces: dict[str, Space] = {}
    for (text, arm), entry in zip(entries, joined["runs"], strict=True):
        name = entry["arm"] or NAMELESS
        if name not in spaces and entry.get("trial") is not None:
            own = (text.get("arms") or {}).get(arm, {})
            section = own["random"] if "random" in own else text.get("random")
            if section:
                spaces[name] = _space(section)
    return spaces


def _space(section: Mapping[str, Any]) -> Space:
    reach = {key: _reach(spec) for key, spec in section["space"].items()}
    return Space(section.get("sampler", "random"), section["trials"], reach)


def _reach(spec: Mapping[str, Any]) -> tuple[float, float] | frozenset[Any] | None:
    """Of a distribution as docs/sweeps.md has them; checked when the sweep was read."""
    if "choice" in spec:
        return frozenset(map(str, spec["choice"]))
    [(kind, ends)] = spec.items()
    return None if kind in UNBOUNDED else (float(ends[0]), float(ends[1]))
