"""Two gaps of training: from seen to unseen examples, and from the running loss to the real one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lrscale.compare.aggregate import summarise
from lrscale.compare.comparison import Comparison
from lrscale.compare.intervals import t_interval
from lrscale.compare.load import is_share
from lrscale.compare.mean_sheet import span, texts
from lrscale.compare.provenance import words
from lrscale.compare.render.cells import with_spread
from lrscale.compare.samples import Sample, direction_of, samples
from lrscale.compare.sheet import Sheet

Evaluations = Callable[[str], Sequence[Mapping[str, Any]]]
"""What a run, by its id, has on record of each evaluation, in order."""

GAP_NOTE = (
    "Of the runs that are reported, at the moment at which they are. Gap: how much worse the same "
    "network is on the validation split than on the examples it was trained with, seed by seed, "
    "both without augmentation and dropout; interval of its mean, 95 %, Student's t. No numbers "
    "where a planned seed has no finite result."
)
MINIBATCH_NOTE = (
    "Of the runs that are reported. Running: the mean of the minibatch losses over an epoch, which "
    "costs nothing but is of the network as it was at each step. End of epoch: the loss of the "
    "network as it then is, over the training set. Hidden: their difference, seed by seed, ± the "
    "standard deviation. Augmentation, dropout and label smoothing are in the running loss only."
)


def gap_sheet(comparison: Comparison) -> Sheet | None:
    """Train against validation, a row for each group and metric; None where either was not
    recorded."""
    c = comparison
    names = [
        n for n in dict.fromkeys([c.metric.name, "loss"]) if _recorded(c, f"train_{n}", f"val_{n}")
    ]
    lines = [_gap(c, sample, name) for name in names for sample in samples(c)]
    if not any(line["gap"] is not None for line in lines):
        return None
    return Sheet(
        "generalisation",
        "Generalisation gap",
        GAP_NOTE,
        ["group", "metric", "n", "training", "validation", "gap", "sd", "interval (95 %)"],
        [_gap_cells(line) for line in lines],
        pd.DataFrame(lines),
    )


def minibatch_sheet(comparison: Comparison, evaluations: Evaluations) -> Sheet | None:
    """The running loss against that at the end of the epoch, for each group at its first
    evaluation and where it is reported; None where either was not recorded."""
    c = comparison
    if not _recorded(c, "minibatch_loss", "train_loss"):
        return None
    lines = [line for sample in samples(c) for line in _minibatch_lines(sample, evaluations)]
    if not any(line["hidden"] is not None for line in lines):
        return None
    return Sheet(
        "minibatch",
        "What the running loss hides",
        MINIBATCH_NOTE,
        ["group", "epoch", "n", "running loss", "end of epoch", "hidden", "ratio"],
        [_minibatch_cells(line) for line in lines],
        pd.DataFrame(lines),
    )


def _recorded(c: Comparison, *names: str) -> bool:
    return all(f"metrics.{name}" in c.runs for name in names)


def _gap(c: Comparison, sample: Sample, name: str) -> dict[str, Any]:
    train, validation = (
        sample.complete(f"metrics.{split}_{name}", direction_of(c, name))
        for split in ("train", "val")
    )
    both = list(zip(train, validation, strict=True)) if train and validation else []
    sign = 1 if direction_of(c, name) == "max" else -1
    gaps = [sign * (seen - unseen) for seen, unseen in both]
    found = summarise(gaps)
    low, high = (t_interval(gaps) if found.sd else None) or (None, None)
    return {
        "group": sample.label,
        "metric": name,
        "n": len(gaps),
        "planned": len(sample.seeds),
        "training": summarise(seen for seen, _ in both).mean,
        "validation": summarise(unseen for _, unseen in both).mean,
        "gap": found.mean,
        "gap_sd": found.sd,
        "interval_low": low,
        "interval_high": high,
    }


def _gap_cells(line: dict[str, Any]) -> list[str]:
    percent = is_share(line["metric"])
    name = words(line["metric"]) + (" (%)" if percent else "")
    cells = [line["group"], name, _count(line)]
    cells += [*texts([line["training"]], percent), *texts([line["validation"]], percent)]
    cells += texts([line["gap"], line["gap_sd"]], percent)
    return [*cells, span((line["interval_low"], line["interval_high"]), percent)]


def _minibatch_lines(sample: Sample, evaluations: Evaluations) -> Iterator[dict[str, Any]]:
    runs = sample.reported
    firsts = [next(iter(evaluations(run_id)), {}) for run_id in runs["id"]]
    last = runs["chosen_epoch"] if "chosen_epoch" in runs else runs["epoch"]
    first = {first.get("epoch") for first in firsts}
    if len(first) == 1 and first != {None} and not set(last) <= first:
        pairs = [(_number(one, "minibatch_loss"), _number(one, "train_loss")) for one in firsts]
        yield _minibatch_line(sample, pairs, [first.pop()])
    columns = (sample.values(f"metrics.{name}", "min") for name in ("minibatch_loss", "train_loss"))
    yield _minibatch_line(sample, list(zip(*columns, strict=True)), list(last.dropna()))


def _minibatch_line(
    sample: Sample, pairs: Sequence[tuple[float, ...]], epochs: Sequence[Any]
) -> dict[str, Any]:
    whole = bool(pairs) and all(map(math.isfinite, (value for pair in pairs for value in pair)))
    known = pairs if whole else []
    hidden = summarise(free - real for free, real in known)
    free, real = (summarise(pair[i] for pair in known).mean for i in (0, 1))
    return {
        "group": sample.label,
        "first_epoch": min(epochs, default=None),
        "last_epoch": max(epochs, default=None),
        "n": len(known),
        "planned": len(sample.seeds),
        "running": free,
        "end_of_epoch": real,
        "hidden": hidden.mean,
        "hidden_sd": hidden.sd,
        "ratio": free / real if free and real else None,
    }


def _minibatch_cells(line: dict[str, Any]) -> list[str]:
    ends = [f"{end:.0f}" for end in (line["first_epoch"], line["last_epoch"]) if end is not None]
    free, real = texts([line["running"], line["end_of_epoch"]])
    hidden = line["hidden"]
    return [
        line["group"],
        "–".join(dict.fromkeys(ends)) or "–",
        _count(line),
        free,
        real,
        "–" if hidden is None else with_spread(hidden, line["hidden_sd"]),
        "–" if line["ratio"] is None else f"{line['ratio']:.2f}",
    ]


def _count(line: dict[str, Any]) -> str:
    """``3``, or ``–`` where a seed is lacking."""
    return str(line["n"]) if line["n"] == line["planned"] else f"–/{line['planned']}"


def _number(record: Mapping[str, Any], name: str) -> float:
    """NaN for what was not recorded, or is not finite."""
    value = record.get(name)
    return math.nan if value is None else float(value)
