"""``publish.py --report``, ``--share`` and ``--unshare`` with the real clients, faults included."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from PIL import Image
from publishing import no_key_in, run_ids, send, send_through, send_to_hanging, start
from wandb_server import Run, View, WandbServer, specs
from wandb_workspaces.reports.v2 import internal

from launch import publish_report
from launch.report import load
from lrscale.compare.answer import answer
from lrscale.compare.comparison import Comparison
from lrscale.compare.render.cells import sheets
from lrscale.compare.render.json import as_json
from lrscale.errors import UserError
from lrscale.store import Store
from lrscale.track import summary

MakeSweep = Callable[..., Store]
RATES = {"sgd": [0.01, 0.1, 1.0], "adam": [1e-3]}


@pytest.fixture
def _one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not about the figures, which take a second to draw."""

    def draw(store: Store, comparison: Comparison, folder: Path) -> dict[str, list[Path]]:
        Image.new("L", (2, 2)).save(folder / "curves.png")
        return {"Learning curves": [folder / "curves.png"]}

    monkeypatch.setattr(publish_report, "draw", draw)


def compared(server: WandbServer, project: str) -> Run:
    """The only run with tables."""
    runs = server.runs(project).values()
    (run,) = (run for run in runs if run.fields["jobType"] == "comparison")
    return run


def the_report(server: WandbServer, project: str) -> View:
    (view,) = server.views(project)
    return view


def links(view: View) -> list[dict[str, Any]]:
    return [token for token in view.tokens if token["revokedAt"] is None]


def content(server: WandbServer, run: Run, key: str) -> bytes:
    """What the file of a table or figure holds."""
    return server.state.blobs[run.files[run.summary[key]["path"]]]


def text_of(view: View) -> str:
    return json.dumps(view.spec, ensure_ascii=False)


def grouped_as_the_tables_are(store: Store, server: WandbServer, project: str) -> None:
    """The report's run sets, and that each has its panel."""
    view, state = the_report(server, project), server.state
    own, curves, sensitivity, points, comparer = (
        specs.groups(state, view, grid) for grid in specs.grids(view)
    )
    assert own == {(): {compared(server, project).key[2]}}
    assert curves[("adam",)] == set(run_ids(store, "adam"))
    assert len(curves[("sgd",)]) == 2
    assert sensitivity == {(): set(run_ids(store))}
    expected: dict[tuple[str, float], set[str]] = {}
    for entry in store.read_sweep("demo")["runs"]:
        place = (entry["arm"], entry["point"]["optimizer.lr"])
        expected.setdefault(place, set()).add(entry["id"])
    assert points == expected
    assert comparer == {(): curves[("sgd",)] | curves[("adam",)]}
    kinds = [p["viewType"] for grid in specs.grids(view) for p in specs.panels(grid)]
    assert {"Run Comparer", "Scatter Plot", "Run History Line Plot", "Weave"} <= set(kinds)


# What is sent ----------------------------------------------------------------------------------


def test_tables_figures_and_a_report(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = make_sweep(RATES, seeds=[0, 1], states={("sgd", 1.0, 0): "diverged"})
    assert send(store, "--report") == 0
    out = capfd.readouterr().out
    run, view = compared(wandb_server, project), the_report(wandb_server, project)
    assert f"report: {wandb_server.url}/lab/{project}/reports/demo-compared--{view.id}" in out

    comparison = load(store, ["demo"], keep=False)
    tables = as_json(comparison, sheets(comparison))["tables"]
    assert {key for key in run.summary if key.startswith("tables/")} == {
        f"tables/{name}" for name in tables
    }
    for name, table in tables.items():
        held = json.loads(content(wandb_server, run, f"tables/{name}"))
        rows = [dict(zip(held["columns"], row, strict=True)) for row in held["data"]]
        wanted = [{column: row.get(column) for column in held["columns"]} for row in table["rows"]]
        assert rows == json.loads(json.dumps(wanted))
    for name in ("curves", "sensitivity"):
        assert content(wandb_server, run, f"figures/{name}").startswith(b"\x89PNG")

    internal.Spec.model_validate(view.spec)
    text = text_of(view)
    for sentence in (*answer(comparison), *comparison.warnings, "| sgd | lr 0.1 |"):
        assert json.dumps(sentence, ensure_ascii=False)[1:-1] in text
    assert links(view) == []
    assert not wandb_server.unknown
    no_key_in(store, out, text)

    grouped_as_the_tables_are(store, wandb_server, project)

    assert send(store, "--report") == 0
    assert "had nothing new" in capfd.readouterr().out
    assert text_of(the_report(wandb_server, project)) == text
    assert len(compared(wandb_server, project).lines["wandb-history.jsonl"]) == 1


@pytest.mark.usefixtures("_one_figure")
def test_a_sweep_that_has_gone_on_changes_its_report(
    make_sweep: MakeSweep, wandb_server: WandbServer, project: str
) -> None:
    store = make_sweep({"sgd": [0.1]}, seeds=[0])
    assert send(store, "--report") == 0
    before = the_report(wandb_server, project)
    store = make_sweep({"sgd": [0.1, 1.0]}, seeds=[0])
    assert send(store, "--report") == 0
    after = the_report(wandb_server, project)
    assert after.id == before.id
    assert "| sgd | 1 |" in text_of(after)
    assert len(compared(wandb_server, project).lines["wandb-history.jsonl"]) == 2


def test_without_a_result_there_is_no_report(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = make_sweep({"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "running"})
    assert send(store, "--report") == 2
    assert "no run of demo has come to a result yet" in capfd.readouterr().err
    assert set(wandb_server.runs(project)) == set(run_ids(store))
    assert wandb_server.views(project) == []


# Links -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_one_figure")
def test_a_link_is_made_and_taken_back_only_when_asked(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = make_sweep({"sgd": [0.1]}, seeds=[0])
    before = len(wandb_server.requests)
    assert send(store, "--share") == 2
    output = capfd.readouterr()
    assert "readable for everybody who has it" in output.out
    assert "say --yes" in output.err
    assert len(wandb_server.requests) == before

    assert send(store, "--share", "--yes") == 0
    view = the_report(wandb_server, project)
    (link,) = links(view)
    assert link["projects"] == [{"entityName": "lab", "name": project}]
    assert f"accessToken={link['token']}" in capfd.readouterr().out
    assert send(store, "--share", "--yes") == 0
    assert [one["token"] for one in links(view)] == [link["token"]]
    for path in store.root.rglob("*"):
        assert not path.is_file() or link["token"].encode() not in path.read_bytes()

    assert send(store, "--unshare") == 0
    assert "no longer valid" in capfd.readouterr().out
    assert links(view) == []
    assert send(store, "--unshare") == 0
    assert "there was no link" in capfd.readouterr().out
    assert len(wandb_server.views(project)) == 1


def test_at_a_terminal_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(["y", "", "no"])
    monkeypatch.setattr("sys.stdin", Mock(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    publish_report.check_consent(yes=False)
    for _ in range(2):
        with pytest.raises(UserError, match="nothing was sent"):
            publish_report.check_consent(yes=False)


# Faults ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_one_figure")
@pytest.mark.parametrize(
    ("operation", "kind", "times"),
    [
        ("upsertView", "cut", 1),  # it was made, and nobody was told
        ("upsertView", 429, 1),
        ("CreateArtifact.*|storage", 409, 2),
        ("storage", "cut", 2),
    ],
)
def test_faults_leave_no_second_one(
    operation: str,
    kind: int | str,
    times: int,
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(summary, "READ_BACK_SECONDS", 1.0)
    store = make_sweep({"sgd": [0.1]}, seeds=[0])
    assert send(store) == 0
    send_through(wandb_server, operation, kind, times, store, "--report")
    run = compared(wandb_server, project)
    assert content(wandb_server, run, "figures/curves").startswith(b"\x89PNG")
    the_report(wandb_server, project)


@pytest.mark.usefixtures("_one_figure")
def test_a_server_that_hangs_is_given_up(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = make_sweep({"sgd": [0.1]}, seeds=[0])
    assert send(store) == 0
    assert send_to_hanging(wandb_server, "storage", store, "--report") == 2
    assert "the tables did not arrive" in capfd.readouterr().err
    assert wandb_server.views(project) == []
    assert send(store, "--report") == 0
    compared(wandb_server, project)
    the_report(wandb_server, project)


def test_killed_on_the_way(make_sweep: MakeSweep, wandb_server: WandbServer, project: str) -> None:
    store = make_sweep({"sgd": [0.1]}, seeds=[0])
    assert send(store) == 0
    hangs = wandb_server.fail("upsertView", "hang", 1)
    process = start(store, "--report")
    while not hangs.met and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wandb_server.faults.clear()
    assert send(store, "--report") == 0
    compared(wandb_server, project)
    the_report(wandb_server, project)


@pytest.mark.usefixtures("_one_figure")
def test_what_was_deleted_comes_back_when_asked(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = make_sweep({"sgd": [0.1]}, seeds=[0])
    assert send(store, "--report") == 0
    first = compared(wandb_server, project).key[2]
    wandb_server.state.views.clear()
    assert send(store, "--report") == 0
    view = the_report(wandb_server, project)
    wandb_server.delete(project, first)
    assert send(store, "--report") == 2
    assert "was deleted on the server: --again makes a new one" in capfd.readouterr().err
    assert send(store, "--report", "--again") == 0
    assert compared(wandb_server, project).key[2] == f"{first}-2"
    assert the_report(wandb_server, project).id == view.id
    (own, *_) = specs.grids(view)
    assert specs.groups(wandb_server.state, view, own) == {(): {f"{first}-2"}}


def test_without_the_package_nothing_is_sent(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(publish_report, "PACKAGE", "no_such_package")
    store = make_sweep({"sgd": [0.1]}, seeds=[0])
    before = len(wandb_server.requests)
    assert send(store, "--report") == 2
    assert "pip install 'lrscale[wandb]'" in capfd.readouterr().err
    assert len(wandb_server.requests) == before
