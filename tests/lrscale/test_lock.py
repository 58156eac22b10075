"""The store's lock: one holder, and what becomes of a dead one's."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lrscale import lock as lock_module
from lrscale.errors import UserError
from lrscale.store import Store

FORK = multiprocessing.get_context("fork")


def hold(store: Store, order: Any, held: Any) -> None:
    for _ in range(20):
        with store.lock("plan"):
            with held.get_lock():
                held.value += 1
                order.put(held.value)
            time.sleep(0.001)
            with held.get_lock():
                held.value -= 1


def test_one_process_at_a_time_holds_a_lock(store: Store):
    order, held = FORK.Queue(), FORK.Value("i", 0)
    processes = [FORK.Process(target=hold, args=(store, order, held)) for _ in range(4)]
    for process in processes:
        process.start()
    counts = [order.get(timeout=60) for _ in range(80)]
    for process in processes:
        process.join()
    assert set(counts) == {1}
    assert list((store.root / "locks").iterdir()) == []


def die_holding(store: Store) -> None:
    with store.lock("plan"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_holders_lock_is_taken_over_by_one(store: Store):
    dead = FORK.Process(target=die_holding, args=(store,))
    dead.start()
    dead.join()
    assert (store.root / "locks" / "plan").exists()
    test_one_process_at_a_time_holds_a_lock(store)


def test_a_waiter_who_saw_a_dead_holder_does_not_take_a_living_ones_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    """Between its look at the holder and its act, another has taken the lock over."""
    lock = store.root / "locks" / "plan"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = lock_module._me().rpartition(".")[0]
    lock.mkdir()
    (lock / f"{host}.{dead.pid}").touch()

    def overtaken(path: Path) -> tuple[str, str] | None:
        (lock / f"{host}.{dead.pid}").rename(lock / f"{host}.1")
        return (host, str(dead.pid))

    monkeypatch.setattr(lock_module, "_lock_owner", overtaken)
    assert not lock_module._acquire(lock)
    assert [path.name for path in lock.iterdir()] == [f"{host}.1"]


def test_a_lock_that_stays_held_is_an_error_naming_its_holder(store: Store):
    lock = store.root / "locks" / "plan"
    lock.mkdir()
    (lock / "elsewhere.example.123").touch()
    message = r"pid 123 on elsewhere\.example.*remove that folder"
    with pytest.raises(UserError, match=message), store.lock("plan", wait_seconds=0.1):
        pass
