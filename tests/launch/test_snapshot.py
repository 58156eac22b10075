from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launch import snapshot
from launch.snapshot import save, take, working_tree
from lrscale.errors import UserError
from lrscale.store import Store

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


def git(tree: Path, *arguments: str) -> str:
    command = ["git", *IDENTITY, "-C", str(tree), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write(tree: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A tree of the project's shape, outside of git."""
    tree = tmp_path / "tree"
    write(
        tree,
        {
            "setup.cfg": "",
            ".gitignore": "ignored/\n*.log\n",
            "launch/job.py": "job = 1\n",
            "launch/status.py": "status = 1\n",
            "lrscale/train/loop.py": "step = 1\n",
            "lrscale/data/mnist.py": "data = 1\n",
            "lrscale/compare/tables.py": "table = 1\n",
        },
    )
    return tree


@pytest.fixture
def repository(plain: Path) -> Path:
    git(plain, "init", "--quiet")
    git(plain, "add", ".")
    git(plain, "commit", "--quiet", "-m", "first")
    return plain


def test_a_snapshot_holds_what_is_committed_and_what_is_not(repository: Path) -> None:
    write(repository, {"lrscale/train/loop.py": "step = 2\n", "lrscale/optim/new.py": "new\n"})
    write(repository, {"ignored/a.py": "", "x.log": "", ".env": "SECRET=1", "setup.cfg": "x"})
    (repository / "launch/status.py").unlink()
    taken = take(repository)
    assert taken.files["lrscale/train/loop.py"] == b"step = 2\n"
    assert "lrscale/optim/new.py" in taken.files
    assert not {"ignored/a.py", "x.log", ".env", "launch/status.py"} & set(taken.files)
    assert ".gitignore" in taken.files  # hidden, but tracked


def test_commit_and_uncommitted_changes_are_recorded(repository: Path) -> None:
    clean = take(repository)
    assert (clean.commit, clean.dirty) == (git(repository, "rev-parse", "HEAD"), False)
    write(repository, {"lrscale/train/loop.py": "step = 2\n", "extra.py": ""})
    dirty = take(repository)
    assert dirty.dirty
    assert dirty.provenance["untracked"] == ["extra.py"]
    assert "-step = 1\n+step = 2\n" in dirty.provenance["diff"]
    assert json.loads(json.dumps(dirty.provenance)) == dirty.provenance


def test_the_recorded_changes_are_bounded(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "MAX_DIFF", 100)
    write(repository, {"lrscale/train/loop.py": "x\n" * 1000})
    assert len(take(repository).provenance["diff"]) < 200


def test_a_repository_without_a_commit_is_taken_too(plain: Path) -> None:
    git(plain, "init", "--quiet")
    taken = take(plain)
    assert taken.commit == ""
    assert "launch/job.py" in taken.files


def test_a_tree_below_the_top_of_its_repository_is_taken_alone(tmp_path: Path, plain: Path) -> None:
    write(tmp_path, {"elsewhere.py": ""})
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    assert "launch/job.py" in take(plain).files
    assert all("elsewhere" not in name for name in take(plain).files)


def test_git_hooks_do_not_redirect_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = take(repository)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other.git"))
    assert take(repository) == expected


@pytest.mark.parametrize("kind", ["plain", "repository"])
def test_run_stores_data_and_environments_stay_out(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tree: Path = request.getfixturevalue(kind)
    before = take(tree)
    Store(tree / "my [runs]").create()
    write(tree, {"my [runs]/runs/ab/abc/config.json": "{}", "images/train.bin": "0"})
    excluded = [tree / "my [runs]", tree / "images", tmp_path, tree]
    assert take(tree, excluded).digest == before.digest


def test_without_git_what_is_not_code_stays_out(plain: Path) -> None:
    before = take(plain)
    write(
        plain,
        {
            "data/train.bin": "0",
            "env/pyvenv.cfg": "",
            "env/lib/x.py": "",
            "old-runs/store.json": "{}",
            "lrscale/__pycache__/x.pyc": "",
            ".env": "KEY=1",
        },
    )
    assert take(plain).digest == before.digest
    assert "lrscale/data/mnist.py" in before.files


def test_of_an_installed_package_only_its_own_folders_are_taken(plain: Path) -> None:
    (plain / "setup.cfg").unlink()
    write(plain, {"torch/huge.py": ""})
    assert {name.split("/")[0] for name in take(plain).files} == {"launch", "lrscale"}


def test_an_edit_changes_the_digest_and_putting_it_back_restores_it(repository: Path) -> None:
    before = take(repository)
    write(repository, {"lrscale/train/loop.py": "step = 2\n"})
    edited = take(repository)
    git(repository, "commit", "-qam", "second")
    committed = take(repository)
    write(repository, {"lrscale/train/loop.py": "step = 1\n"})
    restored = take(repository)
    assert edited.digest != before.digest
    assert committed.digest == edited.digest  # content counts, not history
    assert restored.digest == before.digest


@pytest.mark.parametrize(
    ("name", "decides"),
    [
        ("lrscale/train/loop.py", True),
        ("lrscale/optim/new.py", True),
        ("launch/job.py", True),
        ("launch/status.py", False),
        ("lrscale/compare/tables.py", False),
        ("README.md", False),
        ("lrscale/notes.txt", False),
    ],
)
def test_only_code_that_decides_results_makes_them_stale(
    repository: Path, name: str, decides: bool
) -> None:
    before = take(repository)
    write(repository, {name: "changed\n"})
    assert (take(repository).code != before.code) == decides


def test_saving_writes_what_was_taken_whatever_the_tree_is_by_then(
    repository: Path, store: Store
) -> None:
    taken = take(repository)
    write(repository, {"lrscale/train/loop.py": "step = 9\n"})
    path = save(taken, store)
    assert (path / "lrscale/train/loop.py").read_text() == "step = 1\n"
    assert path == store.snapshot_dir(taken.digest)


def test_a_snapshot_is_stored_once_owner_only_and_keeps_what_is_executable(
    repository: Path, store: Store
) -> None:
    (repository / "launch/job.py").chmod(0o755)
    taken = take(repository)
    path = save(taken, store)
    written = (path / "launch/job.py").stat()
    assert save(taken, store) == path
    assert (path / "launch/job.py").stat().st_mtime_ns == written.st_mtime_ns
    assert [entry.name for entry in path.parent.iterdir()] == [taken.digest]
    modes = {p.stat().st_mode & 0o777 for p in [path, *path.rglob("*")]}
    assert modes == {0o700, 0o600}
    assert os.access(path / "launch/job.py", os.X_OK)


def test_two_may_save_at_once(repository: Path, store: Store) -> None:
    taken = take(repository)
    script = (
        "import sys; from pathlib import Path; from launch.snapshot import *; "
        "print(save(take(Path(sys.argv[1])), Store(sys.argv[2])))"
    )
    command = [sys.executable, "-c", script, str(repository), str(store.root)]
    with ThreadPoolExecutor() as pool:
        run: Callable[[int], str] = lambda _: subprocess.run(  # noqa: E731
            command, check=True, capture_output=True, text=True, cwd=working_tree()
        ).stdout.strip()
        paths = set(pool.map(run, range(4)))
    assert paths == {str(store.snapshot_dir(taken.digest))}
    assert [p.name for p in (store.root / "snapshots").iterdir()] == [taken.digest]


def test_a_stored_snapshot_that_was_edited_is_put_right(repository: Path, store: Store) -> None:
    taken = take(repository)
    copy = save(taken, store) / "lrscale/train/loop.py"
    copy.write_text("step = 'edited in the store'\n")
    with pytest.warns(UserWarning, match="altered"):
        save(taken, store)
    assert copy.read_text() == "step = 1\n"


def test_too_much_is_refused_naming_the_largest(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "MAX_BYTES", 2_000_000)
    (repository / "weights.bin").write_bytes(bytes(3_000_000))
    with pytest.raises(UserError, match=r"3\.0 MB  weights\.bin"):
        take(repository)
    monkeypatch.setattr(snapshot, "MAX_BYTES", 50_000_000)
    monkeypatch.setattr(snapshot, "MAX_FILES", 3)
    with pytest.raises(UserError, match=r"\.gitignore"):
        take(repository)


def test_no_key_is_recorded(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "planted-key")
    monkeypatch.setenv("HF_TOKEN", "planted-key")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    git(repository, "remote", "add", "origin", "https://user:planted-key@example.org/x.git")
    provenance = take(repository).provenance
    assert "planted-key" not in json.dumps(provenance)
    assert provenance["environment"]["OMP_NUM_THREADS"] == "3"


def test_the_packages_are_those_that_importlib_finds(repository: Path) -> None:
    from importlib.metadata import version

    packages = take(repository).provenance["packages"]
    assert packages["numpy"] == version("numpy")
    assert packages["torch"] == version("torch")


def test_this_project_itself_can_be_frozen_and_imported(tmp_path: Path, store: Store) -> None:
    path = save(take(working_tree(), [store.root]), store)
    code = "import launch.job, lrscale.config; print(launch.job.__file__)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=path, check=True, capture_output=True, text=True)
    assert Path(done.stdout.strip()) == path / "launch/job.py"
