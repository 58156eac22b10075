"""What a finished run may keep."""

from __future__ import annotations

from lrscale.run_dir import RunDir
from lrscale.run_state import FINISHED

KEPT = 8  # inodes are what shared file systems are short of


def check_kept_files(run: RunDir) -> None:
    """Few files, none to resume from, however often the run was interrupted."""
    state = run.state()
    if state is not None and state.state in FINISHED:
        names = sorted(path.name for path in run.path.iterdir())
        assert len(names) <= KEPT, names
        assert not [name for name in names if name.startswith((".", "checkpoint-", "asked-"))]
