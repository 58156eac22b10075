"""A stand-in for a W&B server on loopback, enough for the real client: runs, files, history read
back, artifacts, reports and share links, and faults to order.

    with WandbServer() as server:
        ...  # clients with WANDB_BASE_URL=server.url and any key of 40 characters
        server.run("project", "run id").rows

It proves the client's side of things, not what W&B's own servers accept. A field of GraphQL that
nothing here provides answers null and is noted in ``unknown``, so that a client that has come to
ask for more is found out.
"""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any

from wandb_server.faults import Fault, Faults
from wandb_server.http import handler
from wandb_server.state import ENTITY, Artifact, Run, State, View

__all__ = ["ENTITY", "KEY", "Artifact", "Fault", "Run", "View", "WandbServer"]

KEY = "0123456789abcdef" * 2 + "planted0"  # what no log, store or message may show


class WandbServer:
    """Listens on a port of 127.0.0.1 while inside ``with``.

    Attributes:
        url: for WANDB_BASE_URL.
        requests: ``(operation, run id)`` of what was answered, in order; the name of a GraphQL
            operation, ``file_stream`` or ``storage``.
        unknown: GraphQL fields that were asked for and that nothing provides.
    """

    def __init__(self) -> None:
        self.state, self.faults = State(), Faults()
        self.requests: list[tuple[str, str]] = []
        self.unknown: set[str] = set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self._http.daemon_threads = True
        self.url = self.state.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.faults.clear()
        self._http.shutdown()
        self._http.server_close()

    def environment(self, project: str) -> dict[str, str]:
        """What a client must be told, and nothing of it on disk."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": KEY,
            "WANDB_PROJECT": project,
            "WANDB_ERROR_REPORTING": "false",
        }

    def run(self, project: str, run_id: str) -> Run:
        """Raises KeyError when there is none."""
        return self.state.runs[(ENTITY, project, run_id)]

    def runs(self, project: str) -> dict[str, Run]:
        """By id."""
        return {key[2]: run for key, run in self.state.runs.items() if key[1] == project}

    def delete(self, project: str, run_id: str) -> None:
        """As a person does in the browser; the id is not to be used again."""
        self.state.delete_run((ENTITY, project, run_id))

    def views(self, project: str) -> list[View]:
        return [view for view in self.state.views.values() if view.project == project]

    def artifacts(self, project: str) -> list[Artifact]:
        return [a for a in self.state.artifacts.values() if a.project == project]

    def fail(self, operation: str, kind: int | str, times: int = 1) -> Fault:
        """Order a fault for the next ``times`` requests of an ``operation`` (a regular
        expression over the names in ``requests``): see ``Fault``."""
        return self.faults.order(operation, kind, times)

    def answer(self, query: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """One GraphQL request: the operation's name and the data."""
        from wandb_server.graphql import execute

        name, data, unknown = execute(self.state, query)
        self.unknown |= unknown
        return name, data
