"""Carries out one run in this process: ``torchrun … one_run.py RUN_FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from lrscale.config import decode
from lrscale.control import Control
from lrscale.run_dir import RunDir
from lrscale.train import run

if __name__ == "__main__":
    run_dir = RunDir(Path(sys.argv[1]))
    run(decode(run_dir.record()["config"]), run_dir, Control())
