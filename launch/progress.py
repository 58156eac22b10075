"""A local pool at work, as a person sees it: a live table, or a line per run where none watches."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lrscale.run_state import FINISHED, State
from lrscale.store import Store

REFRESH_SECONDS = 0.5
BAR_WIDTH = 24
STYLES = {"done": "green", "diverged": "magenta", "failed": "red"}


class PoolWatch:
    """Follows a pool's start and end lines and the states of the runs under way.

    Args:
        labels: run id to what the person calls it, of all the runs that are to be carried out.
    """

    def __init__(self, store: Store, labels: Mapping[str, str], console: Console) -> None:
        self.store = store
        self.labels = labels
        self.console = console
        self.started = time.monotonic()
        self.begun: float | None = None  # when the first run was
        self.under_way: list[str] = []
        self.ended: dict[str, State | None] = {}
        self.interrupts = 0
        self._pool: subprocess.Popen[str] | None = None

    def follow(self, pool: subprocess.Popen[str]) -> None:
        """Until the pool has ended, whatever it was that ended it."""
        self._pool = pool
        reader = threading.Thread(target=self._read, args=(pool,), daemon=True)
        reader.start()
        if self.interrupts:  # Ctrl-C was faster
            pool.send_signal(signal.SIGINT)
        with self._display() as display:
            while reader.is_alive():
                reader.join(REFRESH_SECONDS)
                display()
        pool.wait()
        self._pool = None
        self.under_way.clear()

    @contextlib.contextmanager
    def heeding_interrupts(self) -> Iterator[None]:
        """Inside, Ctrl-C (or TERM, or HUP) asks the pool to save and leave; a second one kills it.

        A signal that was ignored before, as under nohup, still is.
        """
        before = {
            number: handler
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if (handler := signal.getsignal(number)) != signal.SIG_IGN
        }
        for number in before:
            signal.signal(number, self._interrupt)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.interrupts += 1
        if self._pool is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self.interrupts > 1:
                os.killpg(self._pool.pid, signal.SIGKILL)
            else:
                self._pool.send_signal(signal.SIGINT)

    # --- what the pool says

    def _read(self, pool: subprocess.Popen[str]) -> None:
        assert pool.stdout is not None
        for line in pool.stdout:
            message = json.loads(line)
            if message["event"] == "start":
                self.begun = self.begun or time.monotonic()
                self.under_way.append(message["run"])
            else:
                self._end(message["run"])

    def _end(self, run: str) -> None:
        state = self.store.run(run).state()
        self.ended[run] = state
        self.under_way.remove(run)
        name = _name(state)
        if not self.console.is_terminal or name not in FINISHED:
            cause = f": {state.cause}" if state and state.cause else ""
            counter = f"[{len(self.ended)}/{len(self.labels)}]"
            line = f"{counter} {run[:8]} {self.labels[run]}: {name}{cause}"
            self.console.print(line, style=STYLES.get(name), soft_wrap=True)

    # --- the live table

    @contextlib.contextmanager
    def _display(self) -> Iterator[Callable[[], None]]:
        if not self.console.is_terminal:
            yield lambda: None
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            yield lambda: live.update(self._render(), refresh=True)

    def _render(self) -> Group:
        under_way = {run: self.store.run(run).state() for run in list(self.under_way)}
        done = len(self.ended) + sum(map(_share, under_way.values()))
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("run", no_wrap=True)
        table.add_column("", no_wrap=True)  # cut, where the terminal is narrow
        for name in ("epoch", "loss", "steps/s"):
            table.add_column(name, justify="right", no_wrap=True, min_width=7)
        table.add_column("progress", no_wrap=True, width=BAR_WIDTH)
        room = max(1, self.console.height - 5)
        for run, state in list(under_way.items())[:room]:
            table.add_row(run[:8], self.labels[run], *_cells(state))
        if len(under_way) > room:
            table.add_row("", f"and {len(under_way) - room} more")
        return Group(self._headline(done), table)

    def _headline(self, done: float) -> Group:
        """A bar, how many runs are in which state, and how long it has taken and will take.

        Args:
            done: runs that have ended, with the shares of those under way.
        """
        total, ended, now = len(self.labels), len(self.ended), time.monotonic()
        line = Text(f"{ended} of {total} runs")
        for name, count in sorted(Counter(map(_name, list(self.ended.values()))).items()):
            line.append(" · ").append(f"{count} {name}", STYLES.get(name, "yellow"))
        running = f"{len(self.under_way)} running" if self.begun else "getting ready"
        line.append(" · ").append(running, "cyan")
        line.append(f" · {_clock(now - self.started)}")
        if done and self.begun and not self.interrupts:
            line.append(f" · about {_clock((now - self.begun) / done * (total - done))} to go")
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=total, completed=done, width=BAR_WIDTH), line)
        if not self.interrupts:
            return Group(row)
        return Group(row, Text("stopping: runs save and leave; Ctrl-C again kills them", "yellow"))


def _name(state: State | None) -> str:
    return "not begun" if state is None else state.state


def _share(state: State | None) -> float:
    """How much of a run is done, from 0 to 1."""
    return state.step / state.total_steps if state and state.total_steps else 0.0


def _cells(state: State | None) -> tuple[str | ProgressBar, ...]:
    if state is None or state.state != "running" or not state.total_steps:
        return ("", "", "", "starting")
    loss = "" if state.loss is None else f"{state.loss:.4g}"
    seconds = state.updated - state.started
    rate = f"{(state.step - state.resumed_from) / seconds:,.0f}" if seconds > 0 else ""
    bar = ProgressBar(total=state.total_steps, completed=state.step, width=BAR_WIDTH)
    return (str(state.epoch), loss, rate, bar)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
