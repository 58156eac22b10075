"""The fixtures ``wandb_server`` and ``project``: one stand-in for all tests of a worker, and a
project for each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from wandb_server import WandbServer


@pytest.fixture(scope="session")
def _shared_wandb_server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server


@pytest.fixture
def wandb_server(
    _shared_wandb_server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[WandbServer]:
    """Clients of this process and those it starts talk to it; they know of no other."""
    server = _shared_wandb_server
    project = re.sub(r"[^\w-]+", "-", request.node.name).strip("-")[:100]
    for name, value in server.environment(project).items():
        monkeypatch.setenv(name, value)
    yield server
    server.faults.clear()


@pytest.fixture
def project(wandb_server: WandbServer) -> str:
    """Where clients of this test put what they send."""
    return os.environ["WANDB_PROJECT"]
