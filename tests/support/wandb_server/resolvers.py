"""What can be asked of the server: queries, and mutations of runs, artifacts and reports."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from wandb_server import specs
from wandb_server.state import (
    ENTITY,
    HISTORY,
    Artifact,
    Key,
    Refused,
    Run,
    State,
    View,
    from_id,
    now,
    to_id,
)

Fields = dict[str, Any]

USER: Fields = {
    "__typename": "User",
    "id": to_id("User", 1),
    "name": ENTITY,
    "username": ENTITY,
    "email": "lab@localhost",
    "admin": False,
    "flags": "{}",
    "entity": ENTITY,
    "deletedAt": None,
    "apiKeys": {"edges": []},
    "teams": {"edges": []},
}
INPUTS = (
    "displayName", "groupName", "jobType", "jobProgram", "tags", "notes", "description", "state",
    "host", "commit", "repo",
)  # fmt: skip


def queries(state: State) -> Fields:
    def project(name: str | None = None, entityName: str | None = None, **_: Any) -> Any:
        key = (entityName or ENTITY, name or "uncategorized")
        return project_fields(state, key) if key in state.projects else None

    def projects(entityName: str | None = None, **_: Any) -> Fields:
        keys = [key for key in state.projects if key[0] == (entityName or ENTITY)]
        return connection([project_fields(state, key) for key in keys])

    versions = {"max_cli_version": "99.0.0", "min_cli_version": "0.0.1"}
    return {
        "viewer": lambda **_: USER,
        # No optional feature: the client takes its plainest path.
        "serverInfo": {
            "cliVersionInfo": versions,
            "latestLocalVersionInfo": None,
            "features": [],
        },
        "project": project,
        "model": project,
        "models": projects,
        "entity": lambda name=None, **_: {"id": to_id("Entity", name), "name": name},
        "view": lambda id, **_: view_fields(state.views[id]) if id in state.views else None,
        "artifact": lambda id, **_: artifact_fields(state, state.artifacts[id]),
    }


def mutations(state: State) -> Fields:
    """Each takes one ``input``."""
    made: dict[str, Callable[[State, Fields], Fields]] = {
        "upsertBucket": upsert_run,
        "createRunFiles": create_run_files,
        "deleteRun": delete_run,
        "upsertModel": upsert_project,
        "createArtifact": create_artifact,
        "createArtifactManifest": artifact_manifest,
        "updateArtifactManifest": artifact_manifest,
        "createArtifactFiles": artifact_files,
        "commitArtifact": commit_artifact,
        "upsertView": upsert_view,
        "deleteView": delete_view,
        "createAccessToken": create_token,
        "revokeAccessToken": lambda state, i: change_token(state, i["token"], revokedAt=now()),
        "updateAccessTokenProjects": lambda state, i: change_token(
            state, i["token"], projects=token_projects(i)
        ),
    }
    return {name: lambda input, _f=function: _f(state, input) for name, function in made.items()}


# Projects and runs ---------------------------------------------------------------------------


def project_fields(state: State, key: tuple[str, str]) -> Fields:
    entity, name = key

    def run(name: str, **_: Any) -> Fields | None:
        found = state.runs.get((entity, key[1], name))
        return run_fields(state, found) if found else None

    def runs(
        filters: str | None = None, first: int | None = 50, after: str | None = None, **_: Any
    ) -> Fields:
        chosen = [r for r in state.runs.values() if r.key[:2] == key and matches(r, filters)]
        start, size = int(after or 0), first or 50
        page = [run_fields(state, r) for r in chosen[start : start + size]]
        return connection(page, start, len(chosen))

    return {
        "__typename": "Project",
        "id": to_id("Project", *key),
        "internalId": to_id("ProjectInternalId", 1),
        "name": name,
        "entityName": entity,
        "createdAt": state.projects[key],
        "isBenchmark": False,
        "readOnly": False,
        "user": USER,
        "entity": {"id": to_id("Entity", entity), "name": entity},
        "run": run,
        "bucket": run,
        "runs": runs,
        "runCount": lambda filters=None, **_: runs(filters)["totalCount"],
        "allViews": lambda **_: connection(
            [view_fields(v) for v in state.views.values() if (v.entity, v.project) == key]
        ),
        "artifact": lambda name, **_: newest_artifact(state, key, name),
    }


def matches(run: Run, filters: str | None) -> bool:
    """Of W&B's filters those that name runs: ``{"name": {"$in": […]}}``."""
    wanted = json.loads(filters or "{}")
    if set(wanted) - {"name"}:
        raise NotImplementedError(f"filters {filters}")
    return not wanted or run.key[2] in wanted["name"]["$in"]


def run_fields(state: State, run: Run) -> Fields:
    lines = run.lines.get(HISTORY, [])
    rows = run.rows
    events = run.lines.get("wandb-events.jsonl", [])
    fields: Fields = {
        "__typename": "Run",
        "id": to_id("Run", *run.key),
        "projectId": 1,
        "project": lambda **_: project_fields(state, run.key[:2]),
        "name": run.key[2],
        "displayName": run.fields.get("displayName") or run.key[2],
        "group": run.fields.get("groupName"),
        "jobType": run.fields.get("jobType"),
        "tags": run.fields.get("tags") or [],
        "config": json.dumps(run.config),
        "wandbConfig": lambda **_: json.dumps({"t": {}}),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": "{}",
        "state": run.state,
        "readOnly": False,
        "stopped": False,
        "createdAt": run.created,
        "heartbeatAt": now(),
        "user": USER,
        "historyLineCount": len(lines),
        "eventsLineCount": len(events),
        "logLineCount": len(run.lines.get("output.log", [])),
        "historyTail": json.dumps(lines[-1:]),
        "eventsTail": json.dumps(events[-1:]),
        "historyKeys": {
            "sets": [],
            "keys": {key: {"typeCounts": [{"type": "number"}]} for row in rows for key in row},
            "lastStep": rows[-1]["_step"] if rows else -1,
        },
        "history": lambda minStep=0, maxStep=None, **_: lines[minStep:maxStep],
        "sampledHistory": lambda specs, **_: [sampled(rows, json.loads(s)) for s in specs],
        "parquetHistory": lambda **_: {"parquetUrls": [], "liveData": rows},
        "files": lambda names=None, **_: connection(
            [file_fields(state, run, f) for f in sorted(run.files) if not names or f in names]
        ),
        "fileCount": len(run.files),
        "outputArtifacts": lambda **_: connection(
            [artifact_fields(state, a) for a in state.artifacts.values() if a.run == run.key]
        ),
    }
    absent = ("sweepName", "commit", "description", "notes", "host")
    return {name: run.fields.get(name) for name in absent} | fields


def sampled(rows: list[Fields], spec: Fields) -> list[Fields]:
    """Rows in a range of steps that have all of the keys, and those keys only."""
    keys, first, end = spec["keys"], spec.get("minStep", 0), spec.get("maxStep", len(rows))
    inside = [row for row in rows if first <= row["_step"] < end]
    return [{k: row[k] for k in keys} for row in inside if all(k in row for k in keys)]


def file_fields(state: State, run: Run, name: str) -> Fields:
    url = f"{state.url}/storage/{run.files[name]}"
    size = len(state.blobs.get(run.files[name], b""))
    return {
        "id": to_id("File", *run.key, name),
        "name": name,
        "url": url,
        "directUrl": url,
        "sizeBytes": size,
        "md5": "",
        "mimetype": None,
        "updatedAt": now(),
        "digest": None,
        "storagePath": run.files[name],
    }


def upsert_run(state: State, given: Fields) -> Fields:
    if given.get("id"):
        key: Key = from_id(given["id"])  # type: ignore[assignment]
    else:
        key = (*state.project(given.get("entityName"), given.get("modelName")), given["name"])
    run, new = state.open_run(key)
    run.fields |= {k: given[k] for k in INPUTS if given.get(k) is not None}
    if given.get("config"):
        run.config = json.loads(given["config"])
    if given.get("summaryMetrics"):
        run.summary = json.loads(given["summaryMetrics"])
    return {"bucket": run_fields(state, run), "inserted": new}


def create_run_files(state: State, given: Fields) -> Fields:
    key = (*state.project(given.get("entityName"), given["projectName"]), given["runName"])
    run, made = state.runs[key], []
    for name in given["files"]:
        run.files[name] = place = "run/" + "/".join((*key, name))
        made.append({"name": name, "uploadUrl": f"{state.url}/storage/{quote(place)}"})
    return {"runID": to_id("Run", *key), "uploadHeaders": [], "files": made}


def delete_run(state: State, given: Fields) -> Fields:
    state.delete_run(from_id(given["id"]))  # type: ignore[arg-type]
    return {"clientMutationId": None}


def upsert_project(state: State, given: Fields) -> Fields:
    key = state.project(given.get("entityName"), given.get("name"))
    return {"inserted": True, "project": project_fields(state, key)}


# Artifacts -----------------------------------------------------------------------------------


def create_artifact(state: State, given: Fields) -> Fields:
    entity, project = state.project(given.get("entityName"), given.get("projectName"))
    names = given.get("artifactCollectionNames") or [given.get("artifactCollectionName")]
    before = [a for a in state.artifacts.values() if (a.project, a.name) == (project, names[0])]
    artifact = Artifact(
        id=to_id("Artifact", len(state.artifacts) + 1),
        project=project,
        name=names[0],
        kind=given["artifactTypeName"],
        run=(entity, project, given["runName"]),
        version=len(before),
        digest=given["digest"],
        client=given["clientID"],
    )
    state.artifacts[artifact.id] = artifact
    return {"artifact": artifact_fields(state, artifact)}


def newest_artifact(state: State, key: tuple[str, str], name: str) -> Fields | None:
    """By ``NAME:latest``."""
    named = [a for a in state.artifacts.values() if (a.project, a.name) == (key[1], name[:-7])]
    return artifact_fields(state, named[-1]) if named else None


def artifact_fields(state: State, artifact: Artifact) -> Fields:
    sequence = {"id": to_id("Sequence", artifact.name), "name": artifact.name}
    return {
        "__typename": "Artifact",
        "id": artifact.id,
        "state": "COMMITTED" if artifact.committed else "PENDING",
        "digest": artifact.digest,
        "versionIndex": artifact.version,
        "artifactSequence": sequence | {"latestArtifact": None},
        "artifactType": {"name": artifact.kind},
        "createdAt": now(),
    }


def artifact_manifest(state: State, given: Fields) -> Fields:
    artifact = given.get("artifactID") or given["artifactManifestID"].removesuffix("m")
    url = f"{state.url}/storage/manifest/{artifact}"
    file = {"id": artifact, "uploadUrl": url, "uploadHeaders": []}
    return {"artifactManifest": {"id": artifact + "m", "file": file}}


def artifact_files(state: State, given: Fields) -> Fields:
    made = []
    for file in given["artifactFiles"]:
        digest = base64.b64decode(file["md5"]).hex()
        made.append(
            {
                "id": to_id("ArtifactFile", digest),
                "name": file["name"],
                "displayName": file["name"],
                "storagePath": f"wandb_artifacts/{digest}",
                "uploadUrl": f"{state.url}/storage/artifact/{digest}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": file["artifactID"]},
            }
        )
    return {"files": connection(made)}


def commit_artifact(state: State, given: Fields) -> Fields:
    artifact = state.artifacts[given["artifactID"]]
    artifact.committed = True
    return {"artifact": artifact_fields(state, artifact)}


# Reports -------------------------------------------------------------------------------------


def upsert_view(state: State, given: Fields) -> Fields:
    entity, project = state.project(given.get("entityName"), given.get("projectName"))
    name = given.get("id") or to_id("View", len(state.views) + 1)
    view = View(name, project, entity, {"spec": given["spec"]})
    if problems := specs.problems(state, view):
        raise Refused(400, "; ".join(problems))
    view = state.views.setdefault(name, view)
    view.fields |= {k: given.get(k) for k in ("type", "name", "displayName", "description", "spec")}
    return {"view": view_fields(view), "inserted": not given.get("id")}


def delete_view(state: State, given: Fields) -> Fields:
    return {"success": state.views.pop(given["id"], None) is not None, "pendingDrafts": []}


def view_fields(view: View) -> Fields:
    project = {"id": to_id("Project", view.project), "name": view.project}
    return {
        "id": view.id,
        "project": project | {"entityName": view.entity},
        "createdAt": now(),
        "updatedAt": now(),
        "user": USER | {"photoUrl": None},
        "accessTokens": view.tokens,
        **view.fields,
    }


def create_token(state: State, given: Fields) -> Fields:
    token = {"token": secrets.token_hex(16), "type": "PUBLIC", "revokedAt": None}
    state.views[given["viewId"]].tokens.append(token | {"projects": token_projects(given)})
    return {"accessToken": token}


def token_projects(given: Fields) -> list[Fields]:
    return [{"entityName": p["entityName"], "name": p["projectName"]} for p in given["projects"]]


def change_token(state: State, name: str, **changes: Any) -> Fields:
    for token in (token for view in state.views.values() for token in view.tokens):
        if token["token"] == name:
            token.update(changes)
    return {"success": True}


def connection(nodes: Sequence[Fields], start: int = 0, total: int | None = None) -> Fields:
    """A page of GraphQL's relay kind; ``start`` rows before it, of ``total``."""
    end = start + len(nodes)
    total = len(nodes) if total is None else total
    edges = [{"node": node, "cursor": str(start + n + 1)} for n, node in enumerate(nodes)]
    page = {"__typename": "PageInfo", "endCursor": str(end), "hasNextPage": end < total}
    return {"edges": edges, "pageInfo": page, "totalCount": total}
