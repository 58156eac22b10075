from __future__ import annotations

from typing import Any

import pytest

from lrscale.compare.study.file import FigureSpec, study_of
from lrscale.errors import ConfigError

STUDY: dict[str, Any] = {
    "title": "A study",
    "sweeps": {"demo": ["sweeps/demo.yaml --quick"]},
    "claims": [
        {"says": "a", "source": "b", "sweep": "demo", "check": "every", "between": [0, None]}
    ],
    "sections": [{"title": "All", "tables": [{"kind": "best", "sweep": "demo"}]}],
}


def test_a_study() -> None:
    study = study_of(STUDY)
    assert study.claims[0].between == [0, None]
    assert study.sections[0].tables[0].by == ["arm"]


def test_a_figure_is_the_report_s_of_its_name_or_one_of_some_arms() -> None:
    some = {"title": "fast ones", "figure": "curves", "where": "arm == 'fast'"}
    figures = {"demo/curves": "all", "demo/fast": some}
    study = study_of({**STUDY, "sections": [{"title": "x", "figures": figures}]})
    assert study.sections[0].figures == {
        "demo/curves": FigureSpec("all", "curves"),
        "demo/fast": FigureSpec("fast ones", "curves", "arm == 'fast'"),
    }


@pytest.mark.parametrize(
    ("change", "key", "hint"),
    [
        ({"sweeps": {"demo": []}}, "sweeps.demo", "quickstart"),
        ({"titel": "x"}, "titel", "did you mean 'title'?"),
        ({"sections": [{"title": "x", "tables": [{"kind": "besd"}]}]}, "sections.0.tables.0", ""),
        (
            {"sections": [{"title": "x", "tables": [{"kind": "best", "sweep": "dem"}]}]},
            "sections.0.tables.0.sweep", "did you mean 'demo'?",
        ),
        (
            {"sections": [{"title": "x", "figures": {"other/curves": "y"}}]},
            "sections.0.figures.other/curves", "demo",
        ),
        (
            {"sections": [{"title": "x", "figures": {"demo/curves": {"titel": "y"}}}]},
            "sections.0.figures.demo/curves.titel", "did you mean 'title'?",
        ),
        (
            {"claims": [{"says": "a", "source": "b", "sweep": "demo", "check": "ratio"}]},
            "claims.0.arms", "arms: {cosine: static}",
        ),
        (
            {"claims": [{"says": "a", "source": "b", "sweep": "demo", "check": "mean"}]},
            "claims.0.between", "[0.85, null]",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(change: dict[str, Any], key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        study_of({**STUDY, **change})
    assert any(problem.key.startswith(key) for problem in caught.value.problems)
    assert hint in str(caught.value)
