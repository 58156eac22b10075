"""What a method without a network reaches on the same data: a line in every table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrscale.data.corpus import Corpus
from lrscale.data.source import Split
from lrscale.errors import UserError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

STRENGTHS = (0.3, 1.0, 3.0, 10.0)  # inverse regularisations that validation chooses among


@dataclass(frozen=True)
class Reference:
    """Fitted to the training split of some data, and measured on its others.

    Attributes:
        name: as tables show it.
        data: the title of the data.
        metrics: named like those of the runs, such as ``test_accuracy``.
    """

    name: str
    data: str
    metrics: Mapping[str, float]


def tfidf_regression(
    title: str, corpus: Corpus, splits: Mapping[Split, NDArray[np.int64]]
) -> Reference:
    """Logistic regression on TF-IDF: log-scaled counts of single words, at their full length.

    Words of at least two training reviews count; inverse document frequencies are those of the
    training split; the regularisation is the best of ``STRENGTHS`` on validation. 25,000 reviews
    take about 3 s.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise UserError(
            "TF-IDF + logistic regression needs scikit-learn: pip install 'lrscale[demo]'"
        ) from None
    counts = _counts(corpus)
    common = np.bincount(counts[splits["train"]].indices, minlength=counts.shape[1]) >= 2
    counts = counts[:, np.flatnonzero(common)]
    weights = TfidfTransformer(sublinear_tf=True).fit(counts[splits["train"]])
    inputs = {split: weights.transform(counts[texts]) for split, texts in splits.items()}
    labels = {split: corpus.labels[texts] for split, texts in splits.items()}
    fits = (LogisticRegression(C=strength, max_iter=500) for strength in STRENGTHS)
    best = max(
        (fit.fit(inputs["train"], labels["train"]) for fit in fits),
        key=lambda fit: float(np.mean(fit.predict(inputs["val"]) == labels["val"])),
    )
    metrics: dict[str, float] = {}
    for split in splits:
        guessed = best.predict(inputs[split])
        metrics |= {f"{split}_{k}": v for k, v in _scores(guessed, labels[split]).items()}
    return Reference("TF-IDF + logistic regression", title, metrics)


def _counts(corpus: Corpus) -> csr_array:
    """How often each review has each word: (reviews, words)."""
    from scipy.sparse import csr_array

    ones = np.ones(len(corpus.tokens), dtype=np.float32)
    shape = (len(corpus.labels), len(corpus.words))
    counts = csr_array((ones, corpus.tokens, corpus.starts), shape=shape, copy=True)
    counts.sum_duplicates()  # in place
    return counts


def _scores(guessed: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, and F1 of the positive class."""
    hits = int(2 * np.sum((guessed == 1) & (labels == 1)))
    misses = int(np.sum(guessed != labels))
    return {
        "accuracy": float(np.mean(guessed == labels)),
        "f1": hits / (hits + misses) if hits + misses else 0.0,
    }
