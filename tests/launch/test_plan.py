from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.claims import Claim
from launch.plan import RETRYABLE, check_retry, decide
from launch.submissions import Found
from lrscale.errors import UserError
from lrscale.run_state import ENDED, RunState, State

NONE: frozenset[str] = frozenset()
STATES = get_args(RunState)


def found(state: str | None, checkpoint: bool = True, code: str = "now", **fields: Any) -> Found:
    if state is None:
        return Found()
    record = {"snapshot": "s", "code": {"digest": code}}
    return Found(State(state, attempt=1, **fields), checkpoint, record)  # type: ignore[arg-type]


def claim(since: float = 100.0) -> Claim:
    return Claim("20260101-000000-abcdef", "sweep", "slurm", "12_3", "PENDING", since)


def test_a_new_run_is_submitted() -> None:
    decision = decide(found(None), code="now")
    assert (decision.action, decision.fresh) == ("submit", True)


@pytest.mark.parametrize("state", ["running", "preempted", "timeout", "interrupted"])
def test_a_run_that_was_cut_off_resumes_in_its_own_snapshot(state: str) -> None:
    decision = decide(found(state, code="then", step=7), code="now")
    assert (decision.action, decision.fresh) == ("resume", False)
    assert "step 7" in decision.reason


def test_without_a_checkpoint_there_is_nothing_to_resume() -> None:
    decision = decide(found("preempted", checkpoint=False), code="now")
    assert (decision.action, decision.fresh) == ("submit", True)


@pytest.mark.parametrize("state", sorted(ENDED))
def test_what_has_ended_is_skipped(state: str) -> None:
    assert decide(found(state), code="now").action == "skip"


def test_a_done_run_of_other_code_says_so_and_is_made_again_only_when_asked() -> None:
    old = found("done", code="then")
    assert decide(old, code="now").reason == "done, by other code"
    again = decide(old, code="now", retry=frozenset({"stale"}))
    assert (again.action, again.fresh) == ("retry", True)
    assert decide(found("done"), code="now", retry=frozenset({"stale"})).action == "skip"


def test_a_result_without_recorded_code_is_not_called_stale() -> None:
    assert decide(found("done", code=""), code="now").reason == "done"


def test_a_failed_run_goes_on_from_its_checkpoint_only_under_the_code_it_had() -> None:
    retry = frozenset({"failed"})
    assert not decide(found("failed"), code="now", retry=retry).fresh
    assert decide(found("failed", code="then"), code="now", retry=retry).fresh
    assert decide(found("failed", checkpoint=False), code="now", retry=retry).fresh


def test_the_reason_of_a_failure_is_shown() -> None:
    assert decide(found("failed", cause="CUDA OOM"), code="now").reason == "failed: CUDA OOM"


@given(
    st.sampled_from([None, *STATES]),
    st.booleans(),
    st.sets(st.sampled_from(RETRYABLE)),
    st.booleans(),
    st.sampled_from(["now", "then", ""]),
)
def test_a_claimed_run_is_never_handed_over_again(
    state: str | None, checkpoint: bool, retry: set[str], force: bool, code: str
) -> None:
    held = found(state, checkpoint, code, heard=50.0)
    assert decide(held, claim(since=100.0), "now", frozenset(retry), force).action == "queued"


def test_an_element_no_longer_has_a_run_that_ended_in_it() -> None:
    ended = found("failed", heard=200.0)
    assert decide(ended, claim(since=100.0), "now", frozenset({"failed"})).action == "retry"
    assert decide(ended, claim(since=100.0), "now").action == "skip"


@given(st.sampled_from(STATES), st.booleans(), st.sets(st.sampled_from(RETRYABLE)))
def test_force_starts_everything_afresh(state: str, checkpoint: bool, retry: set[str]) -> None:
    decision = decide(found(state, checkpoint), None, "now", frozenset(retry), force=True)
    assert (decision.action, decision.fresh) == ("retry", True)


def test_retry_touches_only_what_it_names() -> None:
    for state, name in itertools.product(STATES, RETRYABLE):
        plain = decide(found(state), code="now")
        asked = decide(found(state), code="now", retry=frozenset({name}))
        assert (asked != plain) == (state == name)


def test_retry_refuses_other_names_with_the_nearest() -> None:
    assert check_retry(["failed", "stale"]) == {"failed", "stale"}
    with pytest.raises(UserError, match="did you mean 'failed'"):
        check_retry(["fail"])
