"""Files are whole or absent, whoever is killed while writing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

from lrscale.files import read_json, write_json

FORK = multiprocessing.get_context("fork")


def rewrite(path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        number += 1
        write_json(path, {"number": number, "filler": "x" * 20_000})


def test_a_reader_never_sees_half_a_file(tmp_path: Path):
    path = tmp_path / "state.json"
    write_json(path, {"number": 0})
    writers = [FORK.Process(target=rewrite, args=(path, 0.5)) for _ in range(2)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        assert "number" in (read_json(path) or {})
        seen += 1
    for writer in writers:
        writer.join()
    assert seen > 10
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_a_killed_writer_leaves_the_old_content(tmp_path: Path):
    path = tmp_path / "state.json"
    write_json(path, {"number": 0})
    writer = FORK.Process(target=rewrite, args=(path, 60.0))
    writer.start()
    time.sleep(0.2)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert (read_json(path) or {})["number"] > 0
