"""Texts as padded rows of tokens, with a vocabulary from the training split only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrscale.data.corpus import Corpus
from lrscale.data.source import Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PADDING, UNKNOWN = 0, 1  # ids; words follow


def vocabulary(corpus: Corpus, texts: NDArray[np.int64], size: int) -> NDArray[np.int32]:
    """The id of each of the corpus's words: the commonest of ``texts`` get 2, 3, …, ``size`` − 1.

    All others are ``UNKNOWN``. Words of equal count are taken in alphabetical order, so that
    nothing outside ``texts`` has a say.
    """
    counts = np.bincount(_joined(corpus, texts), minlength=len(corpus.words))
    seen = np.flatnonzero(counts).tolist()
    commonest = sorted(seen, key=lambda word: (-counts[word], corpus.words[word]))[: size - 2]
    ids = np.full(len(corpus.words), UNKNOWN, dtype=np.int32)
    ids[commonest] = np.arange(2, 2 + len(commonest), dtype=np.int32)
    return ids


def rows(
    corpus: Corpus, texts: NDArray[np.int64], ids: NDArray[np.int32], length: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Tokens (n, ``length``), padded at the end, and how many of each row are a text's.

    Of a longer text the last tokens are kept, where reviewers sum up; of an empty one there is
    one unknown token.
    """
    begins, ends = corpus.starts[texts], corpus.starts[texts + 1]
    begins = np.maximum(begins, ends - length)
    lengths = np.maximum(ends - begins, 1)
    places = np.arange(length)
    inside = places < (ends - begins)[:, None]
    tokens = np.where(inside, ids[corpus.tokens[(begins[:, None] + places) * inside]], PADDING)
    tokens[ends == begins, 0] = UNKNOWN
    return tokens.astype(np.int32), lengths


class Tokens:
    """Whole splits on the device; a batch is cut to its longest text. Implements ``Source``.

    Inputs are int32 tokens (batch, longest), ``PADDING`` after the end of a text. The texts are
    never augmented, so that ``key`` changes nothing.

    Attributes:
        input_shape: size of the vocabulary, and the greatest length.
    """

    classes = 2

    def __init__(
        self,
        title: str,
        corpus: Corpus,
        splits: Mapping[Split, NDArray[np.int64]],
        size: int,
        length: int,
        device: torch.device,
    ) -> None:
        """Args: which texts of ``corpus`` make up each split; ``size`` of the vocabulary."""
        import torch

        self.title = title
        self.input_shape: tuple[int, ...] = (size, length)
        self._device = device
        self._tokens: dict[Split, Tensor] = {}
        self._labels: dict[Split, Tensor] = {}
        self._lengths: dict[Split, Tensor] = {}
        ids = vocabulary(corpus, splits["train"], size)
        for split, texts in splits.items():
            tokens, lengths = rows(corpus, texts, ids, length)
            self._tokens[split] = torch.from_numpy(tokens).to(device)
            self._labels[split] = torch.from_numpy(corpus.labels[texts]).to(device)
            self._lengths[split] = torch.from_numpy(lengths)

    def size(self, split: Split) -> int:
        return len(self._labels[split])

    def lengths(self, split: Split) -> Tensor:
        """Tokens of each text, int64 on the CPU: what is best batched with what."""
        return self._lengths[split]

    def batches(
        self, split: Split, indices: Iterable[Tensor], key: tuple[int, int] | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        tokens, labels, lengths = self._tokens[split], self._labels[split], self._lengths[split]
        for chosen in indices:
            longest = int(lengths[chosen].max()) if len(chosen) else 1
            here = chosen.to(self._device, non_blocking=True)
            yield tokens[:, :longest].index_select(0, here), labels.index_select(0, here)


def _joined(corpus: Corpus, texts: NDArray[np.int64]) -> NDArray[np.int32]:
    """All tokens of ``texts``."""
    of_text = np.repeat(np.arange(len(corpus.labels)), np.diff(corpus.starts))
    wanted = np.zeros(len(corpus.labels), dtype=np.bool_)
    wanted[texts] = True
    return corpus.tokens[wanted[of_text]]
