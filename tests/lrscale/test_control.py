"""Signals ask for a stop, and nothing else happens in their handlers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from lrscale.control import Control, ignore_signals

SIGNALS = {
    signal.SIGTERM: "preempted",
    signal.SIGUSR2: "timeout",
    signal.SIGINT: "interrupted",
}


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "reason"), SIGNALS.items())
def test_a_signal_sets_the_reason(number, reason):
    control = Control()
    control.listen()
    os.kill(os.getpid(), number)
    assert control.stop == reason


def test_the_first_reason_stays():
    control = Control()
    control.listen()
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM):
        os.kill(os.getpid(), number)
    assert control.stop == "timeout"


def test_workers_ignore_what_is_meant_for_their_rank():
    child = os.fork()
    if child == 0:
        ignore_signals()
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        time.sleep(0.05)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
