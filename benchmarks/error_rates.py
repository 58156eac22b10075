"""Whether intervals cover and the test errs as often as they say: simulated, on equal arms.

    python benchmarks/error_rates.py [--json] [--tables 50000] [--sweeps 400] [--seed 0]

Tables: identical arms, normal over seeds, of equal and unequal standard deviations, go through the
test that a report makes (lrscale.compare.difference). The familywise error is the share of tables
in which it tells *any* arm from the baseline. The worst case is drawn anew with ten times as many
tables, so that it is not the worst by luck.

Sweeps: runs of identical arms with several points each go the whole way, selection on validation
over tuning seeds, reporting on test over reporting seeds, and the sheets of a report; once with
``--final`` and once with the seeds shared, to show what that does.

Targets allow for the error of the simulation: a rate that is just as it should be passes 999 times
out of 1,000.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._common import Result, parser, report
from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.difference import ALPHA, holm, measure
from lrscale.compare.difference_sheet import difference_sheets
from lrscale.compare.final import Final, freeze
from lrscale.compare.mean_sheet import mean_sheet
from lrscale.compare.protocol import Protocol

LEAST, MOST = 93.0, 97.0  # of the coverage of 95 % intervals, per cent
RATIOS = (1.5, 3.0, 10.0)  # of standard deviations
SEEDS = (3, 5, 10)
ARMS = (2, 3, 8)
# Of a simulated sweep: accuracies near 0.9, test correlated with validation run by run.
POINTS, SWEEP_ARMS, MEAN, SD, CORRELATION = 6, 3, 0.9, 0.005, 0.7


@dataclass(frozen=True)
class Case:
    """Identical arms: how many seeds, and each arm's standard deviation, the baseline's first."""

    seeds: int
    name: str
    deviations: tuple[float, ...]

    def __str__(self) -> str:
        return f"{len(self.deviations)} arms, {self.seeds} seeds, {self.name}"


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--tables", type=int, default=50_000, help="of each case")
    arguments.add_argument("--sweeps", type=int, default=400, help="for each number of seeds")
    arguments.add_argument("--seed", type=int, default=0, help="of the simulation")
    options = arguments.parse_args()
    rng = np.random.default_rng(options.seed)
    results = tables(rng, options.tables)
    for seeds in SEEDS:
        results += sweeps(rng, options.sweeps, seeds)
    report(results, options.json)


def cases() -> Iterator[Case]:
    for seeds in SEEDS:
        for arms in ARMS:
            yield Case(seeds, "equal", (1.0,) * arms)
            for ratio in RATIOS:
                few = (1.0,) * (arms - 1)
                yield Case(seeds, f"baseline × {ratio:g}", (ratio, *few))
                yield Case(seeds, f"baseline / {ratio:g}", (1 / ratio, *few))
                if arms > 2:
                    ladder = np.geomspace(1, ratio, arms)
                    yield Case(seeds, f"one × {ratio:g}", (*few, ratio))
                    yield Case(seeds, f"1 to {ratio:g}", tuple(map(float, ladder)))


def tables(rng: np.random.Generator, count: int) -> list[Result]:
    """Familywise error and coverage of the intervals of differences, over all cases."""
    found = {case: judge(rng, case, count) for case in cases()}
    worst = max(found, key=lambda case: found[case][0])
    error, _ = judge(rng, worst, 10 * count)
    least, *_, most = sorted(found, key=lambda case: found[case][1])
    details = {f"familywise error, {case} (%)": found[case][0] for case in found}
    return [
        Result(
            f"familywise error, worst of {len(found)} cases ({worst})",
            error,
            at_most(100 * ALPHA, 10 * count),
            "%",
            details,
        ),
        *coverage(f"difference, least ({least})", found[least][1], count)[:1],
        *coverage(f"difference, most ({most})", found[most][1], count)[1:],
    ]


def judge(rng: np.random.Generator, case: Case, count: int) -> tuple[float, float]:
    """In per cent of tables: any difference found; of all intervals: zero covered."""
    found, covered = 0, 0.0
    for part in np.array_split(np.arange(count), math.ceil(count / 50_000)):
        samples = [sd * rng.standard_normal((len(part), case.seeds)) for sd in case.deviations]
        measured = measure(samples, paired=False)
        p = holm([m.p for m in measured])
        found += int((p < ALPHA).any(axis=0).sum())
        covered += sum(float((abs(m.difference) <= m.margin).sum()) for m in measured)
    return 100 * found / count, 100 * covered / count / (len(case.deviations) - 1)


def sweeps(rng: np.random.Generator, count: int, seeds: int) -> list[Result]:
    """Coverage and familywise error of whole sweeps of identical arms."""
    fair, shared = [], []
    for _ in range(count):
        tuning = runs_of(rng, [(arm, point) for arm in names() for point in points()], seeds, 0)
        first = compare_runs(tuning)
        shared.append(read(first))
        chosen = freeze("sim", tuning, first.groups, "val_accuracy", when=0.0)["chosen"]
        places = [(choice["arm"], json.dumps(choice["point"])) for choice in chosen]
        reporting = runs_of(rng, places, seeds, seeds)
        frozen = Final(
            ("sim",),
            frozenset(places),
            ("val_accuracy",),
            (0.0,),
            frozenset(tuning["id"]),
            reporting,
        )
        fair.append(read(compare_runs(tuning, frozen)))
    seen, flattered = (pd.DataFrame(said).mean().to_dict() for said in (fair, shared))
    what, several = f"{seeds} seeds", count * SWEEP_ARMS
    details = {
        f"{what}: --final, chosen point's test accuracy less the true one (points)": seen["bias"],
        f"{what}: shared seeds, the same": flattered["bias"],
        f"{what}: shared seeds, coverage of means (%)": flattered["means"],
        f"{what}: shared seeds, familywise error (%)": flattered["errors"],
    }
    limit = at_most(100 * ALPHA, count)
    results = [
        Result(f"familywise error, sweeps, {what}", seen["errors"], limit, "%", details),
        *coverage(f"sweeps, {what}: mean", seen["means"], several),
        *coverage(f"sweeps, {what}: difference", seen["differences"], count),
    ]
    if "bootstrap" in seen:
        results += coverage(f"sweeps, {what}: mean by bootstrap", seen["bootstrap"], several)
    return results


def read(comparison: Comparison) -> dict[str, float]:
    """What a report says of identical arms, in per cent; bias in points."""
    sheet = mean_sheet(comparison)
    assert sheet is not None
    means = sheet.frame[sheet.frame["metric"] == "test_accuracy"]
    (differences,) = (s.frame for s in difference_sheets(comparison, lambda sample: None))
    said = {
        "bias": 100 * float(means["mean"].mean() - MEAN),
        "means": covered(means["interval_low"], means["interval_high"], MEAN),
        "differences": covered(differences["interval_low"], differences["interval_high"], 0.0),
        "errors": 100.0 * bool(differences["shown"].any()),
    }
    if means["bootstrap_low"].notna().all():
        said["bootstrap"] = covered(means["bootstrap_low"], means["bootstrap_high"], MEAN)
    return said


def covered(low: pd.Series[float], high: pd.Series[float], truth: float) -> float:
    return 100 * float(((low <= truth) & (truth <= high)).mean())


def compare_runs(runs: pd.DataFrame, final: Final | None = None) -> Comparison:
    protocol = Protocol(baseline=names()[0])
    return compare(runs, {"name": "sim"}, protocol=protocol, final=final)


def runs_of(
    rng: np.random.Generator, places: list[tuple[str, str]], seeds: int, first: int
) -> pd.DataFrame:
    """Finished runs, as ``load_runs`` has them, of points that are all equally good."""
    rows: list[dict[str, Any]] = []
    for arm, point in places:
        for seed in range(first, first + seeds):
            common, own = rng.standard_normal(2)
            other = CORRELATION * common + math.sqrt(1 - CORRELATION**2) * own
            rows.append({
                "id": f"{arm} {point} {seed}", "sweep": "sim", "arm": arm, "point": point,
                "seed": seed, "trial": None, "state": "done",
                "config.optimizer.lr": json.loads(point)["lr"],
                "metrics.val_accuracy": MEAN + SD * common,
                "metrics.test_accuracy": MEAN + SD * other,
            })  # fmt: skip
    frame: pd.DataFrame = pd.DataFrame(rows)
    return frame


def names() -> list[str]:
    return [f"arm{i}" for i in range(SWEEP_ARMS)]


def points() -> list[str]:
    return [json.dumps({"lr": 10.0**-i}) for i in range(POINTS)]


def coverage(what: str, per_cent: float, count: int) -> list[Result]:
    """Not too low, and not too high."""
    name = f"coverage of 95 % intervals, {what}"
    return [
        Result(name, per_cent, 100 - at_most(100 - LEAST, count), "%", at_least=True),
        Result(name, per_cent, at_most(MOST, count), "%"),
    ]


def at_most(per_cent: float, count: int) -> float:
    """What so many trials at this rate exceed once in a thousand times."""
    return 100 * float(stats.binom.ppf(0.999, count, per_cent / 100)) / count


if __name__ == "__main__":
    main()
