from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from lrscale.compare.comparable import obstacles, why_not

RUN = {
    "state": "done", "hardware": "cpu A", "versions": "torch 2.14", "world_size": 1, "threads": 1,
    "sharing": 1, "mixed": False,
}  # fmt: skip


def groups(**changes: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Runs that differ from ``RUN`` as told, by arm."""
    return {arm: pd.DataFrame([{**RUN, **one} for one in runs]) for arm, runs in changes.items()}


def test_like_runs_are_compared() -> None:
    assert obstacles(groups(adam=[{}, {}], sgd=[{}, {"state": "diverged"}])) == []
    assert obstacles({}) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"hardware": "gpu H100"},
            "arms ran on different hardware: cpu A (adam, sgd); gpu H100 (sgd)",
        ),
        (
            {"world_size": 2, "threads": 4},
            "arms ran on different hardware: cpu A (adam, sgd); "
            "cpu A, 2 processes, 4 threads (sgd)",
        ),
        (
            {"versions": "torch 2.15"},
            "arms ran with different software: torch 2.14 (adam, sgd); torch 2.15 (sgd)",
        ),
        ({"sharing": 2}, "runs shared their GPU with others: sgd 1 of 2"),
        (
            {"mixed": True},
            "runs were resumed on other hardware or software, or without deterministic kernels: "
            "sgd 1 of 2",
        ),
    ],
)
def test_why_times_cannot_be_compared(change: dict[str, Any], reason: str) -> None:
    found = groups(adam=[{}, {}], sgd=[{}, change])
    assert obstacles(found) == [reason]
    assert obstacles({arm: found[arm].iloc[::-1] for arm in ("sgd", "adam")}) == [reason]
    assert why_not(obstacles(found)) == f"No comparison of times: {reason}."


def test_runs_without_an_end_have_no_times() -> None:
    unknown = {**dict.fromkeys(RUN, float("nan")), "state": "missing"}
    assert obstacles(groups(adam=[{}, unknown], sgd=[{}])) == []
