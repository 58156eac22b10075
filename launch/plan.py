"""What to do about each run: what is wanted against what is known of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from launch.claims import Claim, let_go
from launch.submissions import Found
from lrscale.errors import UserError, did_you_mean
from lrscale.run_state import ENDED, State

Action = Literal["submit", "resume", "retry", "skip", "queued"]

RETRYABLE = ("failed", "diverged", "cancelled", "paused", "stale")


@dataclass(frozen=True)
class Decision:
    """What is to happen to a run.

    Attributes:
        action: ``submit`` a new run, ``resume`` one that was cut off, ``retry`` one that ended,
            ``skip``, or ``queued`` when somebody has it already.
        reason: for the person, a few words.
        fresh: the run starts at step 0 with the present code, what it left is forgotten;
            otherwise it goes on from its checkpoint in its own snapshot.
    """

    action: Action
    reason: str
    fresh: bool = False


def check_retry(names: Sequence[str]) -> frozenset[str]:
    """``--retry``'s values as a set. Raises UserError for others than RETRYABLE."""
    for name in names:
        if name not in RETRYABLE:
            raise UserError(f"--retry {name}: {did_you_mean(name, RETRYABLE)}")
    return frozenset(names)


def is_stale(found: Found, code: str) -> bool:
    """Whether the run was begun by code other than ``code``, as far as is recorded."""
    return found.state is not None and found.code not in ("", code)


def decide(
    found: Found,
    claim: Claim | None = None,
    code: str = "",
    retry: frozenset[str] = frozenset(),
    force: bool = False,
    cancelled: bool = False,
) -> Decision:
    """What to do about one run.

    Args:
        found: what the store holds of it.
        claim: who has it, if anyone. Nobody's run is ever taken away, not even by ``force``.
        code: digest of the present code (``Snapshot.code``).
        retry: which ended runs to try again: of RETRYABLE.
        force: start every run afresh.
        cancelled: somebody cancelled its job, which could not say so.
    """
    state = found.state
    if found.unreadable:
        return Decision("skip", f"cannot be read: {found.unreadable}")
    if claim and not let_go(state, claim):
        return Decision("queued", str(claim))
    if cancelled and not force and "cancelled" not in retry:
        return Decision("skip", "its job was cancelled")
    if state is None:
        return Decision("submit", "new", fresh=True)
    stale = is_stale(found, code)
    if force or (stale and "stale" in retry):
        return Decision("retry", "forced" if force else "other code made it", fresh=True)
    if state.state not in ENDED or (state.state == "paused" and "paused" in retry):
        return _go_on(found, state)
    if state.state == "done" or state.state not in retry:
        return Decision("skip", _ending(state) + (", by other code" if stale else ""))
    # After a change of the code the old attempt must not leak into the new one.
    fresh = state.state == "diverged" or stale or not found.has_checkpoint
    return Decision("retry", _ending(state), fresh)


def _go_on(found: Found, state: State) -> Decision:
    cut = "its process is gone" if state.state == "running" else state.state
    if not found.has_checkpoint:
        return Decision("submit", f"{cut} before its first checkpoint", fresh=True)
    return Decision("resume", f"{cut} at step {state.step}")


def _ending(state: State) -> str:
    return f"{state.state}: {state.cause}" if state.cause else state.state
