"""What the server holds."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

ENTITY = "lab"
HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"

Key = tuple[str, str, str]  # entity, project, run id


class Refused(Exception):
    """The request is answered with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Run:
    """A run as W&B holds it.

    Attributes:
        fields: display name, group, job type, tags and the like, by the names of GraphQL.
        lines: of each file that is streamed, such as the history.
        files: name to the place in ``State.blobs``.
    """

    key: Key
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    state: str = "running"
    created: str = field(default_factory=lambda: now())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history. Raises ValueError for a hole or what is not a row of one step each."""
        rows = [json.loads(line) for line in self.lines.get(HISTORY, [])]
        for number, row in enumerate(rows):
            if row["_step"] != number:
                raise ValueError(f"line {number} of the history is step {row['_step']}")
            if not all(isinstance(v, (int, float, str, dict)) for v in row.values()):
                raise ValueError(f"line {number} of the history is {row}")
        return rows

    @property
    def steps(self) -> list[int]:
        """``global_step`` of each row."""
        return [row["global_step"] for row in self.rows]

    @property
    def plain_config(self) -> dict[str, Any]:
        return {key: item["value"] for key, item in self.config.items() if key != "_wandb"}

    def write(self, file: str, offset: int, content: list[str]) -> None:
        """Lines at a place: what stood there is replaced, as W&B's file stream does."""
        if file == SUMMARY:
            self.summary = json.loads(content[-1])
            return
        lines = self.lines.setdefault(file, [])
        if offset > len(lines):
            raise Refused(400, f"{file}: a hole before line {offset}")
        lines[offset : offset + len(content)] = content


@dataclass
class Artifact:
    id: str
    project: str
    name: str
    kind: str
    run: Key
    version: int
    digest: str
    client: str
    committed: bool = False


@dataclass
class View:
    """A report."""

    id: str
    project: str
    entity: str
    fields: dict[str, Any]
    tokens: list[dict[str, Any]] = field(default_factory=list)

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = json.loads(self.fields["spec"])
        return spec


class State:
    """Everything, by its key. Hold ``lock`` to read or change it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.url = ""
        self.projects: dict[tuple[str, str], str] = {}
        self.runs: dict[Key, Run] = {}
        self.deleted: set[Key] = set()
        self.blobs: dict[str, bytes] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.views: dict[str, View] = {}

    def project(self, entity: str | None, name: str | None) -> tuple[str, str]:
        """Its key, made if it is not there."""
        key = (entity or ENTITY, name or "uncategorized")
        self.projects.setdefault(key, now())
        return key

    def open_run(self, key: Key) -> tuple[Run, bool]:
        """The run, and whether it is new. A deleted run's id is refused, as W&B does."""
        if key in self.deleted:
            raise Refused(
                409, f"run {'/'.join(key)} was previously created and deleted; try a new run name"
            )
        self.project(*key[:2])
        new = key not in self.runs
        return self.runs.setdefault(key, Run(key)), new

    def delete_run(self, key: Key) -> None:
        with self.lock:
            del self.runs[key]
            self.deleted.add(key)


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_id(kind: str, *parts: object) -> str:
    """GraphQL's opaque ids."""
    return base64.b64encode(":".join((kind, *map(str, parts))).encode()).decode()


def from_id(text: str) -> tuple[str, ...]:
    """The parts of ``to_id`` without the kind."""
    return tuple(base64.b64decode(text).decode().split(":")[1:])
