from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from launch import terminal
from lrscale.errors import UserError


def test_a_user_error_is_printed_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    @terminal.command
    def main(argv: Sequence[str] | None) -> int:
        raise UserError(f"no such thing: {argv}")

    assert main(["x"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: no such thing: ['x']\n"
    assert captured.out == ""


def test_a_warning_of_ours_is_a_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    @terminal.command
    def main(argv: Sequence[str] | None) -> int:
        for file in (terminal.__file__, "/elsewhere.py"):
            shown = warnings.formatwarning("it was left out", UserWarning, file, 3)
            sys.stderr.write(shown)
        return 0

    before = warnings.formatwarning
    assert main() == 0
    places = "warning: it was left out\n/elsewhere.py:3: UserWarning: it was left out\n"
    assert capfd.readouterr().err == places
    assert warnings.formatwarning is before


def test_interrupted() -> None:
    @terminal.command
    def main(argv: Sequence[str] | None) -> int:
        raise KeyboardInterrupt

    assert main() == 130


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    @terminal.command
    def main(argv: Sequence[str] | None) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_a_reader_that_leaves_ends_the_command_quietly() -> None:
    script = (
        "import sys\n"
        "from launch import terminal\n"
        "@terminal.command\n"
        "def main(argv):\n"
        "    for _ in range(100_000): print('line')\n"
        "    return 0\n"
        "sys.exit(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0


def test_output_into_a_pipe_has_no_codes_and_takes_brackets_literally() -> None:
    script = (
        "from launch import terminal\n"
        "terminal.console().print('[red]lr[/red] :smile:', 'x' * 150, style='bold red')\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert out == "[red]lr[/red] :smile: " + "x" * 150 + "\n"


def test_where_the_run_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert terminal.run_store(None).root == tmp_path / "runs"
    monkeypatch.setenv("LRSCALE_RUNS", str(tmp_path / "theirs"))
    assert terminal.run_store(None).root == tmp_path / "theirs"
    assert terminal.run_store("mine").root == tmp_path / "mine"


def test_help_ends_with_an_example() -> None:
    text = terminal.parser("What it does.", "python launch/x.py name").format_help()
    assert text.endswith("example: python launch/x.py name\n")
    assert "$LRSCALE_RUNS" in text
