"""What every test stands on: an environment without the user's own settings, and the fixtures of
``support/`` (setup.cfg puts that folder on the path)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything, these plugins among it, imports torch: two cores have two workers at times, and
# sums over another number of threads differ in the last digit.
os.environ["OMP_NUM_THREADS"] = "1"
# Other processes see a file that is on no disk yet, and no test pulls the plug: waiting for disks
# is most of what it takes to lay out a sweep of finished runs.
os.fsync = lambda _: None  # type: ignore[assignment]

pytest_plugins = ("browser", "finished_sweep", "local_launcher", "slurm_cluster", "wandb_stand_in")

# Prefixes and names of what a shell, a login node or a surrounding job may have set.
FOREIGN = (
    "COLUMNS",
    "LINES",
    "LRSCALE_",
    "WANDB_",
    "SLURM",
    "SBATCH_",
    "SRUN_",
    "SQUEUE_",
    "SACCT_",
    "SUBMITIT_",
)
SCREEN = ("COLUMNS", "LINES")
RANK_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "a plugin: the contract tests then hold its components as well (docs/plugins.md)"
    parser.addoption("--components", action="append", default=[], metavar="FILE", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name in (*SCREEN, *RANK_NAMES):
            del os.environ[name]
    # A shell has what it runs in the background ignore Ctrl-C, and so would every command here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # CI draws the same examples each time, so that a failure there is the change's own.
    in_ci = bool(os.environ.get("CI"))
    settings.register_profile(
        "ci",
        deadline=None,
        derandomize=in_ci,
        print_blob=True,
        # The machine may be slow; a folder that examples share is theirs to keep clean.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("ci")
    _register(config.getoption("components"))


def _register(plugins: list[str]) -> None:
    if plugins:
        from launch.plugins import import_plugins, read_plugins

        named = {name: f"--components {name}" for name in plugins}
        import_plugins(read_plugins(named), "--components")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two workers side by side, each with a cluster of its own: first what waits for these."""
    items.sort(key=lambda item: "slurm" not in getattr(item, "fixturenames", ()))


@pytest.fixture
def store_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run store of the test's own, named by LRSCALE_RUNS and visible from the cluster's nodes."""
    root = tmp_path / "runs"
    monkeypatch.setenv("LRSCALE_RUNS", str(root))
    return root
