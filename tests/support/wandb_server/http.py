"""The server's HTTP side: GraphQL, the file stream and storage."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from wandb_server.faults import Fault
from wandb_server.state import Refused, Run

if TYPE_CHECKING:
    from wandb_server import WandbServer

STREAM = re.compile(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream")
BLOB = "/storage/"
HANG_SECONDS = 300.0


def handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    """A handler class of this one server."""

    class Bound(_Handler):
        owner = server

    return Bound


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: WandbServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests look at ``requests``."""

    def _any(self) -> None:
        body, path = self._body(), unquote(urlparse(self.path).path)
        operation, run = self._operation(path, body)
        fault = self.owner.faults.meet(operation)
        if fault is not None and fault.kind != "cut":
            self._fail(fault)
            return
        try:
            with self.owner.state.lock:
                status, answer = self._answer(path, operation, body)
                self.owner.requests.append((operation, run))
        except Refused as refused:
            status, answer = refused.status, _json({"errors": [{"message": str(refused)}]})
        self._send(status, answer, cut=fault is not None)

    do_GET = do_POST = do_PUT = do_HEAD = _any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _operation(self, path: str, body: bytes) -> tuple[str, str]:
        """What the request is called, and the run that it is about, if it is."""
        if path == "/graphql":
            query = json.loads(body)
            named = re.search(r"\b(?:query|mutation)\s+(\w+)", query["query"])
            variables = query.get("variables") or {}
            return named[1] if named else "?", str(variables.get("name") or "")
        if stream := STREAM.fullmatch(path):
            return "file_stream", stream[3]
        return ("storage" if path.startswith(BLOB) else path), ""

    def _fail(self, fault: Fault) -> None:
        if isinstance(fault.kind, int):
            self._send(fault.kind, _json({"error": "as was ordered"}))
            return
        if fault.kind == "hang":
            fault.released.wait(HANG_SECONDS)
        self.close_connection = True

    # --- answers, under the state's lock

    def _answer(self, path: str, operation: str, body: bytes) -> tuple[int, bytes]:
        if path == "/graphql":
            _, data = self.owner.answer(json.loads(body))
            return 200, _json({"data": data})
        if stream := STREAM.fullmatch(path):
            entity, project, run = stream.groups()
            return self._stream((entity, project, run), json.loads(body or b"{}"))
        if path.startswith(BLOB):
            return self._storage(path[len(BLOB) :], body)
        return 404, _json({"error": "unknown"})

    def _stream(self, key: tuple[str, str, str], sent: dict[str, Any]) -> tuple[int, bytes]:
        run = self.owner.state.runs.get(key)
        if run is None:
            return 404, _json({"error": "no such run"})
        for file, chunk in (sent.get("files") or {}).items():
            run.write(file, chunk["offset"], chunk["content"])
        run.state = _state_after(run, sent)
        return 200, _json({"exitcode": None, "limits": {}})

    def _storage(self, place: str, body: bytes) -> tuple[int, bytes]:
        blobs = self.owner.state.blobs
        if self.command == "PUT":
            blobs[place] = body
            return 200, b""
        return (200, blobs[place]) if place in blobs else (404, b"")

    def _send(self, status: int, body: bytes, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) + cut))
        self.send_header("Retry-After", "1")
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut


def _state_after(run: Run, sent: dict[str, Any]) -> str:
    if sent.get("preempting"):
        return "preempting"
    if not sent.get("complete"):
        return "running"
    if not sent.get("exitcode"):
        return "finished"
    return "preempted" if run.state == "preempting" else "failed"


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
