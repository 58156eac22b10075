"""Reviews as numbers: tokenised once, and kept in the user's cache."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrscale.data.cache import cache_folder, read_arrays, write_arrays
from lrscale.data.reviews import Folder, Packaged, Review

FORM = 1  # of the tokeniser and of the cached file: another number, another file
TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[!?]")


@dataclass(frozen=True)
class Corpus:
    """Every review as indices into a list of words.

    Attributes:
        words: the distinct tokens, in order of first appearance.
        tokens: of all reviews, one after the other: indices into ``words``, int32.
        starts: where each review begins in ``tokens``, and where the last one ends: (n + 1,).
        labels: 0 (negative) or 1: (n,).
        test: which reviews belong to a test set that came with the data: (n,).
        hashes: of each review's tokens, uint64: equal for equal reviews, and the same whatever
            stands beside them: (n,).
        fingerprint: ``TRAIN+TEST-`` and 12 hexadecimal digits of the content.
    """

    words: list[str]
    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]
    labels: NDArray[np.int64]
    test: NDArray[np.bool_]
    hashes: NDArray[np.uint64]
    fingerprint: str


def tokenise(text: str) -> list[str]:
    """Lower-cased words with their inner apostrophes, ``!`` and ``?``; no HTML line breaks.

    >>> tokenise("It's <br /><br />GREAT, isn't it?!")
    ["it's", 'great', "isn't", 'it', '?', '!']
    """
    return TOKEN.findall(text.lower().replace("<br />", " "))


def load_corpus(source: Folder | Packaged) -> Corpus:
    """The corpus of ``source``, tokenised when it is first seen in this version: some 5 s.

    Later calls read ``~/.cache/lrscale/imdb-….npz``, plain arrays that hold no code.
    Raises UserError as ``source.read`` does.
    """
    return _load(source, source.version())


@lru_cache(maxsize=2)
def _load(source: Folder | Packaged, version: str) -> Corpus:
    file = cache_folder() / f"imdb-{FORM}-{version}.npz"
    kept = _read(file)
    if kept is not None:
        return kept
    corpus = _tokenised(source.read())
    _write(file, corpus)
    return corpus


class _Numbers(dict[str, int]):
    """Words to 0, 1, 2, … in the order in which they are first asked for."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


def _tokenised(reviews: Iterable[Review]) -> Corpus:
    numbers = _Numbers()
    tokens, starts = array("i"), array("q", [0])
    labels, test = array("b"), array("b")
    hashes = bytearray()
    content = hashlib.sha256()
    for review in reviews:
        words = tokenise(review.text)
        tokens.extend(map(numbers.__getitem__, words))
        starts.append(len(tokens))
        labels.append(review.label)
        test.append(review.split == "test")
        hashes += hashlib.sha256(" ".join(words).encode()).digest()[:8]
        content.update(f"{review.split}\0{review.label}\0{review.text}\0".encode())
    sizes = f"{test.count(0)}+{test.count(1)}"
    return Corpus(
        words=list(numbers),
        tokens=np.array(tokens, dtype=np.int32),
        starts=np.array(starts, dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
        test=np.array(test, dtype=np.bool_),
        hashes=np.frombuffer(bytes(hashes), dtype="<u8").astype(np.uint64),
        fingerprint=f"{sizes}-{content.hexdigest()[:12]}",
    )


def _read(file: Path) -> Corpus | None:
    """What the file holds; None where there is none, or a damaged one."""
    kept = read_arrays(file)
    if kept is None:
        return None
    try:
        return Corpus(
            words=kept.pop("words").tobytes().decode().split("\n"),
            fingerprint=kept.pop("fingerprint").tobytes().decode(),
            **kept,
        )
    except (ValueError, KeyError, TypeError):
        return None


def _write(file: Path, corpus: Corpus) -> None:
    texts = {"words": "\n".join(corpus.words), "fingerprint": corpus.fingerprint}
    arrays: dict[str, Any] = {k: v for k, v in vars(corpus).items() if k not in texts}
    arrays |= {k: np.frombuffer(text.encode(), np.uint8) for k, text in texts.items()}
    write_arrays(file, arrays)
