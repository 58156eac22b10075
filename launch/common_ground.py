"""What failed runs have in common that the others have not: "37 runs, all with batch_size 1024".
Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]  # dotted key → value, of the keys that a sweep varies; arm and seed too

MOST = 3  # conditions in a sentence
Condition = tuple[str, str, Any]  # key, "=" or "≥" or "≤", value


def common_ground(failed: Sequence[Facts], others: Sequence[Facts]) -> list[Condition]:
    """The fewest conditions that hold for all ``failed`` and for as few ``others`` as possible.

    A condition is one value of a key, or a bound of a numeric one. Chosen greedily: each is the
    one that the fewest of the others left satisfy, and it must set at least half of them apart.
    """
    chosen: list[Condition] = []
    left = list(others)
    candidates = _conditions(failed)
    while left and len(chosen) < MOST:
        remaining = [(sum(holds(c, facts) for facts in left), c) for c in candidates]
        fewest, best = min(remaining, key=lambda pair: pair[0], default=(len(left), None))
        if best is None or fewest > len(left) / 2:
            break
        chosen.append(best)
        left = [facts for facts in left if holds(best, facts)]
    return chosen


def holds(condition: Condition, facts: Facts) -> bool:
    key, sign, value = condition
    if key not in facts:
        return False
    found = facts[key]
    if sign == "=":
        return bool(found == value)
    if not _is_number(found):
        return False
    return bool(found >= value if sign == "≥" else found <= value)


def sentence(failed: Sequence[Facts], others: Sequence[Facts]) -> str:
    """``all with batch_size 1024``, and of how many others that holds; empty for nothing."""
    chosen = common_ground(failed, others)
    if not chosen:
        return ""
    also = sum(all(holds(c, facts) for c in chosen) for facts in others)
    words = [f"{key} {'' if sign == '=' else sign + ' '}{_shown(v)}" for key, sign, v in chosen]
    of = f" ({also:,} with the same did not fail)" if also else ""
    return f"{'all ' if len(failed) > 1 else ''}with {', '.join(words)}{of}"


def _conditions(failed: Sequence[Facts]) -> list[Condition]:
    """All that hold for every one of ``failed``, exact values first."""
    keys = [key for key in failed[0] if all(key in facts for facts in failed)] if failed else []
    exact: list[Condition] = []
    bounds: list[Condition] = []
    for key in keys:
        values = [facts[key] for facts in failed]
        if all(value == values[0] for value in values):
            exact.append((key, "=", values[0]))
        elif key != "seed" and all(map(_is_number, values)):
            bounds += [(key, "≥", min(values)), (key, "≤", max(values))]
    return exact + bounds


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
