from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from launch.common_ground import common_ground, holds, sentence

facts = st.fixed_dictionaries(
    {"a": st.integers(0, 3), "b": st.sampled_from(["x", "y"]), "c": st.floats(0, 1)},
    optional={"d": st.booleans()},
)


@given(st.lists(facts, min_size=1, max_size=6), st.lists(facts, max_size=12))
def test_every_condition_holds_for_all_that_failed_and_sets_others_apart(
    failed: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    left = others
    for condition in common_ground(failed, others):
        assert all(holds(condition, one) for one in failed)
        rest = [one for one in left if holds(condition, one)]
        assert 2 * len(rest) <= len(left)
        left = rest


@given(st.lists(facts, min_size=1, max_size=6), st.lists(facts, min_size=1, max_size=12))
def test_one_value_that_tells_them_apart_is_found(
    failed: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    failed = [one | {"batch_size": 1024} for one in failed]
    others = [one | {"batch_size": 128} for one in others]
    conditions = common_ground(failed, others)
    assert not any(all(holds(c, one) for c in conditions) for one in others)


def test_sentences() -> None:
    grid = [{"batch_size": b, "lr": lr, "seed": s}
            for b in (128, 1024) for lr in (0.1, 1.0, 3.0) for s in (0, 1)]  # fmt: skip
    large = [one for one in grid if one["batch_size"] == 1024]
    fast = [one for one in grid if one["lr"] >= 1.0]
    both = [one for one in fast if one["batch_size"] == 1024]

    def say(failed: list[dict[str, Any]]) -> str:
        return sentence(failed, [one for one in grid if one not in failed])

    assert say(large) == "all with batch_size 1024"
    assert say(fast) == "all with lr ≥ 1"
    assert say(both) == "all with batch_size 1024, lr ≥ 1"
    assert say(large[:-1]) == "all with batch_size 1024 (1 with the same did not fail)"
    assert say(grid) == ""
    assert say([grid[0], grid[-1]]) == ""  # nothing that few others have
