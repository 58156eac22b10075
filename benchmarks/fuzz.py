"""Whatever a sweep file holds, submit.py plans it or says what is wrong, and never half submits it.

    python benchmarks/fuzz.py [--json] [--files 20000] [--seed 0] [--keep DIR]

Files are made from those in sweeps/ (values, keys and blocks changed, taken out, moved; their text
damaged), from what hypothesis draws of the language (tests/support/sweep_strategies.py), and from
plain bytes; a third of them meet overrides as odd on the command line. For each the command itself
runs in this process: ``--dry-run`` always, and every fourth time a submission, to this machine or
to SLURM by turns, up to the point where a pool would start or sbatch be called.

A file counts against the target if anything but exit code 0, or 2 with an error that begins
``error: ``, comes of it; if a dry run or a refusal leaves the smallest trace in the run store; or
if a submission is not complete: its manifest, its record, what every run is to be, and the code.
Those files are printed, and kept in ``--keep``.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import shutil
import signal
import string
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from sweep_strategies import ARGUMENTS, SWEEPS, VALUES

from benchmarks._common import Result, parser, report
from launch import cluster, handover, submit
from launch.claims import Claims
from launch.snapshot import take, working_tree
from launch.sweep_yaml import parse_yaml
from lrscale.config import decode, identity
from lrscale.store import Store

SWEEPS_FOLDER = working_tree() / "sweeps"
SECONDS = 60  # for one file; the longest of those in sweeps/ takes a third of a second
VALID = [path.read_text(encoding="utf-8") for path in sorted(SWEEPS_FOLDER.glob("*.yaml"))]
KEYS = sorted(
    {
        *("name", "notes", "include", "run", "arms", "grid", "zip", "random", "exclude", "seeds"),
        *("resources", "parallel", "runs_per_task", "minutes_per_run", "per_gpu", "quick", "space"),
        *("workload", "optimizer", "optimizer.name", "optimizer.lr", "schedule", "data.root"),
        *("data", "model", "batch_size", "epochs", "seed", "trials", "sampler", "track", "monitor"),
        *("logspace", "linspace", "range", "loguniform", "choice", "weights", "time", "mem"),
        *("gpus_per_node", "cpus_per_task", "nodes", "partition", "constraint", "", ".", "a..b"),
    }
)
TEXTS = [
    *("../x", "/etc/passwd", "x.yaml", "$(touch HIT)", "`id`", "; rm -rf /", "\n", "\0", "\u202e"),
    *("${optimizer.lr}", "${oc.env:HOME}", "${mul:2,${batch_size}}", "${", "${a:${b:", "\ud800"),
    *("sgd", "adam", "digits_mlp", "gd", "auto", "1e-3", "02:00:00", "32G", "*", "a" * 300, "é☃"),
]
NUMBERS = [0, 1, 2, 3, 5, -1, 0.5, 1e-3, 1e300, float("inf"), float("nan"), 10**9, 10**30, -0.0]
SCALARS = [*TEXTS, *NUMBERS, True, False, None, [], {}, "", " "]
TOKENS = ["&a ", "*a", "<<: *a", "!!python/object:os.system ", "!!int ", "- ", ": ", "{", "}", "["]
TOKENS += ["]", "? ", "| ", "> ", "'", '"', "#", "%", "---\n", "\t", "\n", ",", "${", "\0", "\r"]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--files", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=0, help="of the files")
    arguments.add_argument("--keep", type=Path, help="where files that broke something go")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="lrscale-fuzz-") as folder, handed_to_nobody():
        trial = Trial(Path(folder), options.files, options.keep)
        for content, extra in files(options.files - options.files // 4, options.seed):
            trial.check(content, extra)
        draw(options.files // 4, options.seed, trial)
    counts = dict(sorted(trial.counts.items()))
    name = f"{trial.done:,} files: those that ended otherwise than they may"
    report([Result(name, trial.broken, 0, "files", counts)], options.json)


# --- files


def files(count: int, seed: int) -> Iterator[tuple[bytes, list[str]]]:
    """Contents of files and arguments beside them."""
    draws = random.Random(seed)
    for _ in range(count):
        make = draws.choices([changed, damaged, noise], [6, 3, 1])[0]
        yield make(draws), overrides(draws) if draws.random() < 0.3 else []


def changed(draws: random.Random) -> bytes:
    """A valid sweep with one to four of its values, keys or blocks changed."""
    root = [parse_yaml(draws.choice(VALID), "valid")]
    for _ in range(draws.choice([1, 1, 1, 2, 4])):
        change(draws, root)
    return json.dumps(root[0], ensure_ascii=draws.random() < 0.5).encode(errors="surrogatepass")


def change(draws: random.Random, root: list[Any]) -> None:
    """One change somewhere in a tree of lists and dicts."""
    places = list(walk(root))
    block, key = draws.choice(places)
    kind = draws.randrange(8)
    if kind > 5 and type(block[key]) in (int, float):
        block[key] = draws.choice([block[key] * 2, block[key] / 2, str(block[key])])
    elif kind in (0, 6):
        block[key] = draws.choice(SCALARS)
    elif kind == 1:
        other, at = draws.choice(places)
        block[key] = copy.deepcopy(other[at])
    elif kind == 2:
        block[key] = draws.choice([[block[key]], {draws.choice(KEYS): block[key]}])
    elif kind == 3 and isinstance(block[key], dict):
        block[key][draws.choice(KEYS + TEXTS)] = draws.choice(SCALARS + NUMBERS)
    elif kind == 4 and isinstance(block, dict):
        block[draws.choice(KEYS + TEXTS)] = block.pop(key)
    elif block is not root and kind == 5:
        del block[key]


def walk(block: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a tree, as the list or dict that holds it and its key."""
    for key in list(block) if isinstance(block, dict) else range(len(block)):
        yield block, key
        if isinstance(block[key], (dict, list)):
            yield from walk(block[key])


def damaged(draws: random.Random) -> bytes:
    """The text of a valid sweep, with pieces taken out, doubled, or put in."""
    text = draws.choice(VALID)
    for _ in range(draws.choice([1, 1, 2, 4])):
        start = draws.randrange(len(text) + 1)
        end = min(len(text), start + draws.randrange(20))
        put = draws.choice([*TOKENS, text[start:end] * 2, draws.choice(string.printable), ""])
        text = text[:start] + put + text[draws.choice([start, end]) :]
    return text.encode(errors="surrogatepass")


def noise(draws: random.Random) -> bytes:
    """Bytes, alone or within a valid sweep."""
    some = draws.randbytes(draws.randrange(200))
    valid = draws.choice(VALID).encode()
    at = draws.randrange(len(valid))
    return draws.choice([some, valid[:at] + some[:8] + valid[at:], valid[:at]])


def overrides(draws: random.Random) -> list[str]:
    keys = draws.choices(KEYS + TEXTS, k=draws.randint(1, 2))
    values = [json.dumps(draws.choice(SCALARS)), draws.choice(TEXTS), "1", "null", "[1, 2]"]
    return [f"{key}={draws.choice(values)}".replace("\0", "") for key in keys]


def draw(count: int, number: int, trial: Trial) -> None:
    """What hypothesis draws, on top of a workload for half of it."""

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(SWEEPS, VALUES, ARGUMENTS, st.integers(0, 9))
    def each(sweep: dict[str, Any], value: Any, extra: list[str], kind: int) -> None:
        if kind < 5:
            run = sweep.get("run")
            run = {"workload": "digits_mlp", **(run if isinstance(run, dict) else {})}
            sweep = {**sweep, "run": {k: v for k, v in run.items() if k not in ("a", "b")}}
        content = json.dumps(value if kind == 9 else sweep, ensure_ascii=False)
        extra = [text.replace("\0", "").lstrip("-") for text in extra]
        trial.check(content.encode(errors="surrogatepass"), extra)

    each()


# --- what becomes of them


class Trial:
    """Runs the command on one file after the other.

    Attributes:
        done, broken: files so far, and those of them that ended otherwise than they may.
        counts: by outcome.
    """

    def __init__(self, folder: Path, total: int, keep: Path | None) -> None:
        self.done = self.broken = 0
        self.counts: Counter[str] = Counter()
        self._folder, self._total, self._keep = folder, total, keep
        self._store = Store(folder / "runs")
        shutil.copytree(SWEEPS_FOLDER / "base", folder / "base")  # which the valid ones include

    def check(self, content: bytes, extra: Sequence[str]) -> None:
        path = self._folder / "sweep.yaml"
        path.write_bytes(content)
        self.done += 1
        try:
            self._dry_run(path, extra)
            if self.done % 4 == 0:
                self._submission(path, extra, ("local", "slurm")[self.done // 4 % 2])
        except Exception:
            self._broke(content, extra)
        if sys.stderr.isatty() and self.done % 50 == 0:
            print(f"\r{self.done:,} of {self._total:,}", end="", file=sys.stderr)

    def _dry_run(self, path: Path, extra: Sequence[str]) -> None:
        before = self._traces()
        code = self._run(path, extra, "--dry-run", "--backend", "local")
        assert self._traces() == before, "a dry run wrote into the store"
        self.counts[f"dry runs with exit code {code}"] += 1

    def _submission(self, path: Path, extra: Sequence[str], backend: str) -> None:
        before = self._traces()
        code = self._run(path, extra, "--backend", backend)
        after = self._traces()
        if code == 2:
            assert after == before, "a refused submission wrote into the store"
        self.counts[f"submissions ({backend}) with exit code {code}"] += 1
        for folder in (self._store.root / "submissions").glob("*"):
            self._check_complete(folder.name)
            shutil.rmtree(folder)
            self.counts["submissions found complete"] += 1

    def _run(self, path: Path, extra: Sequence[str], *options: str) -> int:
        """The exit code. AssertionError: it or the error has not the form that it should have."""
        printed, said = io.StringIO(), io.StringIO()
        signal.alarm(SECONDS)
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
                code = submit.main([str(path), *extra, "--runs", str(self._store.root), *options])
        except SystemExit as left:  # argparse: an override that looks like an option
            code = left.code if isinstance(left.code, int) else 1
            assert said.getvalue().startswith("usage: "), said.getvalue()
            said = io.StringIO("error: ")
        finally:
            signal.alarm(0)
        assert code in (0, 2), f"exit code {code}"
        assert (code == 2) == said.getvalue().startswith("error: "), said.getvalue()
        return code

    def _traces(self) -> dict[str, int]:
        """Files and folders of the store, with the time of their last change; less the lock."""
        root = self._store.root
        found = [root, *root.glob("*"), *root.glob("*/*"), *root.glob("submissions/*/*")]
        places = (path for path in found if path.exists() and path.name != "locks")
        return {str(path): path.stat().st_mtime_ns for path in places}

    def _check_complete(self, submission: str) -> None:
        record = self._store.read_submission(submission)
        records = self._store.read_run_records(submission)
        wanted = {run["id"] for run in self._store.read_sweep(record["sweep"])["runs"]}
        handed = [run for a in record["arrays"] for element in a["elements"] for run in element]
        assert sorted(handed) == sorted(records), "a run is without its record, or twice in arrays"
        assert set(handed) <= wanted, "a run is not in the manifest"
        for run, kept in records.items():
            assert identity(decode(kept["config"])) == run, "a run is not what its id says"
        for array in record["arrays"]:
            code = self._store.snapshot_dir(array["snapshot"])
            assert (code / "launch" / "job.py").is_file(), "the code is missing"

    def _broke(self, content: bytes, extra: Sequence[str]) -> None:
        self.broken += 1
        print(f"--- file {self.done}, arguments {extra}", file=sys.stderr)
        print(content.decode(errors="replace")[:2000], file=sys.stderr)
        traceback.print_exc()
        if self._keep is not None:
            self._keep.mkdir(parents=True, exist_ok=True)
            (self._keep / f"{self.done}.yaml").write_bytes(content)


@contextlib.contextmanager
def handed_to_nobody() -> Iterator[None]:
    """As it is, but that no pool starts and no cluster is asked; the code is read only once."""
    frozen = take(working_tree())
    nothing: Any = {
        (submit, "take"): lambda *_, **__: frozen,
        (submit, "_carry_out"): lambda *_: 0,
        (submit, "require_controller"): lambda: None,
        (handover, "queue"): lambda *_: ["1"],
        (handover, "live_claims"): lambda *_, **__: Claims(),
        (cluster, "_output"): lambda *_: "",
    }
    kept = {place: getattr(*place) for place in nothing}
    signal.signal(signal.SIGALRM, _too_long)
    try:
        for place, stand_in in nothing.items():
            setattr(*place, stand_in)
        yield
    finally:
        for place, real in kept.items():
            setattr(*place, real)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


if __name__ == "__main__":
    main()
