"""Reviews in the format of aclImdb, written by the tests."""

from __future__ import annotations

import random
from pathlib import Path

SAID = {"pos": ["great", "loved", "moving", "superb"], "neg": ["awful", "boring", "mess", "hated"]}
PLAIN = ["the", "film", "was", "it", "and", "plot", "actor", "scene", "a", "of"]


def write_reviews(root: Path, train: int = 40, test: int = 20) -> Path:
    """``root``/aclImdb with so many reviews, half of each class; its path.

    Each is of 1 to 30 words, of which one or two say what its author thought; no two are equal.
    """
    draw = random.Random(0)
    for split, n in (("train", train), ("test", test)):
        for label, said in SAID.items():
            folder = root / "aclImdb" / split / label
            folder.mkdir(parents=True)
            for i in range(n // 2):
                words = draw.choices(PLAIN, k=draw.randrange(29))
                words.insert(draw.randrange(len(words) + 1), draw.choice(said))
                text = f"{' '.join(words)}<br />number{split}{label}{i}!"
                (folder / f"{i}_7.txt").write_text(text, encoding="utf-8")
    return root / "aclImdb"
