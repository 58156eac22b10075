"""What a run has printed in its last attempt: all ranks, the one that failed first.

The run is named by the beginning of its id, or by its sweep and what sets it apart there.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from launch import terminal
from launch.claims import Claim, beats, let_go, live_claims
from launch.diagnose import failing_rank
from launch.run_logs import RunLogs, Tail, last_attempt, of_ranks
from launch.selection import add_arguments, configs, selection
from launch.survey import EXPLAINED, RunStatus, survey
from lrscale.errors import UserError, did_you_mean
from lrscale.run_state import FINISHED, State
from lrscale.store import Store

EXAMPLE = "python launch/logs.py quickstart --arm adam optimizer.lr=0.01 seed=1 -f"
NAMED = 5  # of several runs that are meant
LOOK_SECONDS = 0.5  # between two looks at the files of a run that is followed
QUEUE_SECONDS = 5.0  # between two questions to the queue


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for the user's mistakes. Only what runs have printed goes to stdout."""
    arguments = _parser().parse_intermixed_args(argv)
    store = terminal.run_store(arguments.runs)
    run = _chosen(store, arguments)
    files = _files(store, run)
    tails = {path: Tail(path) for path in files.values()}
    waits = _waits(store, run, store.run(run).state())
    _say(_headline(store, run), *_waiting(run, waits), *map(str, files.values()))
    whole = arguments.follow  # the rest of a line comes with what follows
    _show(store, run, {rank: tails[path].new_lines(whole) for rank, path in files.items()})
    if arguments.follow:
        _follow(store, run, tails, waits)
    elif not files:
        _say("it has printed nothing yet")
    return 0


# --- which run


def _chosen(store: Store, arguments: argparse.Namespace) -> str:
    asked, chosen = arguments.run, selection(arguments)
    if asked in store.sweep_names():
        manifest = store.read_sweep(asked)
        runs = chosen.of(survey(store, [manifest]).runs[asked], configs(store))
        if len(runs) != 1:
            raise UserError(f"{len(runs):,} runs of {asked} are meant, give one{_some(runs)}")
        return runs[0].id
    if not chosen.everything:
        known = did_you_mean(asked, store.sweep_names())
        raise UserError(f"a run of which sweep? There is none named '{asked}': {known}")
    return _with_id(store, asked)


def _some(runs: Sequence[RunStatus]) -> str:
    """The first of several runs, each with what sets it apart."""
    lines = [
        f"\n  {run.id[:8]}  {run.state}: "
        + " ".join([*([f"--arm {run.arm}"] if run.arm else []), *_values(run)])
        for run in runs[:NAMED]
    ]
    return (":" if runs else "") + "".join(lines) + ("\n  …" if len(runs) > NAMED else "")


def _values(run: RunStatus) -> list[str]:
    return [f"{key}={value}" for key, value in run.point.items()] + [f"seed={run.seed}"]


def _with_id(store: Store, prefix: str) -> str:
    """A run of a sweep, begun or not; or any other of the store."""
    manifests = map(store.read_sweep, store.sweep_names())
    ids = {entry["id"] for manifest in manifests for entry in manifest["runs"]}
    found = [run for run in ids if run.startswith(prefix)]
    if len(found) > 1:
        raise UserError(f"{len(found):,} runs have an id that starts with '{prefix}': give more")
    return found[0] if found else store.find_run(prefix)


# --- what it has printed


def _files(store: Store, run: str) -> Mapping[int, Path]:
    state, logs = store.run(run).state(), RunLogs(store)
    return logs.files(run, (state.job if state else "") or logs.element(run))


def _headline(store: Store, run: str) -> str:
    state = store.run(run).state()
    if state is None:
        return f"run {run[:8]}: has not begun"
    cause = f": {state.cause}" if state.cause else ""
    return f"run {run[:8]}: {state.state}, attempt {state.attempt}, step {state.step}{cause}"


def _waits(store: Store, run: str, state: State | None) -> Claim | None:
    """Who has a run that is not at work, to start it or to go on with it; None for nobody."""
    if (state is not None and state.state in FINISHED) or beats(state, store.clock()):
        return None
    claim = live_claims(store).runs.get(run)
    return None if claim is None or let_go(state, claim) else claim


def _waiting(run: str, claim: Claim | None) -> list[str]:
    return [] if claim is None else [f"run {run[:8]}: {claim}"]


def _show(store: Store, run: str, lines: Mapping[int, Sequence[str]]) -> None:
    texts = {rank: last_attempt("\n".join(some)) for rank, some in lines.items()}
    if len(texts) == 1:
        texts = of_ranks(*texts.values())
    state = store.run(run).state()
    if state is not None and state.state in EXPLAINED:
        failing = failing_rank(list(texts.values()))
        if failing is not None:
            first = list(texts)[failing]
            texts = {first: texts[first], **texts}
    for rank, text in texts.items():
        _print_lines(text.splitlines(), _label(rank, len(texts)))


def _label(rank: int, of: int) -> str:
    return f"rank {rank:>{len(str(of - 1))}} | " if of > 1 else ""


def _print_lines(lines: Sequence[str], label: str) -> None:
    for line in lines:
        print(f"{label}{line}")
    sys.stdout.flush()


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)


# --- following it


def _follow(store: Store, run: str, tails: dict[Path, Tail], waits: Claim | None) -> None:
    """Through attempts and jobs, until nobody has the run any more; or Ctrl-C."""
    files, attempt = _files(store, run), _attempt(store.run(run).state())
    looked, over = -QUEUE_SECONDS, False
    while True:
        state = store.run(run).state()
        began, alive = _attempt(state) != attempt, beats(state, store.clock())
        if began:
            attempt, waits = _attempt(state), None
            _say(_headline(store, run))
        if began or (not alive and time.monotonic() - looked >= QUEUE_SECONDS):
            claim = _waits(store, run, state)
            over = not alive and claim is None
            files, looked = _files(store, run), time.monotonic()
            if not alive and str(waits) != str(claim):
                waits = claim
                _say(*_waiting(run, claim))
        for rank, path in files.items():
            tail = tails.setdefault(path, Tail(path))
            _print_lines(tail.new_lines(whole=not over), _label(rank, len(files)))
        if over:
            if not began:
                _say(_headline(store, run))
            return
        time.sleep(LOOK_SECONDS)


def _attempt(state: State | None) -> int:
    return state.attempt if state is not None else 0


def _parser() -> argparse.ArgumentParser:
    parser = terminal.parser(__doc__ or "", EXAMPLE)
    parser.add_argument("run", help="the beginning of the run's id, or its sweep's name")
    add_arguments(parser)
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on as it prints, until the run has ended"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
