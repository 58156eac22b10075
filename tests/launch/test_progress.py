"""What a person sees of a pool at work."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from threading import Thread

from local_launcher import SLEEP, LocalLauncher
from rich.console import Console

from launch.progress import PoolWatch
from lrscale.run_state import State
from lrscale.store import Store

WaitUntil = Callable[..., None]
LABELS = {"a" * 20: "adam, seed 0", "b" * 20: "sgd, seed 0", "c" * 20: "sgd, seed 1"}
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    screen = io.StringIO()
    return Console(file=screen, force_terminal=terminal, width=100, height=20), screen


def state(store: Store, run: str, name: str, step: int = 0, cause: str = "") -> None:
    """Set a run's state, of 200 steps."""
    run_dir = store.run(run)
    if not run_dir.exists():
        run_dir.create({"config": {}})
        run_dir.begin()
    now = State(
        name,  # type: ignore[arg-type]
        attempt=1,
        step=step,
        total_steps=200,
        epoch=step // 100,
        loss=0.25,
        started=time.time() - 1,
        cause=cause,
    )
    run_dir.write_state(now)


def lines(*events: tuple[str, str]) -> subprocess.Popen[str]:
    """A process that says what a pool would."""
    text = "".join(json.dumps({"event": event, "run": run}) + "\n" for event, run in events)
    return subprocess.Popen(
        [sys.executable, "-c", f"print({text!r}, end='')"], stdout=subprocess.PIPE, text=True
    )


def test_a_line_per_run_where_nobody_watches(store: Store) -> None:
    a, b, c = LABELS
    state(store, a, "done")
    state(store, b, "failed", cause="RuntimeError: no space")
    plain, screen = console(terminal=False)
    watch = PoolWatch(store, LABELS, plain)
    watch.follow(
        lines(("start", a), ("start", b), ("end", b), ("end", a), ("start", c), ("end", c))
    )
    assert screen.getvalue().splitlines() == [
        "[1/3] bbbbbbbb sgd, seed 0: failed: RuntimeError: no space",
        "[2/3] aaaaaaaa adam, seed 0: done",
        "[3/3] cccccccc sgd, seed 1: not begun",
    ]


def test_the_live_table(store: Store, wait_until: WaitUntil) -> None:
    """Counts, times, and a row for each run under way; failures stay on the screen."""
    a, b, c = LABELS
    state(store, a, "failed", cause="killed by SIGKILL")
    state(store, b, "running", step=50)
    live, screen = console(terminal=True)
    watch = PoolWatch(store, LABELS, live)
    program = "import sys; print(sys.argv[1], flush=True); input()"
    events = [("start", a), ("start", b), ("end", a), ("start", c)]
    text = "\n".join(json.dumps({"event": event, "run": run}) for event, run in events)
    process = subprocess.Popen(
        [sys.executable, "-c", program, text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    watch.started -= 60
    follower = Thread(target=watch.follow, args=(process,))
    follower.start()
    try:
        wait_until(lambda: "starting" in screen.getvalue(), 20, "both rows")
        state(store, b, "running", step=150)
        wait_until(lambda: " to go" in screen.getvalue(), 20, "an estimate")
        time.sleep(0.6)
    finally:
        process.communicate("\n")
        follower.join()
    seen = ESCAPE.sub("", screen.getvalue())
    assert "[1/3] aaaaaaaa adam, seed 0: failed: killed by SIGKILL" in seen
    assert re.search(r"1 of 3 runs · 1 failed · 2 running · 0:01:0\d · about 0:00:0\d to go", seen)
    assert re.search(r"bbbbbbbb +sgd, seed 0 +1 +0.25 +[\d,]+ +━", seen)
    assert re.search(r"cccccccc +sgd, seed 1 +starting", seen)
    assert "\x1b[?25h" in screen.getvalue()  # the cursor is back


def test_signals_that_were_ignored_stay_so(store: Store) -> None:
    """As SIGHUP under nohup."""
    watch = PoolWatch(store, LABELS, console(terminal=False)[0])
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with watch.heeding_interrupts():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert watch.interrupts == 1


def take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_on_a_terminal(local: LocalLauncher) -> None:
    """The command under a pseudo-terminal, and Ctrl-C from its keyboard."""
    leader, follower = pty.openpty()
    environment = {**local.env, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        local.command(local.tiny(SLEEP, seeds=4)),
        env=environment,
        cwd=local.folder,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(follower)
    local.started.append(process)  # type: ignore[arg-type]
    screen, pressed = "", False
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                screen += os.read(leader, 65536).decode(errors="replace")
            except OSError:  # its end of the terminal is closed
                break
        if not pressed and " to go" in screen and local.half_way():
            pressed = True
            os.write(leader, b"\x03")
    process.wait(timeout=10)

    seen = ESCAPE.sub("", screen)
    assert process.returncode == 130, seen
    assert re.search(
        r"of 8 runs · (\d done · )?2 running · 0:00:\d\d · about 0:00:\d\d to go", seen
    )
    assert "optimizer.lr=0.05, seed 0" in seen
    assert "stopping: runs save and leave; Ctrl-C again kills them" in seen
    assert "of 8 runs to go: the same command goes on" in seen
    assert "interrupted" in local.states()
    assert "\x1b[?25h" in screen  # the cursor is back
