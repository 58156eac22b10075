"""The page's figures of curves: metrics over epochs and time, and the two losses of an epoch."""

from __future__ import annotations

from lrscale.compare import views
from lrscale.compare.chart_values import Chart, Series, numbers_of, scale_of, series_of
from lrscale.compare.comparable import why_not
from lrscale.compare.comparison import Comparison
from lrscale.compare.curves import (
    LOSSES,
    MINIBATCH,
    Line,
    Lines,
    band,
    best_of,
    recorded,
    shown_measures,
    thinned,
)

ENTIRE = 1000  # epochs from which on they need a log scale
PLACES = {"epoch": "epoch", "seconds": "training time (s)"}


def curve_charts(shown: Lines, c: Comparison) -> list[Chart]:
    """The loss and the metric that points were chosen by; the loss beside the running one."""
    made = [_curves(shown, measure) for measure in shown_measures(shown, c.metric)]
    both = all(recorded(shown, measure) for measure in LOSSES)
    return [*made, _minibatch(shown)] if both else made


def _curves(shown: Lines, measure: str) -> Chart:
    series = [one for line in shown.lines for one in _line_series(line, measure)]
    label = views.label_of(measure)
    last = max((one["x"][0][-1] for one in series), default=1)
    epochs = _epochs(last)
    seconds = {"label": PLACES["seconds"], "scale": "linear"}
    untimed = f" {why_not(shown.untimed)}" if shown.untimed else ""
    return {
        "kind": "lines",
        "title": f"{label[0].upper()}{label[1:]}{best_of(shown.total)}",
        "note": f"Mean within the range over seeds; single seeds where not all finished.{untimed}",
        "xs": [epochs] if untimed else [epochs, seconds],
        "y": {"label": label, "scale": scale_of(measure, series)},
        "ordered": shown.ordered,
        "series": series,
    }


def _epochs(last: float) -> dict[str, str]:
    return {"label": PLACES["epoch"], "scale": "log" if last > ENTIRE else "whole"}


def _minibatch(shown: Lines) -> Chart:
    """Both losses of each epoch, of one colour for each line."""
    series = []
    for line in shown.lines:
        for measure, what in LOSSES.items():
            for one in _line_series(line, measure):
                alone = len(one["y"]) == 1  # no line is seen there
                single = {"low": None, "high": None, "dots": alone, "dotted": True}
                texts = [what] * len(one["y"])
                extra = {"texts": texts, **(single if measure == "minibatch_loss" else {})}
                series.append({**one, "x": one["x"][:1], **extra})
    (running, loss), last = LOSSES.values(), max((s["x"][0][-1] for s in series), default=1)
    return {
        "kind": "lines",
        "title": f"{MINIBATCH}{best_of(shown.total)}",
        "note": f"Dotted: {running}. Solid: {loss}, within the range over seeds.",
        "xs": [_epochs(last)],
        "y": {"label": "training loss", "scale": scale_of("train_loss", series)},
        "ordered": shown.ordered,
        "series": series,
    }


def _line_series(line: Line, measure: str) -> list[Series]:
    """The mean with its range, or where there is none each seed by itself."""
    unit = views.unit_of(measure)
    whole, times = band(line, "epoch", measure), band(line, "seconds", measure)
    if whole is not None and times is not None:
        whole = thinned(whole.assign(seconds=times["x"]), "mean")
        return [
            series_of(
                line.caption,
                [whole["x"], whole["seconds"]],
                unit * whole["mean"],
                low=numbers_of(unit * whole["low"]),
                high=numbers_of(unit * whole["high"]),
                line=True,
            )
        ]
    frames = [frame for frame in line.seeds if {measure, *PLACES} <= set(frame)]
    return [
        series_of(
            line.caption,
            [frame[place] for place in PLACES],
            unit * frame[measure].astype(float),
            thin=True,
        )
        for frame in (thinned(frame, measure) for frame in frames)
    ]
