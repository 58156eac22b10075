"""A study file: which sweeps a page is made from, what it is held against, and what it shows. Pure.

Everywhere ``where`` is a pandas query over a sweep's columns and ``of`` a pandas expression of
them, so that no number on a page has to be typed: ``arm == 'sgd'``, ``last_loss / first_loss``;
names with dots stand in backquotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lrscale.config import decode_as
from lrscale.errors import ConfigError, Problem, did_you_mean

Check = Literal["difference", "ratio", "mean", "every"]
Direction = Literal["above", "below"]
TableKind = Literal["best", "differences", "groups", "published"]
Bounds = list[float | None]


@dataclass(frozen=True)
class Claim:
    """What others say, and how it is checked.

    Attributes:
        says, source: the claim and who makes it.
        sweep: the key, in the study's ``sweeps``, of the runs that it is checked on.
        check: ``difference`` and ``ratio`` of means of arms, at their chosen points, to other arms;
            ``mean`` over runs; ``every``: the value of each run.
        arms: of a difference or ratio: each arm and the one that it is compared with.
        arm: of a mean: the arm whose chosen point it is of; null for all runs.
        of: what is compared; the reported metric if empty.
        where: which runs count; all if empty.
        expect: of a difference: whether it is claimed to be ``above`` or ``below`` zero.
        between: of the others: the bounds that are claimed, null for none.
        about: the dataset that the claim is about: quick runs, and runs on others, show nothing of
            it. Null for a claim about training in general.
        share: whether the value is a share, to be shown in per cent.
    """

    says: str
    source: str
    sweep: str
    check: Check
    arms: dict[str, str] = field(default_factory=dict)
    arm: str | None = None
    of: str = ""
    where: str = ""
    expect: Direction = "above"
    between: Bounds = field(default_factory=lambda: [None, None])
    about: str | None = None
    share: bool = False


@dataclass(frozen=True)
class Published:
    """A published number and where ours would stand: the reported metric of an ``arm``.

    Attributes:
        about: the dataset that ours must be on to stand beside it.
    """

    what: str
    published: str
    source: str
    sweep: str
    arm: str
    about: str


@dataclass(frozen=True)
class TableSpec:
    """One table.

    Attributes:
        kind: ``best`` point of each group; ``differences`` to the sweep's baseline; ``groups`` of
            runs, with the spread of each of ``show``, or how many runs it is true of;
            ``published`` numbers beside ours and what ours would cost.
        by: keys that make a group.
        show: header to expression.
        rows: of ``published``.
    """

    kind: TableKind
    sweep: str = ""
    by: list[str] = field(default_factory=lambda: ["arm"])
    where: str = ""
    show: dict[str, str] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class FigureSpec:
    """One figure of a sweep's report.

    Attributes:
        title: what it shows.
        figure: its name in the report, such as ``curves``.
        where: which arms it shows; all if empty.
    """

    title: str
    figure: str
    where: str = ""


@dataclass(frozen=True)
class Section:
    """A title, text (Markdown; ``{{ … }}`` are numbers of the runs), tables and figures.

    ``figures``: by ``SWEEP/NAME``, of which their files have their names.
    """

    title: str
    text: str = ""
    tables: Sequence[TableSpec] = ()
    figures: Mapping[str, FigureSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study file.

    Attributes:
        title, intro: what stands at the top.
        sweeps: a key each, to the arguments of ``submit.py`` that make its runs, in order; DIR in
            them stands for the folder of the data.
        claims: what stands first on the page.
    """

    title: str
    intro: str
    sweeps: Mapping[str, Sequence[str]]
    claims: Sequence[Claim]
    sections: Sequence[Section]


@dataclass(frozen=True)
class _Raw:
    title: str
    sweeps: dict[str, list[str]]
    claims: list[dict[str, Any]]
    sections: list[dict[str, Any]]
    intro: str = ""


@dataclass(frozen=True)
class _RawSection:
    title: str
    text: str = ""
    tables: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def study_of(values: Mapping[str, Any]) -> Study:
    """A study file's mapping, checked. Raises ConfigError with every mistake of its first level
    that has one."""
    raw = decode_as(_Raw, values)
    claims = [decode_as(Claim, c, at=f"claims.{i}.") for i, c in enumerate(raw.claims)]
    sections = [_section(s, i) for i, s in enumerate(raw.sections)]
    study = Study(raw.title, raw.intro, raw.sweeps, claims, sections)
    problems = list(_problems(study))
    if problems:
        raise ConfigError(problems)
    return study


def published_rows(table: TableSpec, at: str = "rows.") -> list[Published]:
    """The rows of a table of published numbers."""
    return [decode_as(Published, row, at=f"{at}{i}.") for i, row in enumerate(table.rows)]


def _section(values: Mapping[str, Any], number: int) -> Section:
    at = f"sections.{number}."
    raw = decode_as(_RawSection, values, at=at)
    tables = [decode_as(TableSpec, t, at=f"{at}tables.{i}.") for i, t in enumerate(raw.tables)]
    figures = {name: _figure(name, f, f"{at}figures.{name}.") for name, f in raw.figures.items()}
    return Section(raw.title, raw.text, tables, figures)


def _figure(name: str, values: Any, at: str) -> FigureSpec:
    """A figure's title alone is that of the report's figure of that name."""
    own = values if isinstance(values, Mapping) else {"title": values}
    return decode_as(FigureSpec, {"figure": name.partition("/")[2], **own}, at=at)


def _problems(study: Study) -> list[Problem]:
    """Sweeps that the study does not have, and claims that say nothing."""
    named: dict[str, str] = {f"claims.{i}.sweep": c.sweep for i, c in enumerate(study.claims)}
    for i, section in enumerate(study.sections):
        for j, table in enumerate(section.tables):
            at = f"sections.{i}.tables.{j}."
            if table.kind == "published":
                rows = published_rows(table, f"{at}rows.")
                named |= {f"{at}rows.{k}.sweep": row.sweep for k, row in enumerate(rows)}
            else:
                named[f"{at}sweep"] = table.sweep
        named |= {f"sections.{i}.figures.{f}": f.partition("/")[0] for f in section.figures}
    found = [
        Problem(key, f"'{sweep}' is none of the study's sweeps", did_you_mean(sweep, study.sweeps))
        for key, sweep in named.items()
        if sweep not in study.sweeps
    ]
    found += [
        Problem(f"sweeps.{key}", "no arguments of submit.py", "[sweeps/quickstart.yaml]")
        for key, commands in study.sweeps.items()
        if not commands
    ]
    return [*found, *(p for i, c in enumerate(study.claims) for p in _says_nothing(c, i))]


def _says_nothing(claim: Claim, number: int) -> list[Problem]:
    at = f"claims.{number}."
    if claim.check in ("difference", "ratio") and not claim.arms:
        return [Problem(f"{at}arms", f"a {claim.check} needs arms", "arms: {cosine: static}")]
    if claim.check != "difference" and (len(claim.between) != 2 or claim.between == [None, None]):
        return [Problem(f"{at}between", "two bounds, one of them a number", "[0.85, null]")]
    return []
