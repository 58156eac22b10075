"""What a finished run answered to each test example, as a small file's content."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Predictions:
    """Of one run, in the order of the test set.

    Attributes:
        answers: the class that was given to each example: (examples,), uint8 or uint16.
        correct: whether it was the right one: (examples,), bool.
    """

    answers: np.ndarray
    correct: np.ndarray


def pack(predictions: Predictions) -> bytes:
    """As a compressed NumPy archive, ``correct`` in bits: about 5 kB for 10,000 examples of ten
    classes."""
    import numpy as np

    answers, buffer = predictions.answers, io.BytesIO()
    narrow = answers.astype(np.uint8 if answers.max(initial=0) < 256 else np.uint16)
    np.savez_compressed(buffer, answers=narrow, correct=np.packbits(predictions.correct))
    return buffer.getvalue()


def unpack(content: bytes) -> Predictions:
    """What ``pack`` made. Nothing in it is executed."""
    import numpy as np

    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        answers = archive["answers"]
        correct = np.unpackbits(archive["correct"], count=len(answers)).astype(bool)
    return Predictions(answers, correct)
