"""A study's page: claims and their verdicts first, then what ran, then the rest. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from lrscale.compare.render.cells import numbers
from lrscale.compare.render.html import PARTS
from lrscale.compare.study.claims import judge
from lrscale.compare.study.data import SweepData
from lrscale.compare.study.file import Study
from lrscale.compare.study.queries import evaluate, matching
from lrscale.compare.study.tables import CostOf, table
from lrscale.errors import UserError

STATISTICS: dict[str, Callable[[pd.Series], float]] = {
    "mean": lambda values: float(values.mean()),
    "median": lambda values: float(values.median()),
    "least": lambda values: float(values.min()),
    "greatest": lambda values: float(values.max()),
}


def page(name: str, command: str, study: Study, data: Mapping[str, SweepData], cost: CostOf) -> str:
    """The Markdown.

    Args:
        name: of the study, and of the folder beside the page.
        command: that makes the page again.
        data: of each sweep that has run.
    """
    environment = _environment()
    environment.globals |= {**_statistics(data), "cost": lambda sweep: str(cost(sweep, ""))}
    findings = [(claim, judge(claim, data.get(claim.sweep))) for claim in study.claims]
    sections = [
        {
            "title": section.title,
            "text": _filled_in(environment, section.text, section.title),
            "tables": [made for spec in section.tables for made in table(spec, data, cost)],
            "figures": {
                f"{name}/{figure.replace('/', '_')}.png": shown.title
                for figure, shown in section.figures.items()
            },
        }
        for section in study.sections
    ]
    text = environment.get_template("study.md.j2").render(
        name=name,
        command=command,
        study=study,
        intro=_filled_in(environment, study.intro, "intro"),
        findings=findings,
        ran={key: _ran(data[key]) for key in study.sweeps if key in data},
        sections=sections,
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PARTS),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["row"] = lambda row: " | ".join(
        re.sub(r"(?<!\\)\|", r"\\|", str(cell)).replace("\n", " ") for cell in row
    )
    return environment


def _filled_in(environment: Environment, text: str, place: str) -> str:
    """A text of the study file with its numbers."""
    try:
        return environment.from_string(text).render().strip()
    except TemplateError as error:
        raise UserError(f"the text of '{place}': {error}") from None


def _statistics(data: Mapping[str, SweepData]) -> dict[str, Callable[..., str]]:
    """What a text may ask of the runs: ``{{ mean('cifar', '`metrics.val_accuracy`', "arm == 'a'",
    percent=True) }}``; ``count('cifar', 'arm == "a"')``."""

    def runs(sweep: str, where: str) -> pd.DataFrame:
        if sweep not in data:
            raise UserError(f"the text needs the runs of {sweep}, which are not there")
        return matching(data[sweep].runs, where)

    def count(sweep: str, where: str = "") -> str:
        return f"{len(runs(sweep, where)):,}"

    def asked(statistic: Callable[[pd.Series], float]) -> Callable[..., str]:
        def of(
            sweep: str, expression: str, where: str = "", percent: bool = False, digits: int = 0
        ) -> str:
            values = evaluate(runs(sweep, where), expression).dropna()
            if values.empty:
                return "–"
            value = statistic(values)
            return f"{value:.{digits}g}" if digits else numbers([value], percent)[0]

        return of

    return {"count": count, **{name: asked(s) for name, s in STATISTICS.items()}}


def _ran(data: SweepData) -> dict[str, Any]:
    """What a reader must know of the runs of a sweep."""
    runs, made = data.runs, data.provenance
    states = runs["state"].value_counts()
    hours = runs["seconds.training"].sum() / 3600 if "seconds.training" in runs else None
    return {
        "runs": ", ".join(f"{count:,} {state}" for state, count in states.items()),
        "seeds": made.seeds_text if "phase" not in runs else _phases(data),
        "data": made.data_title if "data" in runs else "–",
        "code": ", ".join(made.code),
        "hours": "–" if hours is None else f"{hours:.1f}",
    }


def _phases(data: SweepData) -> str:
    assert data.comparison is not None
    return data.comparison.provenance.seeds_text
